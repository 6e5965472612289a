"""Answers that hold items: all at once, or piece by piece as they are generated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from ..core.conversation import Conversation
from ..core.decoders import IdStream, TextDecoder
from ..core.errors import KitError, near
from ..core.grammar import TEXT, Grammar, Piece
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.processing import TinyLlavaProcessor
from .answering import TextPieces, options_for
from .codes import ItemCodes


@dataclass(frozen=True)
class Given:
    """An item of an answer, or a piece of one.

    item: as its modality reads it. closed: whether the model ended it; `dropped` ids of one that it did not end belong
    to no whole step and are left out.
    """

    modality: str
    item: Any
    closed: bool = True
    dropped: int = 0


Part = str | Given
Show = Callable[[Part], None]


@dataclass(frozen=True)
class Reply:
    """What a model answers: text and items in the order in which it gave them."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(part for part in self.parts if isinstance(part, str)).strip()

    def items(self, modality: str) -> list[Given]:
        """Its items of a modality."""
        return [part for part in self.parts if isinstance(part, Given) and part.modality == modality]


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
        force: modalities of which an answer must hold an item. One that is made of text is made of the whole answer.
        forbid: modalities of which it must not.
        max_new_tokens: see `answering.answer`; those of items count.

    Raises:
        KitError: a modality that the model does not make; see also `answering.answer`.
    """
    batch, options = _prepared(model, processor, conversations, force, forbid, max_new_tokens, generation)
    chosen: list[Tensor] = []
    ids = model.generate(**batch, sides=chosen, **options)[:, batch["input_ids"].shape[1] :]  # (B, new)
    beside = processor.grammar.written(ids, chosen).tolist() if chosen else [None] * len(ids)
    made = []
    ends = _ends(model, options)
    for row, sides in zip(ids.tolist(), beside, strict=True):
        parts = [_part(piece, model, processor) for piece in _pieces(processor, _until_end(row, ends), sides)]
        reply = Reply(tuple(part for part in parts if part is not None))
        made.append(_read_aloud(reply, model, processor, force))
    return made


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
    batch, options = _prepared(model, processor, [conversation], force, forbid, max_new_tokens, generation)
    streamer = _Streamer(model, processor, _ends(model, options), show)
    model.generate(**batch, streamer=streamer, sides=streamer.chosen, **options)
    spoken = _read_aloud(Reply(tuple(streamer.parts)), model, processor, force)
    for part in spoken.parts[len(streamer.parts) :]:
        show(part)
    return spoken


def check_made(modalities: Iterable[str], decoders: Mapping[str, Any]) -> None:
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
) -> tuple[Any, dict[str, Any]]:
    """The batch, and what `generate` is told."""
    check_made((*force, *forbid), model.decoders)
    codes = ItemCodes(model, processor)
    encoded = [processor.encode(conversation, answer=True, writer=codes) for conversation in conversations]
    batch = processor.collate(encoded, padding_side="left").to(model.device)
    written = {
        "force": [modality for modality in force if modality in processor.writes],
        "forbid": [modality for modality in forbid if modality in processor.writes],
    }
    length = batch["input_ids"].shape[1]
    return batch, options_for(model, processor, length, max_new_tokens, **{**written, **generation})


def _ends(model: TinyLlavaForConditionalGeneration, options: Mapping[str, Any]) -> set[int]:
    """The ids that end an answer."""
    ends = options.get("eos_token_id", model.generation_config.eos_token_id)
    return {ends} if isinstance(ends, int) else set(ends or ())


def _until_end(row: list[int], ends: Collection[int]) -> list[int]:
    """A row of a batch without its end and the padding behind it."""
    at = next((place for place, each in enumerate(row) if each in ends), len(row))
    return row[:at]


def _pieces(processor: TinyLlavaProcessor, row: list[int], sides: list[list[int]] | None) -> list[Piece]:
    return [Piece(TEXT, row)] if processor.grammar is None else processor.grammar.pieces(row, sides)


def _part(piece: Piece, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> Part | None:
    if piece.modality == TEXT:
        return processor.decode(piece.ids, skip_special_tokens=True) or None
    if not piece.ids:  # ended before its first step was whole
        return None
    item = model.decoders[piece.modality].decode(torch.tensor(piece.ids))
    return Given(piece.modality, item, piece.closed, piece.dropped)


def _read_aloud(
    reply: Reply, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, force: Collection[str]
) -> Reply:
    """The reply, behind it the items that are made of its text."""
    made: list[Part] = []
    for modality in force:
        decoder = model.decoders[modality]
        if isinstance(decoder, TextDecoder) and reply.text:
            made.append(Given(modality, decoder.decode(reply.text)))
    return Reply((*reply.parts, *made))


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
        self.taken = 0  # new ids
        self.modality = TEXT  # of what is being generated; `item` is set where it is another

    def put(self, value: Tensor) -> None:
        if not self.seen_prompt:
            self.seen_prompt = True
            return
        for each in value.flatten().tolist():
            self._take(each)
            self.taken += 1

    def end(self) -> None:
        self._close(closed=False) if self.modality != TEXT else self.text.end()

    def _take(self, each: int) -> None:
        if self.modality == TEXT and each in self.begins:
            self.text.end()
            self.modality = self.begins[each]
            self.item = _Item(self.decoders[self.modality].stream(), self.grammar, self.modality, self._beside())
        elif self.modality == TEXT and each in self.ends:
            return
        elif self.modality == TEXT:
            self.text.put(torch.tensor([each]))
        elif each == self.grammar.end[self.modality]:
            self._close(closed=True)
        else:
            self._keep_item(self.item.push(each, self._beside()))

    def _beside(self) -> list[Tensor]:
        """What was chosen beside the id that is taken, (1, K); nothing of a model without sides."""
        return [each.cpu() for each in self.chosen[self.taken : self.taken + 1]]

    def _close(self, *, closed: bool) -> None:
        modality, item, dropped = self.modality, self.item, self.item.waiting
        self._keep_item(item.stream.finish(), closed=closed, dropped=dropped)
        self.modality = TEXT
        if item.pieces:
            joined = self.processor.modalities[modality].join(item.pieces)
            self.parts.append(Given(modality, joined, closed, dropped))

    def _keep_item(self, piece: Any | None, *, closed: bool = False, dropped: int = 0) -> None:
        if piece is not None:
            self.item.pieces.append(piece)
            self.show(Given(self.modality, piece, closed, dropped))

    def _keep_text(self, text: str) -> None:
        self.show(text)
        if self.parts and isinstance(self.parts[-1], str):
            self.parts[-1] += text
        else:
            self.parts.append(text)


class _Item:
    """An item that is being generated: ids that are waiting for their step to be whole, and the pieces there are.

    Args:
        beside: what was chosen beside its begin mark, (1, K), of a model that has sides.
    """

    def __init__(self, stream: IdStream, grammar: Grammar, modality: str, beside: list[Tensor]) -> None:
        self.stream, self.grammar, self.modality = stream, grammar, modality
        self.ids, self.chosen = [grammar.begin[modality]], beside
        self.waiting = 0  # how many of them were not pushed
        self.pieces: list[Any] = []

    def push(self, each: int, beside: list[Tensor]) -> Any | None:
        self.ids.append(each)
        self.chosen += beside
        self.waiting += 1
        if not self.grammar.may_cut(each, len(self.ids) - 1):
            return None
        ids, self.waiting = self._last(self.waiting), 0
        return self.stream.push(ids)

    def _last(self, count: int) -> Tensor:
        """The last ids, as the decoder counts them: (n,) or (n, 1 + sides)."""
        first, _ = self.grammar.span(self.modality)
        main = torch.tensor(self.ids[-count:]) - first - 2  # (n,)
        columns = self.grammar.side_columns(self.modality)
        if columns.start == columns.stop:
            return main
        beside = self.grammar.written(torch.tensor([self.ids]), self.chosen)[0, -count:, columns]  # (n, sides)
        return torch.cat([main[:, None], beside], 1)  # (n, 1 + sides)
