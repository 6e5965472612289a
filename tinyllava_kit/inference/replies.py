"""Answers that hold items: all at once, or piece by piece as they are generated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from ..core.conversation import Conversation
from ..core.decoders import AnswerStates, GeneratedChunk, HiddenDecoder, TextDecoder
from ..core.ids import TEXT
from ..core.spans import GeneratedSpan, TextSpan, without_labels
from ..errors import KitError, near
from ..features.item_codes import ItemCodes
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.vocabulary.grammar import Segment
from ..model.vocabulary.item_ids import ItemIds
from ..processing.encoded import Encoded
from ..processing.processor import TinyLlavaProcessor
from .answering import TextPieces, options_for


@dataclass(frozen=True)
class GeneratedItem:
    """An item of an answer, or a piece of one.

    item: as its modality reads it. closed: whether the model ended it; `dropped` ids of one that it did not end belong
    to no whole step and are left out.
    """

    modality: str
    item: Any
    closed: bool = True
    dropped: int = 0


Part = str | GeneratedItem
Show = Callable[[Part], None]


@dataclass(frozen=True)
class Reply:
    """What a model answers: text and items in the order in which it gave them."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(part for part in self.parts if isinstance(part, str)).strip()

    def items(self, modality: str) -> list[GeneratedItem]:
        """Its items of a modality."""
        return [part for part in self.parts if isinstance(part, GeneratedItem) and part.modality == modality]


