"""Texts that end an answer, however its words are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tinyllava_kit.serving.stop_strings import StopStrings

WORDS = st.text("ab\n", max_size=12)


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=3))
def test_what_is_shown_is_what_stands_before_the_first(pieces, texts):
    stops = StopStrings(texts)
    shown = "".join(map(stops.put, pieces))
    shown += "" if stops.found else stops.end()
    whole = "".join(pieces)
    places = [whole.find(text) for text in texts if text and text in whole]
    assert stops.found == bool(places)
    ends = [whole.find(text) + len(text) for text in texts if text and text in whole]
    first = min(ends) if ends else None
    assert whole.startswith(shown)
    if first is None:
        assert shown == whole
    else:
        assert not any(text and text in shown for text in texts)
        assert len(shown) < first
