"""What ``processor_config.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.interfaces import Preprocessor
from ..errors import KitError
from ..files.content import checked
from ..files.failures import reading

SETTINGS_FILE = "processor_config.json"


def preprocessor_of(settings: Mapping[str, Any], file: Path, modality: str, kind: type[Preprocessor]) -> Preprocessor:
    """The preprocessor of a modality from the settings of a processor.

    Args:
        file: where they are from, for messages.

    Raises:
        KitError: there is none of it in them, or it is of another kind.
    """
    where = f"{file}: preprocessors"
    groups = checked(dict[str, dict[str, Any]], settings.get("preprocessors"), where)
    if modality not in groups:
        raise KitError(f"{where}: none of {modality!r}; assemble or convert the model again")
    with reading(f"{where}.{modality}"):
        return kind.from_settings(groups[modality])
