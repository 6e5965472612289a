"""The contract of decoders of states: one that draws keeps it, and each way to break it fails a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch

from tests.strokes import DRAWINGS, drawing  # noqa: F401 (a fixture)
from tests.testing.right import counts_one_more
from tinyllava_kit.testing import HiddenDecoderContract

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawing")]


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
            return DRAWINGS

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
