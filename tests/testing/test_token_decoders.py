"""Decoders that are wrong in one way each, and the check of the contract that says so.

Of those that learn, more are in test_item_decoders.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.testing.right import PAIRS, caught, changed, offered, passes, table
from tinyllava_kit.interfaces import BEGIN, IdStream, TokenDecoder
from tinyllava_kit.plugin.specs import DecoderSpec, Option
from tinyllava_kit.testing import TokenDecoderContract


class PairDecoder(TokenDecoder):
    """A pair is two ids, `across` and `down`."""

    @classmethod
    def read_config(cls, checkpoint: str, *, size: int = 5) -> dict[str, Any]:
        return {"size": size}

    @property
    def ranges(self) -> Mapping[str, int]:
        return {"across": self.config["size"], "down": self.config["size"]}

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        return self.cycle(["across", "down"])

    def num_ids(self, item: Any) -> int:
        return 2 * len(item)

    def encode(self, item: Any) -> Tensor:
        return torch.tensor([(across, self.config["size"] + down) for across, down in item]).flatten()

    def decode(self, ids: Tensor) -> Any:
        return [(across, down - self.config["size"]) for across, down in ids.view(-1, 2).tolist()]

    def stream(self) -> IdStream:
        return Streamed(self)


class Streamed(IdStream):
    def __init__(self, decoder: PairDecoder) -> None:
        self.decoder = decoder

    def push(self, ids: Tensor) -> Any:
        return self.decoder.decode(ids) if len(ids) else None

    def finish(self) -> None:
        return None


DECODER = DecoderSpec(
    name="pairs",
    target=f"{__name__}:PairDecoder",
    modality="pairs",
    options=(Option(name="size", type=int, default=5),),
)
ITEMS = [[(0, 4), (3, 1)], [(1, 1), (2, 0), (4, 3), (0, 2)], [(3, 3)], [(2, 4), (4, 0), (1, 2)], [(0, 0)]]


class PairContract(TokenDecoderContract):
    component = PairDecoder
    spec = DECODER
    catalog = offered(PAIRS, DECODER)

    def items(self) -> Sequence[Any]:
        return ITEMS

    def known_ids(self) -> Sequence[tuple[Any, Sequence[int]]]:
        return [([(1, 4), (3, 0)], [1, 9, 3, 5])]


def contract_of(decoder: type[TokenDecoder]) -> PairContract:
    contract = PairContract()
    contract.component = decoder
    return contract


def coded(encode: Any, decode: Any = None) -> type[PairDecoder]:
    """Its ids, and its items, are what these make of the right ones."""
    known: dict[str, Any] = {"encode": lambda self, item: encode(self, PairDecoder.encode(self, item))}
    if decode is not None:
        known["decode"] = lambda self, ids: decode(self, ids)
    return changed(PairDecoder, **known)


def mirrored_ids(self: Any, ids: Tensor) -> Tensor:
    return ids.view(-1, 2).flip(0).flatten()


def mirrored_item(self: Any, ids: Tensor) -> Any:
    return PairDecoder.decode(self, mirrored_ids(self, ids))


def swapped_item(self: Any, ids: Tensor) -> Any:
    return [(down, across) for across, down in PairDecoder.decode(self, ids)]


def shifted_item(self: Any, ids: Tensor) -> Any:
    return [((across + 1) % 5, down) for across, down in PairDecoder.decode(self, ids)]


def counted(self: Any, ids: Tensor) -> Tensor:
    self.calls = getattr(self, "calls", 0) + 1
    return ids.clone().index_fill_(0, torch.tensor([0]), self.calls % 5)


def remembers_items(self: Any, ids: Tensor) -> Any:
    self.calls = getattr(self, "calls", 0) + 1
    return PairDecoder.decode(self, ids)[: 1 + self.calls % 2] or [(0, 0)]


class Forgetful(Streamed):
    def push(self, ids: Tensor) -> Any:
        return self.decoder.decode(ids[:2]) if len(ids) else None


class LosesTheEnd(Streamed):
    def __init__(self, decoder: PairDecoder) -> None:
        super().__init__(decoder)
        self.last: Any = None

    def push(self, ids: Tensor) -> Any:
        now, self.last = self.last, self.decoder.decode(ids)
        return now


class WithBook(PairDecoder):
    """A codebook that is made at random and never saved."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.book = [int(each) for each in torch.randperm(5)]

    def encode(self, item: Any) -> Tensor:
        return super().encode([(self.book[across], down) for across, down in item])

    def decode(self, ids: Tensor) -> Any:
        return [(self.book.index(across), down) for across, down in super().decode(ids)]


def of_config(**known: Any) -> type[PairDecoder]:
    """Its configuration is the right one with these values, or these alone."""
    return changed(PairDecoder, read_config=classmethod(lambda cls, checkpoint, size=5: {"size": size, **known}))


ENDLESS = {BEGIN: ("across",), "across": ("down",), "down": ("across",)}
MUTANTS: list[tuple[str, type[TokenDecoder], str, str]] = [
    ("one id more counted", changed(PairDecoder, num_ids=lambda s, item: 2 * len(item) + 1), "counts", "counted"),
    ("ids of 32 bits", coded(lambda s, ids: ids.int()), "counts", "ids are torch.int32"),
    ("ids in another order", coded(lambda s, ids: ids.flip(0)), "counts", "is not allowed there"),
    ("an id behind the range", coded(lambda s, ids: ids + 1), "counts", "raised|may stand"),
    ("a grammar that never ends", changed(PairDecoder, follows=property(lambda s: ENDLESS)), "counts", "change:"),
    ("encode and decode mirrored alike", coded(mirrored_ids, mirrored_item), "known", "has ids"),
    ("decode mirrored alone", changed(PairDecoder, decode=mirrored_item), "round_trip", "is another after"),
    ("rows and columns swapped", changed(PairDecoder, decode=swapped_item), "round_trip", "is another after"),
    ("colours shifted", changed(PairDecoder, decode=shifted_item), "round_trip", "is another after"),
    ("state between items", coded(counted), "stateless", "has other ids behind others than alone"),
    ("state between decodings", changed(PairDecoder, decode=remembers_items), "stateless", "another item the"),
    ("streamed unlike whole", changed(PairDecoder, stream=lambda s: Forgetful(s)), "stream", "not the whole"),
    ("the last piece lost", changed(PairDecoder, stream=lambda s: LosesTheEnd(s)), "stream", "not the whole"),
    ("one id for everything", coded(lambda s, ids: torch.where(ids < 5, 0, 5)), "used", "1 ids of"),
    ("a book that is not saved", WithBook, "saved", "saved and loaded, it gives other ids"),
    ("a configuration that is not JSON", of_config(at=(1,)), "saved", "not plain JSON"),
    ("an option that is ignored", of_config(size=5), "options", "'size' changes nothing"),
]


@pytest.mark.slow
def test_the_right_decoder_passes_every_check() -> None:
    reasons = passes(PairContract())
    assert set(reasons) == {"weights", "incomplete", "other_kind", "missing"}
    assert set(reasons.values()) == {"its toy takes no checkpoint"}


@table(MUTANTS)
def test_a_mutant_of_the_decoder_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)


# ---- of a text -------------------------------------------------------------------------------------------------------
