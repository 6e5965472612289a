"""How a layout of another project is read: the interface of such readers, and what follows for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import KitError
from ...files.failures import first_line
from ...plugin.catalog import Catalog
from .external_checkpoint import ExternalCheckpoint
from .mapping import MappedCheckpoint, map_checkpoint
from .names import Names


class CheckpointReader(ABC):
    """Reads a layout. The target of a `CheckpointSpec`, built without arguments."""

    @abstractmethod
    def read(self, directory: Path, config: Mapping[str, Any], names: Names) -> ExternalCheckpoint:
        """What the checkpoint says, its weights by the names inside each part; none of them is read.

        Args:
            config: what its ``config.json`` holds.
            names: where names of other checkpoints in it are looked for.

        Raises:
            KitError: an option that has no counterpart here; damaged weights. A `KeyError`, `TypeError`,
                `AttributeError` or `ValueError` is reported as a broken ``config.json``.
        """

    def open(
        self,
        directory: Path,
        config: Mapping[str, Any],
        *,
        names_from: str | None,
        template: str | None,
        catalog: Catalog,
    ) -> MappedCheckpoint:
        """The checkpoint as one of this kit, read but for its weights.

        Args:
            names_from: a folder in which names of other checkpoints are looked for first.
            template: the chat template, in place of the one that fits the LLM.
            catalog: the installed plugins.

        Raises:
            KitError: it cannot be read as a model.
        """
        names = Names(directory, names_from)
        try:
            return map_checkpoint(self.read(directory, config, names), catalog, names, template=template)
        except (KeyError, TypeError, AttributeError, ValueError) as error:  # what a broken config.json leads to
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else first_line(error)
            raise KitError(f"{directory / 'config.json'}: cannot be read as a model: {what}") from error
