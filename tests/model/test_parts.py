"""The names of a model's parts, and where they are."""

from __future__ import annotations

from pathlib import Path

from tests import toys
from tinyllava_kit.model.parts import named_parts, part_prefixes


def test_parts_are_named_as_recipes_name_them(tmp_path: Path) -> None:
    model, _ = toys.picture_model(tmp_path)
    assert named_parts(model) == {
        "llm": model.language_model,
        "tower.image": model.towers["image"],
        "connector.image": model.connectors["image"],
    }


def test_every_weight_is_under_the_prefix_of_one_part(tmp_path: Path) -> None:
    model, _ = toys.picture_model(tmp_path)
    prefixes = part_prefixes(model.config).values()
    for name in model.state_dict():
        assert [name.startswith(f"{prefix}.") for prefix in prefixes].count(True) == 1, name
