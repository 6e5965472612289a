"""Which layout a directory has, by what is inside it and never by its name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.catalog import Catalog
from ..core.checkpoint import first_line
from ..core.discovery import discover
from ..core.errors import KitError
from .factory import read_factory
from .legacy import read_legacy
from .llava import read_llava
from .names import Names
from .ours import Foreign, as_ours

OURS = "tinyllava_kit"
LAYOUTS = (
    OURS,
    "TinyLLaVA_Factory (one directory, a directory for each part, LoRA)",
    "LLaVA-1.5 and TinyLLaVABench",
    "LlavaForConditionalGeneration of transformers",
)


def read_config(directory: Path) -> dict[str, Any]:
    """A directory's ``config.json``.

    Raises:
        KitError: it is not there, or not JSON.
    """
    file = directory / "config.json"
    if not file.is_file():
        raise KitError(f"{str(directory)!r} is not a model directory: it has no config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KitError(f"{file}: not JSON: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise KitError(f"{file}: expected a mapping, got {type(config).__name__}")
    return config


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a model of this kit."""
    return config.get("model_type") == "tinyllava" and isinstance(config.get("llm"), Mapping)


def open_foreign(
    directory: str | os.PathLike[str],
    *,
    names_from: str | None = None,
    template: str | None = None,
    catalog: Catalog | None = None,
) -> Foreign:
    """A checkpoint of another project, recognised and read but for its weights.

    Args:
        directory: of the checkpoint.
        names_from: a folder in which the names of its vision model and of others are looked for first.
        template: the chat template, in place of the one that fits its LLM.
        catalog: the installed plugins; found when not given.

    Raises:
        KitError: of no layout that is known, or damaged.
    """
    directory = Path(directory)
    config = read_config(directory)
    names = Names(directory, names_from)
    try:
        if "mm_vision_tower" in config:
            old = read_legacy(directory, config, names)
        elif config.get("model_type") == "tinyllava" and "connector_type" in config:
            old = read_factory(directory, config)
        elif config.get("model_type") == "llava" and "vision_config" in config:
            old = read_llava(directory, config)
        else:
            raise KitError(
                f"{str(directory)!r} ({config.get('model_type')!r}) is of no layout that is read: "
                f"{'; '.join(LAYOUTS)}; a language model or a tower alone is a part for 'tinyllava assemble'"
            )
        return as_ours(old, catalog or discover(), names, template=template)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # what a broken config.json leads to
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else first_line(error)
        raise KitError(f"{directory / 'config.json'}: cannot be read as a model: {what}") from error
