"""The towers of a model by the names that transformers has for encoders: N items, P features, D width of the LLM."""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import can_return_tuple

from ..core.conversation import check_reads
from ..errors import KitError
from .whole import Whole


class Encoders(Whole):
    """``get_encoder``, ``set_encoder`` and ``get_MODALITY_features`` of a model with towers and connectors."""

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """As in transformers: the tower of a modality; without one, the model."""
        return self if modality is None else self.towers[self._read_modality(modality)]

    def set_encoder(self, encoder: nn.Module, modality: str | None = None) -> None:
        """As in transformers: another tower of a modality."""
        setattr(self.towers, self._read_modality(modality), encoder)

    def _read_modality(self, modality: str | None) -> str:
        check_reads(modality, self.config.towers)
        assert modality is not None  # which no model reads
        return modality

    def __getattr__(self, name: str) -> Any:
        """``get_MODALITY_features``, as transformers' models have them, besides what modules have."""
        if name.startswith("get_") and name.endswith("_features"):
            return partial(self._get_features, self._read_modality(name[len("get_") : -len("_features")]))
        return super().__getattr__(name)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def _get_features(self, modality: str, *first: Tensor, **inputs: Any) -> BaseModelOutputWithPooling:
        """Items of a modality, as its tower takes them -> last_hidden_state (N, P, E), the tower's features, and
        pooler_output (N, P', D), the rows for the LLM.

        Raises:
            KitError: something else is asked for, such as hidden states.
        """
        names = signature(self.towers[modality].forward).parameters
        asked = {**dict(zip(names, first, strict=False)), **inputs}
        tensors = {name: value for name, value in asked.items() if isinstance(value, Tensor)}
        others = {name for name, value in asked.items() if value is not None and value is not False} - tensors.keys()
        if others:
            raise KitError(
                f"get_{modality}_features takes the tensors that the processor makes, not {', '.join(sorted(others))}: "
                "a tower gives its features and nothing else"
            )
        features = self.encode_features(modality, tensors)
        rows = self.connect(modality, features)  # (N, P', D)
        return BaseModelOutputWithPooling(last_hidden_state=features.features, pooler_output=rows)
