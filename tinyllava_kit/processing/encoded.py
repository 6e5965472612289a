"""A conversation as spans of a sample, with its items ready for their towers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..core.conversation import Item
from ..core.spans import GeneratedSpan, Sample, TextSpan


@dataclass(frozen=True, kw_only=True)
class EncodedItem:
    """An item ready for its tower: its `rows` of tensors and how many features each gives.

    `features` (P, E) in place of `rows` where the tower has run before; neither in a probe.
    """

    modality: str
    num_features: Sequence[int]
    rows: Sequence[Mapping[str, Tensor]] = ()
    features: Tensor | None = None


@dataclass(frozen=True)
class Encoded:
    """A conversation as spans of a sample, with its items in order."""

    spans: Sample
    items: Sequence[EncodedItem] = ()
    name: str = ""

    @property
    def num_tokens(self) -> int:
        """The length of the sample in positions of the LLM, items included."""
        return sum(len(s.ids) if isinstance(s, TextSpan) else s.num_tokens for s in self.spans)


# What an item's placeholder becomes: items ready for the tower, and text between them.
Parts = list[EncodedItem | str]


ItemReader = Callable[[Item], Parts]


# An item that the assistant gives -> the ids that are learned for it: the LLM's, marks included, or its decoder's own.
ItemWriter = Callable[[Item], TextSpan | GeneratedSpan]
