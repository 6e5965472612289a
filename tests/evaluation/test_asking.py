"""Answers of a model against asking one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from tests import toys
from tinyllava_kit.core.conversation import ITEM, Conversation, Turn
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.evaluation.asking import answers
from tinyllava_kit.evaluation.controls import CONTROLS, content_key, controlled
from tinyllava_kit.evaluation.exact_match import accuracy
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


@pytest.fixture(scope="module")
def questioned(seeing):
    model, processor, conversations = seeing
    return model, processor, asked(conversations)


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
    told = [j.said for j in answers(model, processor, asked(seen), max_new_tokens=NEW)]
    true = [replace(c, turns=(*c.turns[:-1], Turn("assistant", s))) for c, s in zip(seen, told, strict=True)]
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


def test_of_the_generation_config_only_what_ends_an_answer_changes_one(questioned, monkeypatch):
    """Whatever an LLM's makers put there, one by one; most of it changes what `answer` says."""
    model, processor, questions = questioned
    prompt = processor(questions[0].conversation, answer=True)
    first = model.generate(**prompt, max_new_tokens=1, do_sample=False, pad_token_id=0)[0, -1].item()
    plain = said(questioned)
    changed = 0
    for setting in (
        {"repetition_penalty": 1.9},
        {"no_repeat_ngram_size": 1},
        {"bad_words_ids": [[first]]},
        {"suppress_tokens": [first]},
        {"begin_suppress_tokens": [first]},
        {"sequence_bias": [[[first], -50.0]]},
        {"forced_bos_token_id": 5},
        {"forced_eos_token_id": 6},
        {"exponential_decay_length_penalty": [1, 90.0]},
        {"num_beams": 3, "length_penalty": 9.0},
        {"do_sample": True, "temperature": 30.0, "top_k": 3, "top_p": 0.9, "min_p": 0.01},
        {"guidance_scale": 4.0},
        {"watermarking_config": {"greenlist_ratio": 0.25, "bias": 9.0, "seeding_scheme": "lefthash"}},
        {"max_time": 0.0},
        {"cache_implementation": "static"},
        {"eos_token_id": first},
        {"eos_token_id": [1, first], "min_new_tokens": 3},
    ):
        ends = {"eos_token_id": model.generation_config.eos_token_id}
        given = GenerationConfig(**{**ends, **setting})
        with monkeypatch.context() as patched:
            patched.setattr(model, "generation_config", given)
            if "eos_token_id" in setting:
                assert said(questioned)[0] == processor.decode([first]) != plain[0]
            else:
                assert said(questioned) == plain, setting
            assert model.generation_config is given
            changed += answer(model, processor, [q.conversation for q in questions], max_new_tokens=7) != plain
    assert changed > 10


def said(questioned):
    model, processor, questions = questioned
    return [judged.said for judged in answers(model, processor, questions, max_new_tokens=7)]


@pytest.mark.parametrize("control", ["as given", "without items", "blank items"])
def test_the_same_about_the_same_is_asked_once(questioned, monkeypatch, control):
    """Other places of one question get its answer."""
    model, processor, questions = questioned
    asked = []

    def counted(model, processor, conversations, **options):
        asked.extend(conversations)
        return [f"{conversation.turns[-1].text} {number}" for number, conversation in enumerate(conversations)]

    monkeypatch.setattr("tinyllava_kit.evaluation.asking.answer", counted)
    same = [
        replace(question, conversation=replace(question.conversation, name=str(n)))
        for n, question in enumerate(3 * questions)
    ]
    kept = {}
    said = answers(model, processor, same, control=control, batch_size=2, keep=kept.update)
    assert len(asked) == len({content_key(conversation) for conversation in asked}) <= len(questions)
    assert kept == {place: judged.said for place, judged in enumerate(said)}
    count = len(questions)
    assert [j.said for j in said[:count]] == [j.said for j in said[count : 2 * count]]
    asked.clear()
    answers(model, processor, same, control=control, batch_size=2, do_sample=True)
    assert len(asked) == 3 * count


def test_blank_pictures_of_two_sizes_are_asked_about_twice(questioned):
    _, processor, questions = questioned
    seen = [q.conversation for q in questions if q.conversation.items]
    blank = list(controlled(seen, "blank items", processor.modalities))
    sizes = {tuple(item.source.size for item in conversation.items) for conversation in blank}
    keys = {content_key(replace(conversation, turns=blank[0].turns)) for conversation in blank}
    assert len(keys) == len(sizes)
