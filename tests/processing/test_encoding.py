"""Spans of text to ids and labels, against a slow loop."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import ByteLevel
from transformers import AutoTokenizer
from transformers.utils import logging

from tinyllava_kit.core.conversation import ITEM, Span
from tinyllava_kit.core.spans import IGNORE_INDEX, TextSpan
from tinyllava_kit.errors import KitError
from tinyllava_kit.processing.encoding import encode_spans

TOKENIZERS = Path(__file__).parents[1] / "golden" / "data" / "tokenizers"
NAMES = ("llama_legacy_false", "gemma", "phi", "qwen2_instruct")


@cache
def tokenizer_of(name):
    return AutoTokenizer.from_pretrained(TOKENIZERS / name)


def slow(spans, tokenizer, begin):
    """Piece by piece, token by token, character by character."""
    out, learned, piece = [], [], ""
    for text, learn in [*((character, span.learn) for span in spans for character in span.text), (None, None)]:
        if text not in (ITEM, None):
            piece, learned = piece + text, [*learned, learn]
            continue
        encoding = tokenizer._tokenizer.encode(piece, add_special_tokens=False) if piece else SimpleNamespace(ids=[])
        labels = []
        for number, token in enumerate(encoding.ids):
            first, last = encoding.token_to_chars(number)
            labels.append(token if any(learned[at] for at in range(first, last)) else IGNORE_INDEX)
        ids = [] if out else list(begin)
        labels = [IGNORE_INDEX] * len(ids) + labels
        ids = ids + encoding.ids
        if ids:
            out.append((ids, labels))
        if text == ITEM:
            out.append(None)
        piece, learned = "", []
    return out


SPANS = st.lists(
    st.builds(Span, st.text(st.sampled_from(f"ausertn :é猫\n{ITEM}"), max_size=9), st.booleans()), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(NAMES), spans=SPANS, add_bos=st.booleans())
def test_ids_and_labels_equal_the_slow_loop(name, spans, add_bos):
    tokenizer = tokenizer_of(name)
    begin = {"llama_legacy_false": [1], "gemma": [2]}.get(name, []) if add_bos else []
    found = encode_spans(spans, tokenizer, add_bos=add_bos)
    expected = slow(spans, tokenizer, begin)
    assert [span and span.ids for span in found] == [piece and piece[0] for piece in expected]
    for span, piece in zip(found, expected, strict=True):
        if span is not None:
            assert (span.labels or [IGNORE_INDEX] * len(span.ids)) == piece[1]
            assert span.labels is None or set(span.labels) != {IGNORE_INDEX}


def test_items_without_text_between_leave_no_piece():
    found = encode_spans([Span(f"{ITEM}{ITEM}"), Span("hi"), Span(ITEM)], tokenizer_of("phi"), add_bos=True)
    assert [span is None for span in found] == [True, True, False, True]


def test_begin_token_stands_once_before_everything():
    assert encode_spans([Span(ITEM)], tokenizer_of("gemma"), add_bos=True) == [TextSpan([2]), None]
    assert encode_spans([], tokenizer_of("gemma"), add_bos=True) == [TextSpan([2])]
    assert encode_spans([Span(ITEM)], tokenizer_of("gemma"), add_bos=False) == [None]


def test_a_token_across_the_border_is_learned():
    tokenizer = tokenizer_of("phi")
    (span,) = encode_spans([Span("the us"), Span("er", learn=True)], tokenizer, add_bos=False)
    assert tokenizer.convert_ids_to_tokens(span.ids)[-1] == "Ġuser"
    assert span.labels[-1] == span.ids[-1]
    assert set(span.labels[:-1]) == {IGNORE_INDEX}


def test_a_token_without_characters_counts_as_the_character_behind_it():
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / "phi")
    tokenizer._tokenizer.post_processor = ByteLevel(trim_offsets=True)  # as in GPT-2's own tokenizer.json
    assert tokenizer("so: 猫", return_offsets_mapping=True)["offset_mapping"][3] == (4, 4)
    (span,) = encode_spans([Span("so:"), Span(" 猫", learn=True)], tokenizer, add_bos=False)
    assert tokenizer.decode([label for label in span.labels if label != IGNORE_INDEX]) == " 猫"


def test_every_byte_of_a_learned_character_is_learned():
    (span,) = encode_spans([Span("a"), Span("猫", learn=True)], tokenizer_of("qwen2_instruct"), add_bos=False)
    assert span.labels == [IGNORE_INDEX, *span.ids[1:]]
    assert len(span.ids) == 4


def test_special_tokens_that_a_template_writes_are_one_id():
    tokenizer = tokenizer_of("qwen2_instruct")
    (span,) = encode_spans([Span("a<|im_end|>", learn=True)], tokenizer, add_bos=False)
    assert span.ids[-1] == tokenizer.eos_token_id


def test_text_longer_than_the_tokenizer_expects_brings_no_warning(caplog):
    logging.enable_propagation()
    encode_spans([Span("hi " * 3000)], tokenizer_of("phi"), add_bos=True)
    logging.disable_propagation()
    assert caplog.records == []


def test_labels_from_a_tokenizer_without_offsets_are_refused():
    slow_one = SimpleNamespace(is_fast=False, name_or_path="some/where")
    with pytest.raises(KitError, match=r"'some/where'.*training needs a fast tokenizer"):
        encode_spans([Span("hi", learn=True)], slow_one, add_bos=False)
