"""Prompts that were tokenized whole, cut at their items, against the kit's own ids."""

from __future__ import annotations

import pytest
from tinyllava_kit_serve_vllm.prompts import cut_at_placeholders
from transformers import AutoTokenizer

from tests import toys
from tinyllava_kit.testing import toy_tokenizer

MARKS = ("<image>", "<audio>")


def tokenizers():
    return [toy_tokenizer(), *(AutoTokenizer.from_pretrained(toys.ASSETS / f"{name}-tiny") for name in ("tinyllama",))]


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    "pieces",
    [
        ["<user>see", "<image>", "\nand hear ", "<audio>", " this</s><assistant>"],
        ["<image>", "<image>", "two"],
        ["a", "<audio>"],
        ["no item <video>"],
    ],
)
def test_text_between_items_is_tokenized_by_itself(tokenizer, pieces):
    whole = tokenizer.encode("".join(pieces), add_special_tokens=False)
    expected = [each if each in MARKS else tokenizer.encode(each, add_special_tokens=False) for each in pieces]
    assert cut_at_placeholders(whole, MARKS, tokenizer) == [[], *expected]
    begin = [tokenizer.bos_token_id]
    assert cut_at_placeholders(begin + whole, MARKS, tokenizer) == [begin, *expected]


def test_ids_that_are_of_no_text_are_not_cut():
    tokenizer = toy_tokenizer()
    ids = tokenizer.encode("<image> é", add_special_tokens=False)
    assert cut_at_placeholders(ids, MARKS, tokenizer) is not None
    assert cut_at_placeholders(ids[:-1], MARKS, tokenizer) is None  # half a letter
