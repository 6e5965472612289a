"""The contract of decoders finds what it is for: the drawing plugin keeps it, and each way to break it fails a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch

from tests.strokes import DRAWINGS, drawing  # noqa: F401 (a fixture)
from tests.testing.right import counts_one_more
from tinyllava_kit.testing import TokenDecoderContract

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawing")]

NAMES = [name for name in dir(TokenDecoderContract) if name.startswith("test_")]


def contract(
    change: Callable[[Any], None] = lambda decoder: None, *, name: str = "StrokeDecoder"
) -> TokenDecoderContract:
    """The contract of a decoder of drawings that `change` was done to."""
    from tinyllava_kit_drawing import decoder, points
    from tinyllava_kit_drawing.strokes import DrawingModality

    class Contract(TokenDecoderContract):
        component = getattr(decoder if name == "StrokeDecoder" else points, name)
        modality_class = DrawingModality
        options: ClassVar = {"grid": 3}

        def items(self):
            return DRAWINGS

        def coder(self, options, checkpoint):
            decoder = super().coder(options, checkpoint)
            change(decoder)
            return decoder

    return Contract()


@pytest.mark.parametrize("decoder", ["StrokeDecoder", "PointDecoder"])
@pytest.mark.parametrize("name", NAMES)
def test_the_drawing_plugin_keeps_the_contract(name: str, decoder: str) -> None:
    getattr(contract(name=decoder), name)()


def one_id(decoder: Any) -> None:
    encode = decoder.encode
    decoder.encode = lambda item: torch.where(encode(item) > 4, 5, torch.where(encode(item) > 1, 2, encode(item)))


def another_order(decoder: Any) -> None:
    encode = decoder.encode
    decoder.encode = lambda item: encode(item).flip(0)


def remembers(decoder: Any) -> None:
    encode, seen = decoder.encode, []

    def with_memory(item: Any) -> Any:
        seen.append(item)
        ids = encode(item)
        ids[1] = 2 + len(seen) % 3
        return ids

    decoder.encode = with_memory


def loses_what_was_streamed(decoder: Any) -> None:
    stream = decoder.stream

    def forgetful() -> Any:
        made = stream()
        push = made.push
        made.push = lambda ids: push(ids[:3])
        return made

    decoder.stream = forgetful


def one_place(decoder: Any) -> None:
    encode = decoder.encode
    decoder.encode = lambda item: torch.cat([encode(item)[:, :2], torch.ones(len(encode(item)), 1).long()], 1)


def places_nowhere(decoder: Any) -> None:
    encode = decoder.encode
    decoder.encode = lambda item: torch.cat([encode(item)[:, :2], encode(item)[:, 2:] - 1], 1)


PARALLEL_MUTANTS: list[tuple[Callable[[Any], None], str, str]] = [
    (one_place, "test_used", "range 'y': 1 ids of 3"),
    (
        places_nowhere,
        "test_counts",
        "gives -1 as 'it.y' beside id number 0, expected one of 3",
    ),
]


@pytest.mark.parametrize(("change", "name", "message"), PARALLEL_MUTANTS)
def test_what_breaks_the_contract_beside_ids_fails_its_test(
    change: Callable[[Any], None], name: str, message: str
) -> None:
    with pytest.raises(Exception, match=message):
        getattr(contract(change, name="PointDecoder"), name)()


TOKEN_MUTANTS: list[tuple[Callable[[Any], None], str, str]] = [
    (one_id, "test_used", "range 'x': 1 ids of 3"),
    (counts_one_more, "test_counts", "10 counted, 9 ids"),
    (another_order, "test_counts", "and id number 0 is not allowed there"),
    (remembers, "test_stateless", "has other ids behind others than alone"),
    (loses_what_was_streamed, "test_stream", "2 steps at a time: not the whole"),
]


@pytest.mark.parametrize(("change", "name", "message"), TOKEN_MUTANTS)
def test_what_breaks_the_contract_fails_its_test(change: Callable[[Any], None], name: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        getattr(contract(change), name)()
