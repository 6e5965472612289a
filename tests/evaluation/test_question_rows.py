"""Rows to questions: every form, and what is wrong with each."""

from __future__ import annotations

import json

import datasets
import pytest
from PIL import Image

from tests import toys
from tinyllava_kit.core.conversation import ITEM
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.question import ANSWER_A_LETTER
from tinyllava_kit.evaluation.question_rows import question, read_questions


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("llm"))[1]


def of(row, processor):
    return question(row, processor, name="rows.json[7]")


def test_the_last_answer_of_a_conversation_is_the_truth(processor):
    said = [("human", "<image>\nq?"), ("gpt", "a"), ("human", "and?"), ("gpt", "b")]
    row = {"id": "x", "image": "a.png", "conversations": [{"from": who, "value": text} for who, text in said]}
    found = of(row, processor)
    assert (found.id, found.truths, found.choices, found.category) == ("x", ("b",), (), "")
    assert [turn.text for turn in found.conversation.turns] == [f"{ITEM}\nq?", "a", "and?"]
    assert found.judged("c").question == "and?"


def test_answers_of_people_stand_beside_a_conversation_and_win(processor):
    said = [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "b"}]
    found = of({"conversations": said, "answers": ["b", {"answer": "c", "answer_id": 2}], "category": "k"}, processor)
    assert (found.truths, found.category, len(found.conversation.turns)) == (("b", "c"), "k", 1)


def test_a_conversation_may_end_with_the_question(processor):
    found = of({"messages": [{"role": "user", "content": "q?"}], "answer": 7}, processor)
    assert found.truths == ("7",)
    assert of({"messages": [{"role": "user", "content": "q?"}]}, processor).truths == ()


@pytest.mark.parametrize(
    ("asked", "pictures", "wanted"),
    [
        ("q?", "a.png", f"{ITEM}\nq?"),
        ("q?", ["a.png", "b.png"], f"{ITEM}\n{ITEM}\nq?"),
        ("is <image> like <image>?", ["a.png", "b.png"], f"is {ITEM} like {ITEM}?"),
        ("q?", None, "q?"),
    ],
)
def test_items_of_a_question_stand_in_front_or_at_their_placeholders(processor, asked, pictures, wanted):
    found = of({"question": asked, "image": pictures, "answer": "a"}, processor)
    assert found.conversation.turns[0].text == wanted
    assert len(found.conversation.items) == wanted.count(ITEM)


@pytest.mark.parametrize("right", ["B", 1, "Mars"])
def test_choices_are_written_with_their_letters_and_the_answer_is_one(processor, right):
    found = of({"question": "q?", "choices": ["the moon", "Mars"], "answer": right}, processor)
    assert found.conversation.turns[0].text == f"q?\nA. the moon\nB. Mars\n{ANSWER_A_LETTER}"
    assert (found.truths, found.choices) == (("B",), ("the moon", "Mars"))


def test_pairs_are_asked_about_with_a_prompt(processor, tmp_path):
    toys.save_pictures(tmp_path, 2)
    rows = [{"image": f"{n}.png", "audio": "a.ogg", "caption": f"thing {n}", "category": "c"} for n in range(2)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read_questions(tmp_path / "pairs.jsonl", processor, prompt="See <image>. What?", text="caption")
    assert [q.truths for q in found] == [("thing 0",), ("thing 1",)]
    assert found[1].conversation.turns[0].text == f"See {ITEM}. What?"
    assert found[1].conversation.items[0].source == str(tmp_path / "1.png")
    assert [(q.id, q.category) for q in found] == [("0", "c"), ("1", "c")]


def test_rows_of_a_saved_dataset_keep_their_pictures_undecoded(processor, tmp_path):
    picture = Image.new("RGB", (37, 31), (9, 8, 7))
    rows = {"image": [picture, picture], "question": ["a?", "b?"], "choices": [["x", "y"]] * 2, "answer": [0, 1]}
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    table.save_to_disk(tmp_path / "saved")
    found = read_questions(tmp_path / "saved", processor)
    assert [q.truths for q in found] == [("A",), ("B",)]
    assert isinstance(found[0].conversation.items[0].source["bytes"], bytes)
    assert processor.modalities["image"].read(found[0].conversation.items[0].source).size == (37, 31)


def test_relative_names_are_taken_from_the_root(processor, tmp_path):
    row = {"question": "q?", "image": "a.png", "answer": "b"}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    for root, wanted in ((None, tmp_path / "a.png"), (tmp_path / "else", tmp_path / "else" / "a.png")):
        (found,) = read_questions(tmp_path / "rows.json", processor, root=root)
        assert found.conversation.items[0].source == str(wanted)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"image": "a.png"}, "needs 'conversations' or 'messages', has 'image'"),
        ({"question": 3}, "'question' is 3; expected a text"),
        ({"conversations": []}, "asks nothing"),
        ({"question": "q?", "answers": "red"}, "'answers' is 'red'; expected a list of texts, or one text in 'answer'"),
        ({"question": "q?", "answer": True}, "an answer is True; expected a text"),
        ({"question": "q?", "choices": "ab", "answer": "a"}, "'choices' is 'ab'; expected a list of texts"),
        ({"conversations": [1]}, r"conversations is \[1\]; expected a list of mappings, one for each turn"),
        ({"messages": "hello"}, "messages is 'hello'; expected a list of mappings"),
        ({"messages": [{"role": "user"}, "a"]}, "messages is .*; expected a list of mappings"),
        ({"messages": [{"role": "user", "content": None}]}, "message 0: content is None; expected a text, or a list"),
        ({"messages": [{"role": "user", "content": [3]}]}, r"message 0: content is \[3\]; expected a text, or a list"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, r"message 0: role \['user'\]"),
        ({"question": "q?", "answers": [["x"]]}, r"an answer is \['x'\]; expected a text"),
        ({"question": "q?", "choices": ["x", "y"], "answer": 2}, "the answer 2 is none of the choices 'x', 'y'"),
        ({"question": "q?", "choices": ["x", "y"], "answer": "C"}, "the answer 'C' is none of the choices"),
        ({"question": "<image>?", "image": ["a", "b"]}, "the text has 1 <image> and the row names 2 image"),
    ],
)
def test_a_row_that_asks_nothing_is_named(processor, row, match):
    with pytest.raises(KitError, match=rf"rows\.json\[7\].*{match}"):
        of(row, processor)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"prompt": "What?"}, "--prompt 'What\\?' needs one placeholder, of the rows' items: <image>"),
        ({"prompt": "<image> <image>"}, "needs one placeholder"),
        ({"prompt": "<image>"}, r"\[0\]: has no 'text'"),
        ({"text": "caption"}, "give --prompt, too"),
    ],
)
def test_a_prompt_that_does_not_fit_the_rows_is_refused(processor, tmp_path, how, match):
    (tmp_path / "rows.json").write_text(json.dumps([{"image": "a.png", "caption": "c"}]))
    with pytest.raises(KitError, match=match):
        read_questions(tmp_path / "rows.json", processor, **how)


def test_an_item_that_the_model_does_not_read_is_not_passed_over(processor, tmp_path):
    rows = [
        {"question": "q?", "answer": "a", "audio": None},
        {"id": "x", "question": "q?", "answer": "a", "audio": "a.wav"},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(
        KitError, match=r"rows\.json\[1\] 'x': column 'audio': the model does not read 'audio'; it reads image"
    ):
        read_questions(tmp_path / "rows.json", processor)
