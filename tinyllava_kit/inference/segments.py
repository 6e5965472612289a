"""Generated ids, one after another, to segments of text and items, shown while an answer is generated."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..core.ids import TEXT
from ..model.vocabulary.grammar import Grammar
from ..model.vocabulary.item_ids import ItemIds
from ..processing.processor import TinyLlavaProcessor


@dataclass(frozen=True)
class GeneratedItem:
    """An item of an answer, or a chunk of one.

    item: as its modality reads it. closed: whether the model ended it; `dropped` ids of one that it did not end belong
    to no whole step and are left out.
    """

    modality: str
    item: Any
    closed: bool = True
    dropped: int = 0


_HALF = "\N{REPLACEMENT CHARACTER}"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a token of a tokenizer that writes unknown characters as their bytes

AnswerPart = str | GeneratedItem
Show = Callable[[AnswerPart], None]


def nothing(part: AnswerPart) -> None:
    """Show nothing."""


class TextSegments:
    """The text of ids, given on as far as no later id changes it.

    An id is decoded behind those of the segment before, as it is in the whole text: what a tokenizer does with a first
    space it does once.

    Args:
        show: gets each segment; together they are the text of all ids.
    """

    def __init__(self, tokenizer: Any, show: Callable[[str], None]) -> None:
        self.tokenizer, self.show = tokenizer, show
        self._special = set(tokenizer.all_special_ids)
        self._before: list[int] = []  # the segment that was shown last
        self._new: list[int] = []

    def put(self, token: int) -> None:
        """Take the next id; a special one is no text."""
        if token not in self._special:
            self._new.append(token)
            self._give(final=False)

    def end(self) -> None:
        """Show the text that was held back as uncertain; no more ids come for now."""
        self._give(final=True)
        self._before = []

    def _give(self, *, final: bool) -> None:
        known, text = self._decode(self._before), self._decode([*self._before, *self._new])
        if not final and self._may_change(text):
            return
        if segment := text[len(known) :]:
            self._before, self._new = self._new, []
            self.show(segment)
        elif final:
            self._new = []

    def _may_change(self, text: str) -> bool:
        """Whether it ends in half of a character, or in a byte alone: a run of bytes is decoded as one."""
        last: str | None = self.tokenizer.convert_ids_to_tokens(self._new[-1])
        return text.endswith(_HALF) or (last is not None and _BYTE.fullmatch(last) is not None)

    def _decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True) if ids else ""
        return text


class Segments:
    """Takes ids, and shows text and chunks of items as far as they are certain.

    Args:
        decoders: of the model.
        show: gets each segment.
    """

    def __init__(self, decoders: nn.ModuleDict, processor: TinyLlavaProcessor, show: Show) -> None:
        self.decoders, self.processor, self.show = decoders, processor, show
        self.grammar: Grammar | None = processor.grammar
        self.begins = {} if self.grammar is None else {begin: m for m, begin in self.grammar.begin.items()}
        self.text = TextSegments(processor.tokenizer, self._keep_text)
        self.parts: list[AnswerPart] = []
        self.modality = TEXT  # of the segment being generated; `item` is set where it is another

    def take(self, token: int, parallel_ids: list[Tensor]) -> None:
        """The next id, and what was chosen beside it, (1, K); nothing of a model without streams."""
        if self.modality == TEXT and token in self.begins and self.grammar is not None:
            self.text.end()
            self.modality = self.begins[token]
            decoder: Any = self.decoders[self.modality]
            self.item = ItemIds(decoder.stream(), self.grammar, self.modality, parallel_ids)
        elif self.modality == TEXT:
            self.text.put(token)
        elif self.grammar is not None and token == self.grammar.end[self.modality]:
            self._close(closed=True)
        else:
            self._keep_item(self.item.push(token, parallel_ids))

    def end(self) -> None:
        """There are no more ids."""
        self.text.end() if self.modality == TEXT else self._close(closed=False)

    def _close(self, *, closed: bool) -> None:
        modality, item, dropped = self.modality, self.item, self.item.waiting
        self._keep_item(item.stream.finish(), closed=closed, dropped=dropped)
        self.modality = TEXT
        if item.chunks:
            joined = self.processor.modalities[modality].join(item.chunks)
            self.parts.append(GeneratedItem(modality, joined, closed, dropped))

    def _keep_item(self, chunk: Any | None, *, closed: bool = False, dropped: int = 0) -> None:
        if chunk is not None:
            self.item.chunks.append(chunk)
            self.show(GeneratedItem(self.modality, chunk, closed, dropped))

    def _keep_text(self, text: str) -> None:
        if self.parts and isinstance(self.parts[-1], str):
            self.parts[-1] += text
        else:
            self.parts.append(text)
        self.show(text)
