"""The items that decoders make of the words of an answer, behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ..core.decoders import AnswerStates, GeneratedChunk, HiddenDecoder, TextDecoder
from ..core.spans import GeneratedSpan, TextSpan, without_labels
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.encoded import Encoded
from ..processing.processor import TinyLlavaProcessor
from .segments import GeneratedItem, Show, nothing


class ItemsOfWords:
    """The items that decoders make of the words of one answer.

    Args:
        prompt: what was asked. words: (n,) the ids of the answer, without its end. parallel: their parallel ids.
        options: those of `generate`. stopped: whether no more is wanted, asked between the chunks of an item.
    """

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        prompt: Encoded,
        words: list[int],
        parallel: list[list[int]] | None,
        options: Mapping[str, Any],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.model, self.processor, self.prompt = model, processor, prompt
        self.words, self.parallel = words, None if parallel is None else parallel[: len(words)]
        self.options, self.stopped = options, stopped

    def items(self, force: Collection[str], text: str, show: Show = nothing) -> list[GeneratedItem]:
        """Those of the modalities that are wanted, whose chunks `show` gets as they are made."""
        generated = [self._item(modality, text, show) for modality in force]
        return [each for each in generated if each is not None]

    def _item(self, modality: str, text: str, show: Show) -> GeneratedItem | None:
        """None where it is not made of words, or there are none to make it of."""
        chunks, closed, dropped = [], False, 0
        for chunk in self._chunks(modality, text):
            if self.stopped():
                closed = False
                break
            closed, dropped = chunk.closed, chunk.dropped
            if chunk.item is not None:
                chunks.append(chunk.item)
                show(GeneratedItem(modality, chunk.item, closed, dropped))
        return (
            GeneratedItem(modality, self.processor.modalities[modality].join(chunks), closed, dropped)
            if chunks
            else None
        )

    def _chunks(self, modality: str, text: str) -> Iterator[GeneratedChunk]:
        decoder = self.model.decoders[modality]
        if isinstance(decoder, TextDecoder) and text:
            yield GeneratedChunk(decoder.decode(text), closed=True)
        if isinstance(decoder, HiddenDecoder) and self.words:
            yield from decoder.make(self._read(modality), self.model.sample_as(self.options))

    def _read(self, modality: str) -> AnswerStates:
        """The words as the LLM reads them once more, behind what was asked: as in training."""
        answer = TextSpan(self.words, self.words, self.parallel)
        whole = Encoded(
            [*without_labels(self.prompt.spans), answer, GeneratedSpan(modality)], self.prompt.items, self.prompt.name
        )
        batch = self.processor.collate([whole], labels=True).to(self.model.device)
        names = ("input_ids", "plan", "items", "attention_mask", "position_ids")
        return self.model.words(modality, **{name: batch[name] for name in names if name in batch})
