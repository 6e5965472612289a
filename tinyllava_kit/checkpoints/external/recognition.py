"""Which project wrote a model directory, by what is in its ``config.json`` and never by the directory's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import KitError
from ...files.failures import read_mapping

OURS = "tinyllava_kit"
# What is read besides, by the names that --from takes.
FOREIGN = {
    "factory": "TinyLLaVA_Factory (one directory, a directory for each part, LoRA)",
    "llava-legacy": "LLaVA-1.5 and TinyLLaVABench",
    "llava-hf": "LlavaForConditionalGeneration of transformers",
}
AUTO = "auto"


def read_config(directory: Path) -> dict[str, Any]:
    """A directory's ``config.json``.

    Raises:
        KitError: it is not there, or not JSON.
    """
    file = directory / "config.json"
    if not file.is_file():
        raise KitError(f"{str(directory)!r} is not a model directory: it has no config.json")
    return read_mapping(file)


def recognise(config: Mapping[str, Any]) -> str | None:
    """Which of `FOREIGN` a configuration is of, or None."""
    if "mm_vision_tower" in config:
        return "llava-legacy"
    if config.get("model_type") == "tinyllava" and "connector_type" in config:
        return "factory"
    if config.get("model_type") == "llava" and "vision_config" in config:
        return "llava-hf"
    return None


def external_layout(directory: Path, config: Mapping[str, Any], wanted: str = AUTO) -> str:
    """Which of `FOREIGN` a directory is of.

    Args:
        directory: named in messages.
        config: its ``config.json``.
        wanted: what the user says it is, or `AUTO`.

    Raises:
        KitError: of none, or of another than is wanted.
    """
    found = recognise(config)
    if found is None:
        raise KitError(
            f"{str(directory)!r} ({config.get('model_type')!r}) is of no layout that is read: "
            f"{'; '.join([OURS, *FOREIGN.values()])}; a language model or a tower alone is a part for "
            "'tinyllava assemble'"
        )
    if wanted not in (AUTO, found):
        raise KitError(
            f"{str(directory)!r} is not of {wanted!r} ({FOREIGN[wanted]}): its config.json is of {found!r} "
            f"({FOREIGN[found]}); say --from {found}, or leave it to {AUTO!r}"
        )
    return found
