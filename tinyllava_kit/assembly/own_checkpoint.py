"""A checkpoint of a part alone, a tower's or an LLM's; or none, for a part whose weights are new."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..core.decoders import Decoder, TokenDecoder
from ..core.interfaces import LanguageModel, Preprocessor, Tower
from ..errors import KitError
from ..model.configuration import TinyLlavaConfig
from ..plugin.specs import load
from .assembly import ResolvedPart
from .licence import read_licence


class OwnCheckpoint:
    """A `PartSource` that a part's own class reads.

    Args:
        checkpoint: a directory or a hub name; empty: the part is new.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self._read_tokenizer = cache(self._tokenizer_of)

    def read_text_config(self, part: ResolvedPart) -> PreTrainedConfig:
        llm: type[LanguageModel] = load(part.offer.spec)
        return llm.read_config(self.checkpoint, **part.options)

    def read_tokenizer(self, part: ResolvedPart) -> PreTrainedTokenizerBase:
        return self._read_tokenizer(load(part.offer.spec))

    def _tokenizer_of(self, llm: type[LanguageModel]) -> PreTrainedTokenizerBase:
        return llm.read_tokenizer(self.checkpoint)

    def read_tower(self, part: ResolvedPart, modality: str) -> tuple[dict[str, Any], Preprocessor]:
        tower: type[Tower] = load(part.offer.spec)
        config = tower.read_config(self.checkpoint, **part.options)
        return config, tower.read_preprocessor(self.checkpoint, config)

    def connector_options(self, part: ResolvedPart, modality: str, joint: Mapping[str, Any]) -> Mapping[str, Any]:
        """Those given.

        Raises:
            KitError: a checkpoint is named.
        """
        if self.checkpoint:
            raise KitError(
                f"connectors.{modality}: {self.checkpoint!r} is not a model directory of this kit; a connector is new, "
                "or taken from such a model"
            )
        return part.options

    def read_decoder(self, part: ResolvedPart, modality: str) -> dict[str, Any]:
        decoder: type[Decoder] = load(part.offer.spec)
        return decoder.read_config(self.checkpoint, **part.options)

    def licence(self, kind: str, modality: str) -> str:
        """That of the checkpoint's model card."""
        return read_licence(self.checkpoint) if self.checkpoint else ""

    def load_language_model(self, part: ResolvedPart, config: TinyLlavaConfig, dtype: torch.dtype) -> PreTrainedModel:
        llm: type[LanguageModel] = load(part.offer.spec)
        return llm.load(self.checkpoint, config.text_config, dtype)

    def fill_tower(self, tower: Tower, modality: str) -> None:
        tower.load_weights(self.checkpoint)

    def fill_connector(self, connector: nn.Module, modality: str) -> None:
        """It is new."""

    def fill_decoder(self, decoder: Decoder, modality: str, language_model: PreTrainedModel) -> None:
        """Its weights; its rows are new, and spread as the LLM's are."""
        decoder.load_weights(self.checkpoint)
        if isinstance(decoder, TokenDecoder):
            table, head = language_model.get_input_embeddings().weight, language_model.get_output_embeddings().weight
            assert isinstance(table, Tensor)
            assert isinstance(head, Tensor)
            decoder.rows.spread_like(table, head)
