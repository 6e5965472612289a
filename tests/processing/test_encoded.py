"""The length of a sample in positions of the LLM."""

from __future__ import annotations

from tinyllava_kit.core.spans import GeneratedSpan, ItemSpan, TextSpan
from tinyllava_kit.processing.encoded import Encoded


def test_text_and_items_take_positions_and_what_is_made_of_words_takes_none() -> None:
    spans = [TextSpan([1, 2]), ItemSpan("image", 5), TextSpan([]), GeneratedSpan("audio", [7, 8, 9]), TextSpan([3])]
    assert Encoded(spans).num_tokens == 8
    assert Encoded([]).num_tokens == 0
