"""Items in steps of several ids, one of each codebook: how these lie in positions of the LLM.

Legend: K codebooks, V ids of a codebook, F steps, n positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ...core.decoders import TokenDecoder
from ...core.ids import BEGIN, END, NO_ID, ParallelStream
from ...errors import KitError


def delayed(codes: Tensor) -> Tensor:
    """Codes of F steps, codebook k delayed by k positions: (K, F) -> (F + K - 1, K), NO_ID before a codebook and
    behind it.

    Example:
        >>> delayed(torch.tensor([[1, 2, 3], [4, 5, 6]])).tolist()
        [[1, -1], [2, 4], [3, 5], [-1, 6]]
    """
    codebooks, steps = codes.shape
    out = codes.new_full((steps + codebooks - 1, codebooks), NO_ID)  # (n, K)
    for codebook, row in enumerate(codes):
        out[codebook : codebook + steps, codebook] = row
    return out


def undelayed(rows: Tensor) -> Tensor:
    """The inverse, of the steps that are whole where it is cut: (n, K) -> (K, n - K + 1)."""
    steps = len(rows) - rows.shape[1] + 1
    return torch.stack([rows[codebook : codebook + steps, codebook] for codebook in range(rows.shape[1])])  # (K, F)


@dataclass(frozen=True)
class CodebookPattern(ABC):
    """How K codebooks of V ids each lie in positions; what `TokenDecoder` asks for follows from it."""

    codebooks: int
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
    def parallel(self) -> Mapping[str, ParallelStream]:
        """See `TokenDecoder.parallel`. Default: there are none."""
        return {}

    @property
    def break_points(self) -> Mapping[str, int]:
        """See `TokenDecoder.break_points`. Default: where an item may end."""
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


class FlatPattern(CodebookPattern):
    """Step after step, one id of each codebook in order: K positions a step."""

    @property
    def ranges(self) -> Mapping[str, int]:
        return {f"code{codebook}": self.size for codebook in range(self.codebooks)}

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        return TokenDecoder.cycle(list(self.ranges))

    def num_ids(self, steps: int) -> int:
        """K F."""
        return self.codebooks * steps

    def to_ids(self, codes: Tensor) -> Tensor:
        """(K, F) -> (F * K,)."""
        return (codes + self._firsts(codes)).T.reshape(-1)  # (F * K,)

    def to_codes(self, ids: Tensor) -> Tensor:
        """(F * K,) -> (K, F)."""
        return ids.reshape(-1, self.codebooks).T - self._firsts(ids)  # (K, F)

    def _firsts(self, like: Tensor) -> Tensor:
        return torch.arange(self.codebooks, device=like.device)[:, None] * self.size  # (K, 1)


@dataclass(frozen=True)
class DelayPattern(CodebookPattern):
    """All ids of a position at once, each further codebook a position later: F + K - 1 positions.

    Copet et al., 2023, arXiv:2306.05284. The first codebook alone decides how long an item is. Behind its last id come
    `tail1`, `tail2` and so on, one id each, while the others end.

    Raises:
        KitError: fewer than two codebooks.
    """

    def __post_init__(self) -> None:
        if self.codebooks < 2:
            raise KitError(
                f"a delay between codebooks needs two or more, got {self.codebooks}; take the pattern 'flat'"
            )

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
    def parallel(self) -> Mapping[str, ParallelStream]:
        return {
            f"code{codebook}": ParallelStream(size=self.size, on=("code0", *self._tails[:codebook]), delay=codebook)
            for codebook in range(1, self.codebooks)
        }

    @property
    def break_points(self) -> Mapping[str, int]:
        return dict.fromkeys(self.ranges, self.codebooks)

    @property
    def reach(self) -> int:
        return self.codebooks - 1

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The tails are what nothing else could be."""
        return {**dict.fromkeys(("code0", *self.parallel), 1 / self.codebooks), **dict.fromkeys(self._tails, 0.0)}

    def num_ids(self, steps: int) -> int:
        """F + K - 1."""
        return steps + self.codebooks - 1

    def to_ids(self, codes: Tensor) -> Tensor:
        """(K, F) -> (F + K - 1, K)."""
        ids = delayed(codes)  # (n, K)
        ids[codes.shape[1] :, 0] = self.size + torch.arange(self.codebooks - 1, device=codes.device)
        return ids

    def to_codes(self, ids: Tensor) -> Tensor:
        """(n, K) -> (K, n - K + 1)."""
        return undelayed(ids)

    @property
    def _tails(self) -> list[str]:
        return [f"tail{number}" for number in range(1, self.codebooks)]


CODEBOOK_PATTERNS: Mapping[str, type[CodebookPattern]] = {"flat": FlatPattern, "delay": DelayPattern}


class CodebookDecoder(TokenDecoder):
    """A decoder whose items are steps of several ids, one of each codebook, in a `pattern`."""

    @property
    @abstractmethod
    def pattern(self) -> CodebookPattern:
        """How its codebooks lie in positions."""

    @property
    def ranges(self) -> Mapping[str, int]:
        return self.pattern.ranges

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        return self.pattern.follows

    @property
    def parallel(self) -> Mapping[str, ParallelStream]:
        return self.pattern.parallel

    @property
    def break_points(self) -> Mapping[str, int]:
        return self.pattern.break_points

    @property
    def loss_weights(self) -> Mapping[str, float]:
        return self.pattern.loss_weights
