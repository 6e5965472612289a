"""Checkpoints of other projects, read and written. The names here are public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .exporting.target import ExportTarget as ExportTarget
    from .external.external_checkpoint import ExternalCheckpoint as ExternalCheckpoint
    from .external.external_checkpoint import KeyedTensor as KeyedTensor
    from .external.names import Names as Names
    from .external.reader import CheckpointReader as CheckpointReader
    from .external.weights import Lazy as Lazy
    from .external.weights import open_weights as open_weights

__getattr__, __dir__ = lazy(
    __name__,
    {
        "ExportTarget": ".exporting.target",
        "ExternalCheckpoint": ".external.external_checkpoint",
        "KeyedTensor": ".external.external_checkpoint",
        "Names": ".external.names",
        "CheckpointReader": ".external.reader",
        "Lazy": ".external.weights",
        "open_weights": ".external.weights",
    },
)