@torch.no_grad()
def replies(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Conversation],
    *,
    force: Collection[str] = (),
    forbid: Collection[str] = (),
    max_new_tokens: int | None = None,
    **generation: Any,
) -> list[Reply]:
    """The model's answer to each conversation with its items, greedy unless `generation` says otherwise.

    Args:
        force: modalities of which an answer must hold an item. One that a decoder makes of words is made of the whole
            answer, when it is complete; of an answer without a word there is none.
        forbid: modalities of which it must not.
        max_new_tokens: see `answering.answer`; the ids that the LLM writes for items count.

    Raises:
        KitError: a modality that the model does not make; see also `answering.answer`.
    """
    encoded, batch, options = _prepared(model, processor, conversations, force, forbid, max_new_tokens, generation)
    chosen: list[Tensor] = []
    ids = model.generate(**batch, parallel=chosen, **options)[:, batch["input_ids"].shape[1] :]  # (B, new)
    generated = []
    ends = _ends(model, options)
    prompts = [prompt for prompt in encoded for _ in range(len(ids) // len(encoded))]  # several answers to each
    for prompt, row, parallel in zip(prompts, ids.tolist(), _beside(processor, ids, chosen), strict=True):
        words = _until_end(row, ends)
        parts = [_part(piece, model, processor) for piece in _pieces(processor, words, parallel)]
        said = Reply(tuple(part for part in parts if part is not None))
        following = _Following(model, processor, prompt, words, parallel, options)
        generated.append(Reply((*said.parts, *following.items(force, said.text))))
    return generated


@torch.no_grad()
def reply(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversation: Conversation,
    show: Show,
    *,
    force: Collection[str] = (),
    forbid: Collection[str] = (),
    max_new_tokens: int | None = None,
    **generation: Any,
) -> Reply:
    """As `replies`, of one conversation: `show` gets text and pieces of items while the answer is generated.

    The pieces of an item, joined by its modality, are the item of the reply.
    """
    (prompt,), batch, options = _prepared(model, processor, [conversation], force, forbid, max_new_tokens, generation)
    ends = _ends(model, options)
    streamer = _Streamer(model, processor, ends, show)
    model.generate(**batch, streamer=streamer, parallel=streamer.chosen, **options)
    words = _until_end(streamer.ids, ends)
    (parallel,) = _beside(processor, torch.tensor([streamer.ids]), streamer.chosen)
    said = Reply(tuple(streamer.parts))
    following = _Following(model, processor, prompt, words, parallel, options)
    return Reply((*said.parts, *following.items(force, said.text, show)))


def check_generated(modalities: Iterable[str], decoders: Mapping[str, Any]) -> None:
    """
    Raises:
        KitError: one of them is not what a model with these decoders makes.
    """
    for modality in modalities:
        if not decoders:
            raise KitError(
                f"the model answers in words alone; for {modality!r} assemble it with --decoder {modality}=NAME"
            )
        if modality not in decoders:
            raise KitError(f"the model does not make {modality!r}; {near(modality, decoders)}")


def _prepared(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Conversation],
    force: Collection[str],
    forbid: Collection[str],
    max_new_tokens: int | None,
    generation: dict[str, Any],
) -> tuple[list[Encoded], Any, dict[str, Any]]:
    """The conversations, their batch, and what `generate` is told."""
    check_generated((*force, *forbid), model.decoders)
    codes = ItemCodes(model, processor)
    encoded = [processor.encode(conversation, answer=True, writer=codes) for conversation in conversations]
    batch = processor.collate(encoded, padding_side="left").to(model.device)
    written = {
        "force": [modality for modality in force if modality in processor.writes],
        "forbid": [modality for modality in forbid if modality in processor.writes],
    }
    length = batch["input_ids"].shape[1]
    return encoded, batch, options_for(model, processor, length, max_new_tokens, **{**written, **generation})


def _ends(model: TinyLlavaForConditionalGeneration, options: Mapping[str, Any]) -> set[int]:
    """The ids that end an answer."""
    ends = options.get("eos_token_id", model.generation_config.eos_token_id)
    return {ends} if isinstance(ends, int) else set(ends or ())


def _until_end(row: list[int], ends: Collection[int]) -> list[int]:
    """A row of a batch without its end and the padding behind it."""
    at = next((place for place, each in enumerate(row) if each in ends), len(row))
    return row[:at]


def _beside(processor: TinyLlavaProcessor, ids: Tensor, chosen: list[Tensor]) -> list[list[list[int]] | None]:
    """What stands beside new ids (B, n), of what was chosen there."""
    if not chosen:
        return [None] * len(ids)
    return processor.grammar.written(ids, [each.to(ids.device) for each in chosen]).tolist()


def _pieces(processor: TinyLlavaProcessor, row: list[int], parallel: list[list[int]] | None) -> list[Segment]:
    return [Segment(TEXT, row)] if processor.grammar is None else processor.grammar.pieces(row, parallel)


def _part(piece: Segment, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> Part | None:
    if piece.modality == TEXT:
        return processor.decode(piece.ids, skip_special_tokens=True) or None
    if not piece.ids:  # ended before its first step was whole
        return None
    item = model.decoders[piece.modality].decode(torch.tensor(piece.ids))
    return GeneratedItem(piece.modality, item, piece.closed, piece.dropped)


class _Following:
    """The items that decoders make of the words of an answer, behind it.

    Args:
        prompt: what was asked. words: (n,) the ids of the answer, without its end. streams: what stands beside them.
        options: what `generate` was told.
    """

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        prompt: Encoded,
        words: list[int],
        parallel: list[list[int]] | None,
        options: Mapping[str, Any],
    ) -> None:
        self.model, self.processor, self.prompt = model, processor, prompt
        self.words, self.parallel = words, None if parallel is None else parallel[: len(words)]
        self.options = options

    def items(self, force: Collection[str], text: str, show: Show = lambda part: None) -> list[GeneratedItem]:
        """Those of the modalities that are wanted, whose pieces `show` gets as they are made."""
        generated = [self._item(modality, text, show) for modality in force]
        return [each for each in generated if each is not None]

    def _item(self, modality: str, text: str, show: Show) -> GeneratedItem | None:
        """None where it is not made of words, or there are none to make it of."""
        pieces, closed, dropped = [], False, 0
        for piece in self._pieces(modality, text):
            closed, dropped = piece.closed, piece.dropped
            if piece.item is not None:
                pieces.append(piece.item)
                show(GeneratedItem(modality, piece.item, closed, dropped))
        return (
            GeneratedItem(modality, self.processor.modalities[modality].join(pieces), closed, dropped)
            if pieces
            else None
        )

    def _pieces(self, modality: str, text: str) -> Iterator[GeneratedChunk]:
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


class _Streamer(BaseStreamer):
    """Takes ids one after another, and shows text at the borders of words and items as far as they are certain."""

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        ends: Collection[int],
        show: Show,
    ) -> None:
        self.decoders, self.processor, self.show = model.decoders, processor, show
        self.grammar, self.ends = processor.grammar, ends
        self.begins = {} if self.grammar is None else {begin: m for m, begin in self.grammar.begin.items()}
        self.text = TextPieces(processor.tokenizer, self._keep_text)
        self.parts: list[Part] = []
        self.seen_prompt = False
        self.chosen: list[Tensor] = []  # `generate` adds what it chose beside each new id, before it gives the id
        self.ids: list[int] = []  # those that were taken
        self.modality = TEXT  # of what is being generated; `item` is set where it is another

    def put(self, value: Tensor) -> None:
        if not self.seen_prompt:
            self.seen_prompt = True
            return
        for each in value.flatten().tolist():
            self._take(each)
            self.ids.append(each)

    def end(self) -> None:
        self._close(closed=False) if self.modality != TEXT else self.text.end()

    def _take(self, each: int) -> None:
        if self.modality == TEXT and each in self.begins:
            self.text.end()
            self.modality = self.begins[each]
            self.item = ItemIds(self.decoders[self.modality].stream(), self.grammar, self.modality, self._beside())
        elif self.modality == TEXT and each in self.ends:
            return
        elif self.modality == TEXT:
            self.text.put(torch.tensor([each]))
        elif each == self.grammar.end[self.modality]:
            self._close(closed=True)
        else:
            self._keep_item(self.item.push(each, self._beside()))

    def _beside(self) -> list[Tensor]:
        """What was chosen beside the id that is taken, (1, K); nothing of a model without streams."""
        return [each.cpu() for each in self.chosen[len(self.ids) : len(self.ids) + 1]]

    def _close(self, *, closed: bool) -> None:
        modality, item, dropped = self.modality, self.item, self.item.waiting
        self._keep_item(item.stream.finish(), closed=closed, dropped=dropped)
        self.modality = TEXT
        if item.pieces:
            joined = self.processor.modalities[modality].join(item.pieces)
            self.parts.append(GeneratedItem(modality, joined, closed, dropped))

    def _keep_item(self, piece: Any | None, *, closed: bool = False, dropped: int = 0) -> None:
        if piece is not None:
            self.item.pieces.append(piece)
            self.show(GeneratedItem(self.modality, piece, closed, dropped))

    def _keep_text(self, text: str) -> None:
        self.show(text)
        if self.parts and isinstance(self.parts[-1], str):
            self.parts[-1] += text
        else:
            self.parts.append(text)
