"""A talker around the codec of drawings: its sizes, its ids, and what it learns against a slow loop."""

from __future__ import annotations

import pytest
import torch

from tests.strokes import DRAWINGS, LINE, drawing  # noqa: F401 (a fixture)
from tinyllava_kit.core.decoders import AnswerStates
from tinyllava_kit.core.ids import NO_ID
from tinyllava_kit.errors import KitError

pytestmark = pytest.mark.usefixtures("drawing")

SIZES = {"layers": 2, "width": 32, "heads": 2, "dropout": 0.0, "max_ids": 60}
WIDTH, WORDS = 11, 3


def talker(**sizes):
    from tinyllava_kit_drawing.sketching import SketchingDecoder

    torch.manual_seed(0)
    config = SketchingDecoder.read_config("", grid=3, **{**SIZES, **sizes})
    return SketchingDecoder(config, WIDTH).eval()


def words(lengths=(WORDS,), seed=1):
    generator = torch.Generator().manual_seed(seed)
    hidden, embeddings = torch.randn(2, len(lengths), max(lengths), WIDTH, generator=generator)
    return AnswerStates(hidden, embeddings, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


def test_its_own_options_and_those_of_the_codec_are_told_apart():
    made = talker()
    assert {name: made.config[name] for name in SIZES} == SIZES
    assert made.config["codec"]["grid"] == 3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 30}, "a talker of width 30 and 2 heads, .* a width that twice the heads divides"),
        ({"heads": 0}, "0 heads"),
        ({"layers": 0}, "0 layers|layers"),
        ({"max_ids": 0}, "0 ids"),
        ({"dropout": 1.0}, r"a talker's dropout is 1\.0; expected a share from 0 to below 1"),
        ({"dropout": -0.1}, r"dropout is -0\.1"),
        ({"width": "wide"}, "width"),
    ],
)
def test_sizes_that_no_transformer_has_are_refused(sizes, message):
    with pytest.raises(KitError, match=message):
        talker(**sizes)


def test_ids_are_the_codecs_between_marks_and_come_back():
    made = talker()
    for item in DRAWINGS:
        ids = made.encode(item)
        assert len(ids) == made.num_ids(item) == len(made.codec.encode(item)) + 2
        assert (int(ids[0]), int(ids[-1])) == (made.grammar.begin["item"], made.grammar.end["item"])
        assert made.decode(ids) == item


def test_an_item_that_is_too_long_is_refused():
    made = talker(max_ids=10)
    with pytest.raises(KitError, match="an item of 11 ids, and the model's talker writes 10 at most"):
        made.encode(LINE)


def test_the_loss_of_an_id_is_that_of_the_transformer_run_alone():
    made = talker()
    states = words((3, 2))
    items = [made.encode(LINE), made.encode(DRAWINGS[1])[:7]]
    ids = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=NO_ID)
    with torch.no_grad():
        found = made.losses(states, ids, made.targets(ids))
        costs = torch.cat([losses for losses, _ in found.values()])
        expected = []
        for number, (item, length) in enumerate(zip(items, (3, 2), strict=True)):
            hidden, embeddings = states.hidden[number, :length], states.embeddings[number, :length]
            read = made.join(torch.cat([made.hidden_norm(hidden), made.embedding_norm(embeddings)], -1))
            embeds = torch.cat([read, made._embed(item[None, :-1])[0]])[None]
            rows = made.transformer(inputs_embeds=embeds).last_hidden_state[0, length:]
            logits = made.extension.logits(lambda hidden: hidden[..., :0], rows)
            allowed = made.grammar.allowed[made.grammar.state_of[item[:-1]]]
            expected += torch.nn.functional.cross_entropy(
                logits.masked_fill(~allowed, -torch.inf), item[1:], reduction="none"
            ).tolist()
    assert sum(map(len, (losses for losses, _ in found.values()))) == len(expected)
    assert sorted(costs.tolist()) == pytest.approx(sorted(expected), abs=1e-4)


def test_what_is_made_is_an_item_that_ends_or_is_cut():
    made = talker(max_ids=20)
    chunks = list(made.make(words(), lambda logits: logits.argmax(-1)))
    assert chunks[-1].closed or chunks[-1].dropped < 3
    assert all(not chunk.closed for chunk in chunks[:-1])


def test_a_batch_without_such_an_item_reaches_every_weight_with_zero():
    made = talker()
    made.dummy().backward()
    trained = [weight for module in made.trained_modules() for weight in module.parameters()]
    assert len(trained) > 10
    assert all(weight.grad is not None and not weight.grad.any() for weight in trained)
