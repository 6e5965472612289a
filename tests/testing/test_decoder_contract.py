"""The contract of decoders finds what it is for: the drawing plugin keeps it, and each way to break it fails a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch

from tests.strokes import CORNER, LINE, drawing  # noqa: F401 (a fixture)
from tinyllava_kit.testing import HiddenDecoderContract, TokenDecoderContract

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawing")]

ITEMS = [LINE, CORNER, [[(0.5, 0.0)], [(0.5, 1.0), (0.0, 0.5)]], [[(0.0, 1.0)]], [[(1.0, 0.5), (0.5, 0.5)]]]
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
            return ITEMS

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


def counts_one_more(decoder: Any) -> None:
    count = decoder.num_ids
    decoder.num_ids = lambda item: count(item) + 1


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


def hidden_contract(
    change: Callable[[Any], None] = lambda decoder: None, *, name: str = "SketchingDecoder"
) -> HiddenDecoderContract:
    """The contract of a decoder that draws of words, that `change` was done to."""
    from tinyllava_kit_drawing import sketching
    from tinyllava_kit_drawing.strokes import DrawingModality

    class Contract(HiddenDecoderContract):
        component = getattr(sketching, name)
        modality_class = DrawingModality
        options: ClassVar = {"grid": 3, "layers": 2, "width": 32, "heads": 2, "dropout": 0.0, "max_ids": 60}
        max_steps = 100  # two or three times what it needs

        def items(self):
            return ITEMS

        def _toy(self):
            model = super()._toy()
            change(model.decoders["it"])
            return model

    return Contract()


@pytest.mark.parametrize("decoder", ["SketchingDecoder", "SketchingPointsDecoder"])
@pytest.mark.parametrize("name", [name for name in dir(HiddenDecoderContract) if name.startswith("test_")])
def test_a_transformer_that_draws_keeps_the_contract(name: str, decoder: str) -> None:
    getattr(hidden_contract(name=decoder), name)()


def losses_that(change: Callable[[Any, Any, Any], Any]) -> Callable[[Any], None]:
    def apply(decoder: Any) -> None:
        losses = decoder.losses
        decoder.losses = lambda words, ids, targets: change(losses, words, (ids, targets))

    apply.__name__ = change.__name__
    return apply


def reads_padding(losses: Any, words: Any, rest: Any) -> Any:
    return losses(type(words)(words.hidden, words.embeddings, torch.ones_like(words.mask)), *rest)


def costs_nothing(losses: Any, words: Any, rest: Any) -> Any:
    return {group: (0 * each, hits) for group, (each, hits) in losses(words, *rest).items()}


def deaf(losses: Any, words: Any, rest: Any) -> Any:
    return losses(type(words)(0 * words.hidden, 0 * words.embeddings, words.mask), *rest)


def leaves_out_the_end(decoder: Any) -> None:
    targets = decoder.targets
    decoder.targets = lambda ids: {group: each[:-2] for group, each in targets(ids).items()}


def idles_without_a_graph(decoder: Any) -> None:
    decoder.dummy = lambda: torch.zeros(())


def never_ends(decoder: Any) -> None:
    make = decoder.make
    decoder.make = lambda words, sampler: (piece for piece in make(words, sampler) if not piece.closed)


HIDDEN_MUTANTS: list[tuple[Callable[[Any], None], str, str]] = [
    (counts_one_more, "test_counts", "9 counted, 8 ids"),
    (losses_that(reads_padding), "test_batch", "other losses in a batch"),
    (losses_that(costs_nothing), "test_targets", "an item costs a new decoder nothing"),
    (leaves_out_the_end, "test_targets", "targets are less than the ids of the item"),
    (
        idles_without_a_graph,
        "test_dummy",
        "no gradient, expected one of zero|does not require grad",
    ),
    (losses_that(deaf), "test_learned", "is not learned"),
    (never_ends, "test_learned", "is not ended"),
]


@pytest.mark.parametrize(("change", "name", "message"), HIDDEN_MUTANTS)
def test_what_breaks_the_contract_of_words_fails_its_test(
    change: Callable[[Any], None], name: str, message: str
) -> None:
    with pytest.raises(Exception, match=message):
        getattr(hidden_contract(change), name)()
