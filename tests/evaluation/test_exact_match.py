"""Answers against asking one by one, and what counts as the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests import toys
from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn
from tinyllava_kit.core.errors import KitError
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.evaluation.answers import Judged, answers
from tinyllava_kit.evaluation.controls import CONTROLS
from tinyllava_kit.evaluation.exact_match import accuracy, is_right
from tinyllava_kit.inference.answering import answer

NEW = 5


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A model that reads pictures, its processor, and rows with one picture, two and none."""
    folder = tmp_path_factory.mktemp("seeing")
    model, processor = toys.picture_model(folder / "llm")
    model.eval()
    return model, processor, ConversationDataset.from_file(toys.picture_rows(folder), processor).conversations


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
    judged = answers(model, processor, conversations, control=control, max_new_tokens=NEW, batch_size=4)
    alone = [answer(model, processor, [c], max_new_tokens=NEW)[0] for c in by_hand(conversations, control)]
    assert [j.said for j in judged] == alone
    assert len(set(alone)) > 1
    assert [j.truth for j in judged] == [f"answer {n}" for n in range(6)]


def test_a_row_is_named_and_its_question_is_shown_without_items(seeing):
    model, processor, conversations = seeing
    judged = answers(model, processor, conversations[:2], max_new_tokens=1)
    assert [(j.name.rpartition("/")[2], j.question) for j in judged] == [
        ("rows.json[0] 'row-0'", "question 0?"),
        ("rows.json[1] 'row-1'", "first  then ?"),
    ]


def test_what_the_model_says_with_its_pictures_it_does_not_say_without(seeing):
    model, processor, conversations = seeing
    seen = [c for c in conversations if c.items]
    said = [j.said for j in answers(model, processor, seen, max_new_tokens=NEW)]
    true = [replace(c, turns=(*c.turns[:-1], Turn("assistant", s))) for c, s in zip(seen, said, strict=True)]
    found = {c: accuracy(answers(model, processor, true, control=c, max_new_tokens=NEW)) for c in CONTROLS}
    assert found["as given"] == 1.0
    assert max(found[c] for c in CONTROLS[1:]) < 1.0


def test_options_of_generate_are_passed_on(seeing):
    model, processor, conversations = seeing
    (greedy,) = answers(model, processor, conversations[:1], max_new_tokens=NEW)
    torch.manual_seed(0)
    (drawn,) = answers(model, processor, conversations[:1], max_new_tokens=NEW, do_sample=True, temperature=50.0)
    assert drawn.said != greedy.said


def test_progress_counts_conversations(seeing):
    model, processor, conversations = seeing
    seen = []
    answers(
        model,
        processor,
        conversations[:5],
        batch_size=2,
        max_new_tokens=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    "turns",
    [(), (Turn("assistant", "a"),), (Turn("user", "q"),), (Turn("user", "q"), Turn("assistant", ITEM))],
    ids=["nothing", "no question", "no answer", "an answer that is no text"],
)
def test_a_row_without_question_and_answer_is_named(seeing, turns):
    model, processor, _ = seeing
    conversation = Conversation(turns, tuple(Item("image", "a.png") for t in turns if ITEM in t.text), "rows.json[7]")
    with pytest.raises(KitError, match=r"rows\.json\[7\]: wants a question and, as its last turn, the assistant's"):
        answers(model, processor, [conversation])


@pytest.mark.parametrize(
    ("said", "truth", "right"),
    [
        ("Yes.", "yes", True),
        ("  a  red\ncircle", "A red circle.", True),
        ("yes!", "yes", False),
        ("a red", "a red circle", False),
        ("", "yes", False),
    ],
)
def test_case_spaces_and_a_full_stop_do_not_count(said, truth, right):
    assert is_right(Judged("row", "?", truth, said)) is right


def test_accuracy_is_the_share_of_right_answers():
    judged = [Judged("row", "?", "yes", said) for said in ("yes", "no", "Yes.")]
    assert accuracy(judged) == pytest.approx(2 / 3)
    assert accuracy([]) == 0
