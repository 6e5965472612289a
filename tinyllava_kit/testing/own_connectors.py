"""The contracts of connectors that the kit ships and that the sizes of any connector do not suit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .connectors import ConnectorContract


class IdentityContract(ConnectorContract):
    """Equal widths only."""

    in_dim: ClassVar[int] = 24
    out_dim: ClassVar[int] = 24


class QueriesContract(ConnectorContract):
    """Learned rows, few and thin."""

    options: ClassVar[Mapping[str, Any]] = {"num_queries": 3, "num_layers": 2}


class QFormerContract(ConnectorContract):
    """The same with a Q-Former's sizes."""

    options: ClassVar[Mapping[str, Any]] = {
        "num_queries": 3,
        "num_layers": 2,
        "hidden_dim": 24,
        "num_heads": 4,
        "mlp_dim": 32,
    }
    other_options: ClassVar[Mapping[str, Any]] = {"num_layers": 4, "hidden_dim": 48, "num_heads": 2}


class WindowQFormerContract(QFormerContract):
    """Over windows."""

    options: ClassVar[Mapping[str, Any]] = {**QFormerContract.options, "window": 5, "num_queries": 2}
