"""What a sample is made of: spans of text, of items, and items that a decoder makes of the text in front of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

IGNORE_INDEX = -100


@dataclass(frozen=True)
class TextSpan:
    """Tokens of text. `labels` is as long as `ids`; None: nothing here is learned.

    `parallel` are the K parallel ids at each position, NO_ID where there is none; None: nowhere here.
    """

    ids: Sequence[int]
    labels: Sequence[int] | None = None
    parallel: Sequence[Sequence[int]] | None = None

    @property
    def num_tokens(self) -> int:
        """How many there are."""
        return len(self.ids)

    def __getitem__(self, places: slice) -> TextSpan:
        """A part of it."""
        labels = None if self.labels is None else self.labels[places]
        parallel = None if self.parallel is None else self.parallel[places]
        return TextSpan(self.ids[places], labels, parallel)


@dataclass(frozen=True)
class ItemSpan:
    """The rows of one item."""

    modality: str
    num_tokens: int


@dataclass(frozen=True)
class GeneratedSpan:
    """An item that a decoder makes of the learned text in front of it (`decoders.HiddenDecoder`); it takes no position.

    That text reaches back to the last token that is not learned, or to another such item. `ids` are those that the
    decoder learns, or rows of them; empty where it shall make the item.
    """

    modality: str
    ids: Sequence[Any] = ()

    num_tokens = 0


AnySpan = TextSpan | ItemSpan | GeneratedSpan


Sample = Sequence[AnySpan]


def without_labels(sample: Sample) -> Sample:
    """The same where nothing is learned, so that no item is made of it either."""
    kept = (span for span in sample if not isinstance(span, GeneratedSpan))
    return [replace(span, labels=None) if isinstance(span, TextSpan) else span for span in kept]
