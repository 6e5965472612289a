"""Answers against asking one by one, and what counts as the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests import toys
from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.asking import answers
from tinyllava_kit.evaluation.controls import CONTROLS
from tinyllava_kit.evaluation.exact_match import accuracy, exact_match, is_right
from tinyllava_kit.evaluation.judged import Judged
from tinyllava_kit.evaluation.question import Question
from tinyllava_kit.inference.answering import answer

NEW = 5


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A model that reads pictures, its processor, and rows with one picture, two and none."""
    folder = tmp_path_factory.mktemp("seeing")
    model, processor = toys.picture_model(folder / "llm")
    model.eval()
    return model, processor, ConversationDataset.from_file(toys.picture_rows(folder), processor).conversations


def asked(conversations):
    return [Question.from_conversation(conversation) for conversation in conversations]


def by_hand(conversations, control):
    """The prompts of a control that needs no modality, made anew."""
    for conversation in conversations:
        turns = [Turn(t.role, t.text) for t in conversation.turns[:-1]]
        if control == "without items":
            turns = [Turn(t.role, t.text.replace(ITEM + "\n", "").replace(ITEM, "")) for t in turns]
        yield Conversation(tuple(turns), () if control == "without items" else conversation.items)


@pytest.mark.parametrize("control", ["as given", "without items"])
def test_answers_in_batches_are_those_of_asking_one_by_one(seeing, control):
    model, processor, conversations = seeing
    judged = answers(model, processor, asked(conversations), control=control, max_new_tokens=NEW, batch_size=4)
    alone = [answer(model, processor, [c], max_new_tokens=NEW)[0] for c in by_hand(conversations, control)]
    assert [j.said for j in judged] == alone
    assert len(set(alone)) > 1
    assert [j.truth for j in judged] == [f"answer {n}" for n in range(6)]


def test_a_row_is_named_and_its_question_is_shown_without_items(seeing):
    model, processor, conversations = seeing
    judged = answers(model, processor, asked(conversations[:2]), max_new_tokens=1)
    assert [(j.id.rpartition("/")[2], j.question) for j in judged] == [
        ("rows.json[0] 'row-0'", "question 0?"),
        ("rows.json[1] 'row-1'", "first  then ?"),
    ]


def test_what_the_model_says_with_its_pictures_it_does_not_say_without(seeing):
    model, processor, conversations = seeing
    seen = [c for c in conversations if c.items]
    said = [j.said for j in answers(model, processor, asked(seen), max_new_tokens=NEW)]
    true = [replace(c, turns=(*c.turns[:-1], Turn("assistant", s))) for c, s in zip(seen, said, strict=True)]
    found = {c: accuracy(answers(model, processor, asked(true), control=c, max_new_tokens=NEW)) for c in CONTROLS}
    assert found["as given"] == 1.0
    assert max(found[c] for c in CONTROLS[1:]) < 1.0


def test_options_of_generate_are_passed_on(seeing):
    model, processor, conversations = seeing
    (greedy,) = answers(model, processor, asked(conversations[:1]), max_new_tokens=NEW)
    torch.manual_seed(0)
    (drawn,) = answers(model, processor, asked(conversations[:1]), max_new_tokens=NEW, do_sample=True, temperature=50.0)
    assert drawn.said != greedy.said


def test_what_is_known_is_not_asked_again_and_what_is_new_is_kept_batch_by_batch(seeing):
    model, processor, conversations = seeing
    questions = asked(conversations)
    whole = answers(model, processor, questions, max_new_tokens=NEW)
    kept = []
    known = {1: "known", 4: "too"}
    judged = answers(
        model, processor, questions, batch_size=3, max_new_tokens=NEW, known=known, keep=lambda said: kept.append(said)
    )
    assert [list(said) for said in kept] == [[0, 2, 3], [5]]
    assert [j.said for j in judged] == [known.get(place, j.said) for place, j in enumerate(whole)]
    assert {place: text for said in kept for place, text in said.items()} | known == {
        place: j.said for place, j in enumerate(judged)
    }


@pytest.mark.parametrize(
    "turns",
    [(), (Turn("assistant", "a"),), (Turn("user", "q"),), (Turn("user", "q"), Turn("assistant", ITEM))],
    ids=["nothing", "no question", "no answer", "an answer that is no text"],
)
def test_a_row_without_question_and_answer_is_named(turns):
    conversation = Conversation(turns, tuple(Item("image", "a.png") for t in turns if ITEM in t.text), "rows.json[7]")
    with pytest.raises(KitError, match=r"rows\.json\[7\]: needs a question and, as its last turn, the assistant's"):
        Question.from_conversation(conversation)


@pytest.mark.parametrize(
    ("said", "truth", "right"),
    [
        ("Yes.", "yes", True),
        ("  a  red\ncircle", "A red circle.", True),
        ("yes!", "yes", False),
        ("a red", "a red circle", False),
        ("", "yes", False),
        ("No", "yes", True),
    ],
)
def test_case_spaces_and_a_full_stop_do_not_count(said, truth, right):
    assert is_right(Judged("row", "?", ("no", truth), said)) is right


def test_accuracy_is_the_share_of_right_answers():
    judged = [Judged("row", "?", ("yes",), said) for said in ("yes", "no", "Yes.")]
    assert accuracy(judged) == pytest.approx(2 / 3)
    assert accuracy([]) == 0


def test_questions_with_yes_or_no_and_open_ones_are_counted_apart_where_there_are_both():
    pairs = [("yes", "yes"), ("No.", "yes"), ("a cat", "A cat."), ("no", "no")]
    judged = [Judged(str(n), "?", (truth,), said) for n, (truth, said) in enumerate(pairs)]
    figures = exact_match(judged)
    assert {name: (figure.value, figure.count) for name, figure in figures.items()} == {
        "accuracy": (0.75, 4),
        "yes/no": (pytest.approx(2 / 3), 3),
        "open": (1.0, 1),
    }
    assert list(exact_match(judged[:2])) == list(exact_match(judged[2:3])) == ["accuracy"]
