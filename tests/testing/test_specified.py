"""Specs that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

from typing import Any

from tests.testing.right import (
    PATCHES,
    caught,
    patch_contract,
    table,
)
from tinyllava_kit.plugin.specs import Option, TowerSpec

SPECS: list[tuple[str, dict[str, Any], str, str]] = [
    ("a target that is not there", {"target": "tests.testing.right:NoTower"}, "target", "has no attribute 'NoTower'"),
    ("a module that is not there", {"target": "tests.testing.gone:Tower"}, "target", "No module named"),
    ("a target of another kind", {"target": "tests.testing.right:Patches"}, "target", "a class that extends"),
    ("a modality that nobody offers", {"modality": "smell"}, "target", "offered by nobody; known: numbers"),
    ("model types of another family", {"model_types": ("clip",)}, "counts", "the toy checkpoint is of 'patches'"),
    (
        "an option that the tower lacks",
        {"options": (Option(name="loud", type=bool, default=False),)},
        "keywords",
        "loud",
    ),
]


@table(SPECS)
def test_a_mutant_of_the_spec_is_caught(mutant: dict[str, Any], check: str, message: str) -> None:
    known = {name: getattr(PATCHES, name) for name in ("name", "target", "modality", "model_types", "options")}
    caught(patch_contract(spec=TowerSpec(**{**known, **mutant})), check, message)
