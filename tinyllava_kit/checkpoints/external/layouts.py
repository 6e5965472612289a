"""Another project's checkpoint, read but for its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import KitError
from ...files.failures import first_line
from ...plugin.catalog import Catalog
from ...plugin.discovery import installed_catalog
from .checkpoint import ExternalCheckpoint
from .factory import read_factory
from .legacy import read_legacy
from .llava import read_llava
from .mapping import MappedCheckpoint, map_checkpoint
from .names import Names
from .recognition import AUTO, external_layout, read_config

# By the names of `recognition.FOREIGN`.
_READERS: Mapping[str, Callable[[Path, Mapping[str, Any], Names], ExternalCheckpoint]] = {
    "factory": read_factory,
    "llava-legacy": read_legacy,
    "llava-hf": read_llava,
}


def open_external(
    directory: str | os.PathLike[str],
    *,
    layout: str = AUTO,
    names_from: str | None = None,
    template: str | None = None,
    catalog: Catalog | None = None,
) -> MappedCheckpoint:
    """A checkpoint of another project, recognised and read but for its weights.

    Args:
        directory: of the checkpoint.
        layout: one of `recognition.FOREIGN` that it must be of, or ``auto``.
        names_from: a folder in which the names of its vision model and of others are looked for first.
        template: the chat template, in place of the one that fits its LLM.
        catalog: the installed plugins; found when not given.

    Raises:
        KitError: of no layout that is known, of another than is wanted, or damaged.
    """
    directory = Path(directory)
    config = read_config(directory)
    names = Names(directory, names_from)
    read = _READERS[external_layout(directory, config, layout)]
    try:
        return map_checkpoint(read(directory, config, names), catalog or installed_catalog(), names, template=template)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # what a broken config.json leads to
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else first_line(error)
        raise KitError(f"{directory / 'config.json'}: cannot be read as a model: {what}") from error
