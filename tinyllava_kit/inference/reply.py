"""A whole answer: its text and its items, from the ids that were generated."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.ids import TEXT
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.vocabulary.grammar import Segment
from ..processing.processor import TinyLlavaProcessor
from .segments import AnswerPart, GeneratedItem


@dataclass(frozen=True)
class Reply:
    """What a model answers: text and items in the order in which it gave them."""

    parts: tuple[AnswerPart, ...]

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(part for part in self.parts if isinstance(part, str)).strip()

    def items(self, modality: str) -> list[GeneratedItem]:
        """Its items of a modality."""
        return [part for part in self.parts if isinstance(part, GeneratedItem) and part.modality == modality]


def whole_reply(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    ids: list[int],
    parallel: list[list[int]] | None,
) -> Reply:
    """The answer that ids say, each item decoded at once.

    Args:
        ids: (n,) the id that ends them included: it is text where it is no special token. parallel: what stands beside
            them, see `parallel_ids`.
    """
    segments = [Segment(TEXT, ids)] if processor.grammar is None else processor.grammar.segments(ids, parallel)
    parts = [_part(segment, model, processor) for segment in segments]
    return Reply(tuple(part for part in parts if part is not None))


def _part(
    segment: Segment, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor
) -> AnswerPart | None:
    if segment.modality == TEXT:
        return processor.decode(segment.ids, skip_special_tokens=True) or None
    if not segment.ids:  # ended before its first step was whole
        return None
    decoder: Any = model.decoders[segment.modality]
    item = decoder.decode(torch.tensor(segment.ids))
    return GeneratedItem(segment.modality, item, segment.closed, segment.dropped)


def until_end(row: list[int], ends: Collection[int]) -> list[int]:
    """A row of a batch without its end and the padding behind it."""
    at = next((place for place, each in enumerate(row) if each in ends), len(row))
    return row[:at]


def parallel_ids(processor: TinyLlavaProcessor, ids: Tensor, chosen: list[Tensor]) -> list[list[list[int]] | None]:
    """The parallel ids of new ids (B, n), of those that were chosen there."""
    if not chosen or processor.grammar is None:
        return [None] * len(ids)
    return processor.grammar.written(ids, [each.to(ids.device) for each in chosen]).tolist()
