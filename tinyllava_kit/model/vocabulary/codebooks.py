"""Items in steps of several ids, one of each book: how these lie in positions of the LLM.

Legend: K books, V ids of a book, F steps, n positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ...core.decoders import TokenDecoder
from ...core.ids import BEGIN, END, NO_ID, Side
from ...errors import KitError


def delayed(codes: Tensor) -> Tensor:
    """Codes of F steps, book k delayed by k positions: (K, F) -> (F + K - 1, K), NO_ID before a book and behind it.

    Example:
        >>> delayed(torch.tensor([[1, 2, 3], [4, 5, 6]])).tolist()
        [[1, -1], [2, 4], [3, 5], [-1, 6]]
    """
    books, steps = codes.shape
    out = codes.new_full((steps + books - 1, books), NO_ID)  # (n, K)
    for book, row in enumerate(codes):
        out[book : book + steps, book] = row
    return out


def undelayed(rows: Tensor) -> Tensor:
    """The inverse, of the steps that are whole where it is cut: (n, K) -> (K, n - K + 1)."""
    steps = len(rows) - rows.shape[1] + 1
    return torch.stack([rows[book : book + steps, book] for book in range(rows.shape[1])])  # (K, F)


@dataclass(frozen=True)
class Layout(ABC):
    """How K books of V ids each lie in positions; what `TokenDecoder` asks for follows from it."""

    books: int
    size: int

    @property
    @abstractmethod
    def ranges(self) -> Mapping[str, int]:
        """See `TokenDecoder.ranges`."""

    @property
    @abstractmethod
    def follows(self) -> Mapping[str, Sequence[str]]:
        """See `TokenDecoder.follows`."""

    @property
    def sides(self) -> Mapping[str, Side]:
        """See `TokenDecoder.sides`. Default: there are none."""
        return {}

    @property
    def cuts(self) -> Mapping[str, int]:
        """See `TokenDecoder.cuts`. Default: where an item may end."""
        return {}

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """See `TokenDecoder.loss_weights`. Default: every range as much."""
        return dict.fromkeys(self.ranges, 1 / len(self.ranges))

    @property
    def reach(self) -> int:
        """How many of the last positions the next steps stand in, too. Default: none."""
        return 0

    @abstractmethod
    def num_ids(self, steps: int) -> int:
        """How many positions so many steps take."""

    @abstractmethod
    def to_ids(self, codes: Tensor) -> Tensor:
        """(K, F) -> ids, as a decoder counts them."""

    @abstractmethod
    def to_codes(self, ids: Tensor) -> Tensor:
        """The inverse, of the steps that are whole."""


class Flat(Layout):
    """Step after step, one id of each book in order: K positions a step."""

    @property
    def ranges(self) -> Mapping[str, int]:
        return {f"code{book}": self.size for book in range(self.books)}

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        return TokenDecoder.cycle(list(self.ranges))

    def num_ids(self, steps: int) -> int:
        """K F."""
        return self.books * steps

    def to_ids(self, codes: Tensor) -> Tensor:
        """(K, F) -> (F * K,)."""
        return (codes + self._firsts(codes)).T.reshape(-1)  # (F * K,)

    def to_codes(self, ids: Tensor) -> Tensor:
        """(F * K,) -> (K, F)."""
        return ids.reshape(-1, self.books).T - self._firsts(ids)  # (K, F)

    def _firsts(self, like: Tensor) -> Tensor:
        return torch.arange(self.books, device=like.device)[:, None] * self.size  # (K, 1)


@dataclass(frozen=True)
class Delayed(Layout):
    """All ids of a position at once, each further book a position later: F + K - 1 positions.

    Copet et al., 2023, arXiv:2306.05284. The first book alone decides how long an item is. Behind its last id come
    `tail1`, `tail2` and so on, one id each, while the others end.

    Raises:
        KitError: fewer than two books.
    """

    def __post_init__(self) -> None:
        if self.books < 2:
            raise KitError(f"a delay between books wants two or more, got {self.books}; take the layout 'flat'")

    @property
    def ranges(self) -> Mapping[str, int]:
        return {"code0": self.size, **dict.fromkeys(self._tails, 1)}

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        chain = [*self._tails, END]
        return {
            BEGIN: ("code0",),
            "code0": ("code0", chain[0]),
            **{tail: (after,) for tail, after in pairwise(chain)},
        }

    @property
    def sides(self) -> Mapping[str, Side]:
        return {
            f"code{book}": Side(size=self.size, on=("code0", *self._tails[:book]), delay=book)
            for book in range(1, self.books)
        }

    @property
    def cuts(self) -> Mapping[str, int]:
        return dict.fromkeys(self.ranges, self.books)

    @property
    def reach(self) -> int:
        return self.books - 1

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The tails are what nothing else could be."""
        return {**dict.fromkeys(("code0", *self.sides), 1 / self.books), **dict.fromkeys(self._tails, 0.0)}

    def num_ids(self, steps: int) -> int:
        """F + K - 1."""
        return steps + self.books - 1

    def to_ids(self, codes: Tensor) -> Tensor:
        """(K, F) -> (F + K - 1, K)."""
        ids = delayed(codes)  # (n, K)
        ids[codes.shape[1] :, 0] = self.size + torch.arange(self.books - 1, device=codes.device)
        return ids

    def to_codes(self, ids: Tensor) -> Tensor:
        """(n, K) -> (K, n - K + 1)."""
        return undelayed(ids)

    @property
    def _tails(self) -> list[str]:
        return [f"tail{number}" for number in range(1, self.books)]


LAYOUTS: Mapping[str, type[Layout]] = {"flat": Flat, "delay": Delayed}


class BookDecoder(TokenDecoder):
    """A decoder whose items are steps of several ids, one of each book, in a `layout`."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """How its books lie in positions."""

    @property
    def ranges(self) -> Mapping[str, int]:
        return self.layout.ranges

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        return self.layout.follows

    @property
    def sides(self) -> Mapping[str, Side]:
        return self.layout.sides

    @property
    def cuts(self) -> Mapping[str, int]:
        return self.layout.cuts

    @property
    def loss_weights(self) -> Mapping[str, float]:
        return self.layout.loss_weights
