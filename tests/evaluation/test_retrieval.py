"""Retrieval against scoring one pair at a time with the whole model, and its ranks against counting."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests import toys
from tests.evaluation.seeing import row, seeing_model
from tinyllava_kit.core.conversation import ITEM, Item, Turn
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.controls import CONTROLS
from tinyllava_kit.evaluation.question import Question
from tinyllava_kit.evaluation.retrieval import Retrieval, retrieve
from tinyllava_kit.features.cache import FeatureCache

TEMPLATES = ["auto", "pretrain", "llama"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    toys.save_llama(folder / "llm")
    toys.save_pictures(folder / "images")
    return folder


@pytest.fixture(scope="module", params=TEMPLATES)
def seeing(request, place):
    """A model that reads pictures and its processor, with each kind of template."""
    return seeing_model(place, request.param)


def conversations(place):
    """One picture, two; two rows have the same answer, two the same picture."""
    pictures = [Item("image", str(place / "images" / f"{n}.png")) for n in range(4)]
    return [
        row("a dog", pictures[0]),
        row("a dog on a mat", pictures[1], pictures[0]),
        row("it is", pictures[2]),
        row("a dog", pictures[3]),
        row("Zwölf Boxkämpfer jagen Viktor", pictures[3]),
    ]


def asked(rows):
    return [Question.from_conversation(conversation) for conversation in rows]


def slow(model, processor, conversation):
    """log p of the last answer from the logits of the whole sequence, a token at a time."""
    batch = processor([conversation], labels=True)
    with torch.no_grad():
        probabilities = model(**batch, logits_to_keep=0).logits[0].double().log_softmax(-1)
    before = processor.encode(replace(conversation, turns=conversation.turns[:-1]), answer=True).num_tokens
    total = 0.0
    for place, label in enumerate(batch["labels"][0].tolist()):
        if place >= before and label >= 0:
            total += probabilities[place - 1, label].item()
    return total


def answered(conversation, text):
    return replace(conversation, turns=(*conversation.turns[:-1], Turn("assistant", text)))


@pytest.mark.parametrize("batch_size", [2, 16])
def test_log_probabilities_are_those_of_one_pair_at_a_time(seeing, place, batch_size):
    model, processor = seeing
    rows = conversations(place)
    found = retrieve(model, processor, asked(rows), batch_size=batch_size)
    assert found.answers == ["a dog", "a dog on a mat", "it is", "Zwölf Boxkämpfer jagen Viktor"]
    assert found.truths.tolist() == [0, 1, 2, 0, 3]
    expected = torch.tensor([[slow(model, processor, answered(c, text)) for text in found.answers] for c in rows])
    assert found.log_probs.std() > 1
    assert torch.allclose(found.log_probs, expected, atol=1e-3, rtol=0)


def test_an_earlier_answer_is_of_the_prompt(seeing, place):
    model, processor = seeing
    picture = Item("image", str(place / "images" / "2.png"))
    rows = [
        row("it is", picture, before=(Turn("user", f"{ITEM} look"), Turn("assistant", "I see"))),
        row("it was", picture, picture, before=(Turn("user", f"{ITEM} look"), Turn("assistant", "I see"))),
    ]
    found = retrieve(model, processor, asked(rows)).log_probs
    expected = torch.tensor([[slow(model, processor, answered(c, text)) for text in ("it is", "it was")] for c in rows])
    if type(processor.template).__name__ == "Pretrain":  # writes the first row's answers as one
        found, expected = ((rows - rows[:, :1])[:, 1:] for rows in (found, expected))
    assert torch.allclose(found, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("control", CONTROLS[1:])
def test_a_control_scores_what_the_control_makes(place, control):
    model, processor = seeing_model(place, "llama")
    rows = conversations(place)
    found, given = (retrieve(model, processor, asked(rows), control=c).log_probs for c in (control, "as given"))
    assert found.shape == given.shape
    assert (found - given).abs().max() > 0.1


def test_without_items_rows_that_ask_the_same_are_the_same(place):
    model, processor = seeing_model(place, "llama")
    found = retrieve(
        model, processor, asked(conversations(place)[:1] + conversations(place)[3:]), control="without items"
    )
    assert torch.equal(found.log_probs, found.log_probs[:1].expand(3, -1))


def test_a_prompt_of_text_alone_is_scored(place):
    model, processor = seeing_model(place, "auto")
    rows = [row("yes"), row("no, not at all")]
    expected = torch.tensor([[slow(model, processor, answered(c, t)) for t in ("yes", "no, not at all")] for c in rows])
    assert torch.allclose(retrieve(model, processor, asked(rows)).log_probs, expected, atol=1e-3, rtol=0)


def test_towers_see_each_item_once_and_not_again_where_features_are_kept(place):
    model, processor = seeing_model(place, "llama")
    seen = []
    model.towers["image"].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    features = FeatureCache(model, processor)
    first = retrieve(model, processor, asked(conversations(place)), features=features)
    assert sum(seen) == 4
    again = retrieve(model, processor, asked(conversations(place)), features=features, control="shuffled items")
    assert sum(seen) == 4
    assert not torch.equal(first.log_probs, again.log_probs)


def test_what_is_known_is_not_read_again_and_every_row_is_kept_as_it_is_done(place):
    model, processor = seeing_model(place, "llama")
    questions = asked(conversations(place))
    whole = retrieve(model, processor, questions)
    kept = {}
    known = {1: whole.log_probs[1].tolist(), 4: [0.0, -1.0, -2.0, -3.0]}
    found = retrieve(model, processor, questions, known=known, keep=kept.update)
    assert list(kept) == [0, 2, 3]
    assert found.log_probs[4].tolist() == known[4]
    assert torch.equal(found.log_probs[:4], whole.log_probs[:4])


def test_one_answer_alone_cannot_be_found_among_others(place):
    model, processor = seeing_model(place, "llama")
    rows = conversations(place)
    with pytest.raises(KitError, match="needs at least two different answers, got 1"):
        retrieve(model, processor, asked([rows[0], rows[3]]))
    with pytest.raises(KitError, match="needs at least two different answers, got 0"):
        retrieve(model, processor, [])


def test_an_answer_that_nothing_stands_before_is_named(place, monkeypatch):
    model, processor = seeing_model(place, "pretrain")
    monkeypatch.setattr(processor.template, "add_bos", False, raising=False)
    with pytest.raises(KitError, match="row: there is no text before the answer"):
        retrieve(model, processor, asked([row("yes"), row("no")]))


def known(log_probs, truths):
    return Retrieval(
        answers=[str(n) for n in range(len(log_probs[0]))],
        log_probs=torch.tensor(log_probs, dtype=torch.float64),
        truths=torch.tensor(truths),
    )


def test_the_prior_of_an_answer_is_its_mean_over_the_rows():
    found = known([[-1.0, -9.0], [-3.0, -8.0], [-5.0, -4.0]], [0, 1, 1])
    assert found.scores.tolist() == [[2.0, -2.0], [0.0, -1.0], [-2.0, 3.0]]


def test_an_answer_that_is_likely_everywhere_wins_only_where_it_is_likelier_than_elsewhere():
    found = known([[-1.0, -9.0], [-2.0, -7.0]], [0, 1])
    assert found.log_probs.argmax(1).tolist() == [0, 0]
    assert found.ranks.tolist() == [1, 1]


def test_ranks_are_those_of_counting():
    torch.manual_seed(0)
    log_probs, truths = torch.randn(13, 7), torch.randint(0, 7, (13,))
    found = known(log_probs.tolist(), truths.tolist())
    ranks = []
    for number, scores in enumerate(found.scores.tolist()):
        order = sorted(range(7), key=lambda answer: -scores[answer])
        ranks.append(order.index(int(truths[number])) + 1)
    assert found.ranks.tolist() == ranks
    for k in (1, 3, 7):
        assert found.recall(k) == pytest.approx(sum(rank <= k for rank in ranks) / 13)
    assert found.median_rank == sorted(ranks)[6]


def test_the_median_of_an_even_number_of_ranks_lies_between_the_middle_ones():
    assert known([[0.0, 9.0], [1.0, 0.0]], [0, 0]).ranks.tolist() == [2, 1]
    assert known([[0.0, 9.0], [1.0, 0.0]], [0, 0]).median_rank == 1.5


@pytest.mark.parametrize("value", [-2.0, float("nan"), -float("inf")])
def test_scores_that_tell_nothing_apart_put_the_own_answer_last(value):
    found = known([[value] * 3] * 4, [0, 1, 2, 0])
    assert found.ranks.tolist() == [3] * 4
    assert found.recall(1) == 0


def test_chance_is_that_of_the_different_answers():
    found = known([[0.0] * 8] * 2, [0, 1])
    assert [found.chance(k) for k in (1, 5, 9)] == [1 / 8, 5 / 8, 1.0]
