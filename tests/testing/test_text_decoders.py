"""Decoders of text that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tests.testing.right import PAIRS, caught, changed, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.interfaces import TextDecoder
from tinyllava_kit.plugin.specs import DecoderSpec, Option
from tinyllava_kit.testing import TextDecoderContract


class Speller(TextDecoder):
    """The numbers of letters."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.register_buffer("step", torch.tensor(config["step"]))

    @classmethod
    def read_config(cls, checkpoint: str, *, step: int = 1) -> dict[str, Any]:
        return {"step": step}

    def decode(self, text: str) -> Any:
        if not text.strip():
            raise KitError("there is no letter to spell")
        return [(ord(letter) * int(self.step) % 5, number % 5) for number, letter in enumerate(text)]


SPELLER = DecoderSpec(
    name="speller",
    target=f"{__name__}:Speller",
    modality="pairs",
    reads="text",
    options=(Option(name="step", type=int, default=1),),
)


class SpellerContract(TextDecoderContract):
    component = Speller
    spec = SPELLER
    catalog = offered(PAIRS, SPELLER)


class CountsCalls(Speller):
    calls = 0

    def decode(self, text: str) -> Any:
        self.calls += 1
        return [*super().decode(text), (self.calls % 5, 0)]


class RandomVoice(Speller):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.voice = int(torch.randint(1000, ()))

    def decode(self, text: str) -> Any:
        return [*super().decode(text), (self.voice, 0)]


class Blind(Speller):
    @classmethod
    def read_config(cls, checkpoint: str, *, step: int = 1) -> dict[str, Any]:
        return {"step": 1}


TEXT_MUTANTS: list[tuple[str, type[TextDecoder], str, str]] = [
    ("an item that is none", changed(Speller, decode=lambda s, text: len(text)), "decode", "raised TypeError"),
    (
        "one item for every text",
        changed(Speller, decode=lambda s, text: [(1, 2)]),
        "decode",
        "the item of another text",
    ),
    ("state between texts", CountsCalls, "decode", "another item behind others"),
    ("an empty text taken", changed(Speller, decode=lambda s, text: [(len(text), 1)]), "empty", "not refused"),
    ("a raw error", changed(Speller, decode=lambda s, text: [(ord(text.strip()[0]), 1)]), "empty", "raised IndexError"),
    ("a voice that is not saved", RandomVoice, "saved", "gives another item"),
    ("an option that is ignored", Blind, "options", "'step' changes"),
]


def test_the_right_text_decoder_passes_every_check() -> None:
    assert set(passes(SpellerContract())) == {"weights", "incomplete", "other_kind", "missing"}


@table(TEXT_MUTANTS)
def test_a_mutant_of_the_text_decoder_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(changed(SpellerContract, component=mutant)(), check, message)
