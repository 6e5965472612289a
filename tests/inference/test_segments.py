"""Segments of ids: together they are the text of all."""

from __future__ import annotations

import random

import pytest
from transformers import AutoTokenizer

from tests import toys
from tinyllava_kit.inference.segments import TextSegments


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("toy") / "llm")


def test_segments_of_any_ids_are_the_text_of_all(pair):
    tokenizer = pair[1].tokenizer
    draw = random.Random(0)
    for length in range(1, 60):
        ids = [draw.randrange(320) for _ in range(length)]
        assert joined(tokenizer, ids) == tokenizer.decode(ids, skip_special_tokens=True)


def joined(tokenizer, ids):
    shown = []
    segments = TextSegments(tokenizer, shown.append)
    for each in ids:
        segments.put(each)
    segments.end()
    assert "" not in shown
    return "".join(shown)


@pytest.mark.parametrize(
    "text", ["def f():\n    return 1\n\n  # two", "a  b\tc", "日本語 naïve 🙂🙂 end", "", " leading", "one\n", "�x"]
)
def test_segments_of_text_are_the_text_of_all_ids(text):
    tokenizer = AutoTokenizer.from_pretrained(toys.ASSETS / "tinyllama-tiny")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert joined(tokenizer, ids) == tokenizer.decode(ids, skip_special_tokens=True)
