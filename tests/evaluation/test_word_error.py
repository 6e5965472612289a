"""Error rates against a plain edit distance, the normaliser, and truths without a word."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.word_error import ErrorCount, character_errors, normalise, word_errors

words = st.lists(st.sampled_from(["a", "bb", "a'b", "3"]), max_size=7).map(" ".join)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=5).filter(lambda both: any(truth for truth, _ in both))


def distance(truth, said):
    """Levenshtein's, cell by cell."""
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(said) + 1)] for i in range(len(truth) + 1)]
    for i, left in enumerate(truth, 1):
        for j, right in enumerate(said, 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (left != right))
    return table[-1][-1]


@pytest.mark.parametrize(("count", "cut"), [(word_errors, str.split), (character_errors, list)])
def test_the_rate_is_the_edit_distance_of_all_pairs_over_the_length_of_all_truths(count, cut):
    @given(pairs)
    def check(both):
        found = count(both)
        edits = sum(distance(cut(truth), cut(said)) for truth, said in both)
        assert found.num_truth == sum(len(cut(truth)) for truth, _ in both)
        assert found.substitutions + found.deletions + found.insertions == edits
        longer = sum(len(cut(said)) - len(cut(truth)) for truth, said in both)
        assert found.insertions - found.deletions == longer
        assert found.rate == pytest.approx(edits / found.num_truth)

    check()


@pytest.mark.parametrize(
    ("truth", "said", "parts"),
    [
        ("one two three", "one two three", (0, 0, 0)),
        ("one two three", "one too three", (1, 0, 0)),
        ("one two three", "one three", (0, 1, 0)),
        ("one two three", "one two three thank you for watching", (0, 0, 4)),
        ("one two three", "", (0, 3, 0)),
    ],
)
def test_each_kind_of_error_is_counted_apart(truth, said, parts):
    found = word_errors([(truth, said)])
    assert (found.substitutions, found.deletions, found.insertions) == parts
    assert found.num_truth == 3


def test_characters_are_counted_with_the_spaces_between_words():
    assert character_errors([("ab cd", "abcd")]) == ErrorCount(substitutions=0, deletions=1, insertions=0, num_truth=5)


def test_what_is_said_where_the_truth_is_empty_counts_as_insertions():
    found = word_errors([("", "thank you"), ("hello there", "hello there")])
    assert found == ErrorCount(substitutions=0, deletions=0, insertions=2, num_truth=2)
    assert found.rate == 1.0


@pytest.mark.parametrize("both", [[], [("", "a")], [("...", "a"), (" ", "")]])
@pytest.mark.parametrize("count", [word_errors, character_errors])
def test_truths_without_any_word_have_no_rate(count, both):
    with pytest.raises(KitError, match=rf"none of {len(both)} truth\(s\) has a word"):
        count(both)


def test_case_punctuation_and_spaces_are_no_errors():
    assert word_errors([("Hello, world.", " hello\tWORLD! ")]).rate == 0
    assert character_errors([("Hello, world.", " hello\tWORLD! ")]).rate == 0


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Don't — it’s", "don't it's"),
        ("the dogs' 'house'", "the dogs house"),
        ("' '", ""),
        ("well-known, e.g. this", "well known e g this"),
        ("3.5 $ is not three", "3 5 is not three"),
        ("E\u0301TE\u0301", "\u00e9t\u00e9"),
        ("नमस्ते।", "नमस्ते"),
        ("你好，世界", "你好 世界"),
        ("", ""),
    ],
)
def test_the_normaliser_does_what_it_says(text, left):
    assert normalise(text) == left


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_what_is_normal_stays_as_it_is(text):
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())


def test_without_jiwer_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(KitError, match=r"an error rate needs jiwer; pip install 'tinyllava-kit\[evaluate\]'"):
        word_errors([("a", "a")])
