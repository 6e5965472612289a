"""Where the parts of an assembly come from, each opened once: a checkpoint of its own, or a saved model of this kit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..core.decoders import Decoder
from ..core.interfaces import Preprocessor, Tower
from ..errors import KitError
from ..model.configuration import TinyLlavaConfig
from ..model.storage.recognition import recognize
from ..plugin.catalog import Catalog
from .assembly import ResolvedPart
from .own_checkpoint import OwnCheckpoint
from .saved_model import SavedModel


class PartSource(Protocol):
    """What a part's configuration, and then its weights, are read from.

    A part that does not fit raises a `KitError`, from each of these.
    """

    def read_text_config(self, part: ResolvedPart) -> PreTrainedConfig:
        """The configuration of an LLM."""
        ...

    def read_tokenizer(self, part: ResolvedPart) -> PreTrainedTokenizerBase:
        """The tokenizer of an LLM, with the LLM's own chat template."""
        ...

    def read_tower(self, part: ResolvedPart, modality: str) -> tuple[dict[str, Any], Preprocessor]:
        """The configuration of a tower, and its preprocessor."""
        ...

    def connector_options(self, part: ResolvedPart, modality: str, joint: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options of a connector that joins these widths."""
        ...

    def read_decoder(self, part: ResolvedPart, modality: str) -> dict[str, Any]:
        """The configuration of a decoder."""
        ...

    def licence(self, kind: str, modality: str) -> str:
        """Under which a part's weights come, where that is known."""
        ...

    def load_language_model(self, part: ResolvedPart, config: TinyLlavaConfig, dtype: torch.dtype) -> PreTrainedModel:
        """An LLM with its weights."""
        ...

    def fill_tower(self, tower: Tower, modality: str) -> None:
        """Give a tower its weights."""
        ...

    def fill_connector(self, connector: nn.Module, modality: str) -> None:
        """Give a connector its weights, where they are not new."""
        ...

    def fill_decoder(self, decoder: Decoder, modality: str, language_model: PreTrainedModel) -> None:
        """Give a decoder its weights; rows for its ids are like those of the LLM where they are new."""
        ...


class Sources:
    """The sources of an assembly's parts, by their checkpoints.

    Args:
        catalog: the installed plugins, whose layouts of checkpoints are recognised.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._opened: dict[str, PartSource] = {}

    def of(self, part: ResolvedPart) -> PartSource:
        """The source of a part.

        Raises:
            KitError: its checkpoint is a saved model that is damaged, or a model of another project.
        """
        if part.checkpoint not in self._opened:
            self._opened[part.checkpoint] = self._open(part)
        return self._opened[part.checkpoint]

    def _open(self, part: ResolvedPart) -> PartSource:
        checkpoint, spec = part.checkpoint, part.offer.spec
        found = recognize(checkpoint, self.catalog) if checkpoint else None
        if found is None or (not found.is_kit_model and not found.layouts):
            return OwnCheckpoint(checkpoint)
        if found.is_kit_model:
            return SavedModel(checkpoint)
        if found.content.get("model_type") in getattr(spec, "model_types", ()):
            return OwnCheckpoint(checkpoint)  # the part's own class reads such a directory
        raise KitError(
            f"{spec.kind} {part.part.name!r}: {checkpoint!r} is a checkpoint of {found.project}; "
            "'tinyllava convert' makes it one of this kit, whose parts can be taken"
        )
