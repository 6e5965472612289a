"""Parts of samples, and samples of which nothing is learned."""

from __future__ import annotations

from tinyllava_kit.core.spans import GeneratedSpan, ItemSpan, TextSpan, without_labels


def test_a_part_of_text_keeps_its_labels_and_parallel_ids() -> None:
    span = TextSpan([1, 2, 3], [-100, 2, 3], [[7], [8], [9]])
    assert span[1:] == TextSpan([2, 3], [2, 3], [[8], [9]])
    assert span[:0] == TextSpan([], [], [])
    assert TextSpan([1, 2])[:1] == TextSpan([1])
    assert (span.num_tokens, TextSpan([]).num_tokens, GeneratedSpan("m", [7]).num_tokens) == (3, 0, 0)


def test_where_nothing_is_learned_no_item_is_made() -> None:
    sample = [TextSpan([1, 2], [1, 2], [[7], [8]]), ItemSpan("image", 3), TextSpan([3], [3]), GeneratedSpan("m", [4])]
    assert without_labels(sample) == [TextSpan([1, 2], None, [[7], [8]]), ItemSpan("image", 3), TextSpan([3])]
    assert without_labels([]) == []
    assert sample[0] == TextSpan([1, 2], [1, 2], [[7], [8]])
