"""A decoder of items in steps of several ids, a codebook each, as they are; its grammar, and a toy model of it."""

from __future__ import annotations

from typing import Any

import torch

from tinyllava_kit.core.ids import allot
from tinyllava_kit.core.interfaces import Modality
from tinyllava_kit.model.vocabulary.codebooks import CodebookDecoder, CodebookPattern, DelayPattern
from tinyllava_kit.model.vocabulary.grammar import Grammar
from tinyllava_kit.testing import TokenDecoderContract

CODEBOOKS, SIZE, FIRST = 3, 5, 13


class Codes(CodebookDecoder):
    """Steps of ids as they are: an item is a list of tuples."""

    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        return {}

    @property
    def pattern(self) -> CodebookPattern:
        return DelayPattern(CODEBOOKS, SIZE)

    def num_ids(self, item: list[tuple[int, ...]]) -> int:
        return self.pattern.num_ids(len(item))

    def encode(self, item: list[tuple[int, ...]]) -> torch.Tensor:
        return self.pattern.to_ids(torch.tensor(item).T)

    def decode(self, ids: torch.Tensor) -> list[tuple[int, ...]]:
        return [tuple(step) for step in self.pattern.to_codes(ids).T.tolist()]


class CodesModality(Modality):
    unit = "steps"

    def read(self, source: Any) -> Any:
        return source

    def join(self, pieces: Any) -> Any:
        return [step for piece in pieces for step in piece]

    def write(self, item: Any, path: str) -> None:
        raise NotImplementedError


def steps(seed: int, count: int) -> list[tuple[int, ...]]:
    draw = torch.Generator().manual_seed(seed)
    return [tuple(each) for each in torch.randint(SIZE, (count, CODEBOOKS), generator=draw).tolist()]


class CodesContract(TokenDecoderContract):
    """The contract, of a decoder whose items are as short as one step."""

    component = Codes
    modality_class = CodesModality

    def items(self):
        return [steps(seed, count) for seed, count in enumerate((7, 1, 4, 2, 9))]


ITEMS = CodesContract().items()


def codes_model() -> Any:
    """A toy LLM that writes such items, which are of the modality ``it``."""
    return CodesContract()._toy()


def codes_grammar(pattern: CodebookPattern, modality: str = "it") -> Grammar:
    """The ids of one such decoder behind those of an LLM."""
    return Grammar(
        allot({modality: pattern.ranges}, FIRST),
        {modality: pattern.follows},
        FIRST,
        parallel={modality: pattern.parallel},
        break_points={modality: pattern.break_points},
    )
