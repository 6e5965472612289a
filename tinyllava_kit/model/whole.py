"""What a model is made of, as the classes see it that give the model its methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedModel

from ..core.decoders import HiddenDecoder
from ..core.interfaces import Connector, LanguageModel, Tower
from .configuration import TinyLlavaConfig
from .named_parts import NamedParts
from .vocabulary.extension import VocabularyExtension

if TYPE_CHECKING:
    _Base = PreTrainedModel
else:
    _Base = object  # the class of a model brings the real one


class Whole(_Base):
    """A model: its LLM, towers, connectors and decoders. transformers reads these annotations.

    towers, connectors, decoders: by modality. extension: the rows of decoders whose ids the LLM writes, if there are
    any.
    """

    config: TinyLlavaConfig
    llm_interface: type[LanguageModel]
    language_model: PreTrainedModel
    towers: NamedParts[Tower]
    connectors: NamedParts[Connector]
    decoders: nn.ModuleDict
    extension: VocabularyExtension | None

    def hidden_decoders(self) -> dict[str, HiddenDecoder]:
        """The decoders that make items of words, in order."""
        parts = {modality: self.decoders[modality] for modality in sorted(self.decoders)}
        return {modality: part for modality, part in parts.items() if isinstance(part, HiddenDecoder)}
