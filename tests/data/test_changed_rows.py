"""Changed files of rows, for training and for evaluation: a line for the user, or rows that make a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import toys
from tests.fuzz import documents, failures
from tinyllava_kit import TinyLlavaProcessor
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.evaluation.question_rows import read_questions

LLAVA = [
    {
        "id": "1",
        "image": "images/0.png",
        "conversations": [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "a cat"}],
    },
    {"id": 2, "conversations": [{"from": "human", "value": "and?"}, {"from": "gpt", "value": "no"}], "weight": 0.5},
]
MESSAGES = [
    {
        "images": ["images/0.png"],
        "messages": [
            {"role": "system", "content": "be short"},
            {"role": "user", "content": [{"type": "image", "index": 0}, {"type": "text", "text": "what?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]},
        ],
    },
]
QUESTIONS = [
    {"id": "1", "image": "images/0.png", "question": "what?", "answer": "a cat"},
    {"id": "2", "question": "and?", "answers": ["no", "none"], "choices": ["no", "none"], "category": "x"},
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TinyLlavaProcessor]:
    folder = tmp_path_factory.mktemp("changed-rows")
    toys.save_pictures(folder / "images", 1)
    _, processor = toys.picture_model(folder / "llm")
    return folder, processor


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("rows", [LLAVA, MESSAGES], ids=["llava", "messages"])
def test_changed_rows_of_training(toy: tuple[Path, TinyLlavaProcessor], rows: list[Any], name: str) -> None:
    folder, processor = toy
    collate = Collator(processor)

    def use(content: bytes) -> None:
        (folder / name).write_bytes(content)
        dataset = ConversationDataset.from_file(folder / name, processor)
        collate([dataset[number] for number in range(len(dataset))])

    assert failures(documents(rows, _dump(name)), use) == []


@pytest.mark.parametrize("name", ["questions.json", "questions.jsonl"])
def test_changed_rows_of_an_evaluation(toy: tuple[Path, TinyLlavaProcessor], name: str) -> None:
    folder, processor = toy

    def use(content: bytes) -> None:
        (folder / name).write_bytes(content)
        for question in read_questions(str(folder / name), processor):
            processor.encode(question.conversation, answer=True)

    assert failures(documents(QUESTIONS, _dump(name)), use) == []


def _dump(name: str) -> Any:
    if name.endswith(".json"):
        return json.dumps
    return lambda rows: "\n".join(map(json.dumps, rows if isinstance(rows, list) else [rows]))
