"""The preprocessor of a modality from a processor's settings, or a line that names the place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.processing.processor_config import preprocessor_of

FILE = Path("model/processor_config.json")
KIND: Any = SimpleNamespace(from_settings=lambda settings: settings["size"] // settings["by"])


def test_the_settings_of_its_own_modality_make_it() -> None:
    groups = {"image": {"size": 9, "by": 2}, "audio": {"size": 9, "by": 3}}
    assert preprocessor_of({"preprocessors": groups}, FILE, "audio", KIND) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"processor_config\.json: preprocessors: expected"),
        ({"preprocessors": []}, r"processor_config\.json: preprocessors: expected"),
        ({"preprocessors": {"audio": []}}, r"preprocessors\.audio: expected"),
        ({"preprocessors": {"image": {}}}, "preprocessors: none of 'audio'; assemble or convert the model again"),
        ({"preprocessors": {"audio": {"size": 9}}}, r"preprocessors\.audio: KeyError: 'by'"),
        ({"preprocessors": {"audio": {"size": 9, "by": 0}}}, r"preprocessors\.audio: ZeroDivisionError"),
    ],
)
def test_settings_that_make_none_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(KitError, match=message):
        preprocessor_of(settings, FILE, "audio", KIND)
