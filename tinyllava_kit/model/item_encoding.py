"""Items through towers and connectors, to rows for an LLM.

Legend: N items, P features of an item, E tower width, D width of the LLM, P' rows of an item.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..core.interfaces import Connector, Features, Tower, is_trained
from ..plugin.catalog import Catalog
from ..plugin.discovery import installed_catalog
from ..pretrained.checkpoint import check_loaded
from .builders import build_connector, build_tower
from .configuration import TinyLlavaConfig
from .named_parts import NamedParts
from .offloading import at_hand
from .windows import join_windows, run_windows


class ItemEncoding:
    """``encode`` of what has towers and connectors.

    towers, connectors: by modality.
    """

    towers: NamedParts[Tower]
    connectors: NamedParts[Connector]

    def encode(self, modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Items of one modality through tower and connector -> rows for the LLM, (N, P', D).

        A tower without trained weights runs without a graph.
        """
        return self.connect(modality, self.encode_features(modality, inputs))

    def connect(self, modality: str, features: Features) -> Tensor:
        """Features of items through the connector of their modality -> rows for the LLM, (N, P', D)."""
        with at_hand(self.connectors):
            rows: Tensor = self.connectors(modality, features)  # (N, P', D)
            return rows

    def encode_features(self, modality: str, inputs: Mapping[str, Tensor]) -> Features:
        """Items of one modality through the tower, the windows of each joined -> Features of whole items."""
        if "features" in inputs:
            return Features(inputs["features"], inputs.get("lengths"), self._tower(modality).grid)
        tower = self._tower(modality)
        rows = {name: value for name, value in inputs.items() if not name.startswith("window_")}
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained(tower)), at_hand(tower):
            features = run_windows(tower, rows)
            return join_windows(features, inputs) if "window_rows" in inputs else features

    def _tower(self, modality: str) -> Tower:
        return self.towers[modality]  # or what PEFT has put around it


class ItemEncoder(ItemEncoding, nn.Module):
    """The towers and connectors of a model, for a program that runs the LLM itself; no weights until `load_weights`.

    Args:
        config: the model's. catalog: the installed plugins; found when not given.

    Raises:
        MissingPluginError: a component's plugin is not installed.
    """

    def __init__(self, config: TinyLlavaConfig, catalog: Catalog | None = None) -> None:
        super().__init__()
        catalog = catalog or installed_catalog()
        self.towers = NamedParts({m: build_tower(config, m, catalog) for m in config.towers})
        self.connectors = NamedParts({m: build_connector(config, m, catalog) for m in config.connectors})

    def load_weights(self, weights: Mapping[str, Tensor], name: str) -> None:
        """Fill it with the tensors of a saved model whose names begin with ``towers.`` or ``connectors.``.

        Args:
            name: whose they are, for the message.

        Raises:
            KitError: a key is missing, unknown or of another shape; lists them.
        """
        parts = ("towers.", "connectors.")
        mine = {key: tensor for key, tensor in weights.items() if key.startswith(parts)}
        state = self.state_dict()
        filled = {state[key].data_ptr() for key in mine.keys() & state.keys()}  # a shared weight is saved once
        missing = {key for key in state.keys() - mine.keys() if state[key].data_ptr() not in filled}
        unexpected = mine.keys() - state.keys()
        mismatched = {key for key in mine.keys() - unexpected if mine[key].shape != state[key].shape}
        check_loaded(name, missing=missing, unexpected=unexpected, mismatched=mismatched)
        self.load_state_dict(mine, strict=False)
