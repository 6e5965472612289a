"""Batches of any samples, for hypothesis: spans of text, some of it learned, and items of two modalities."""

from __future__ import annotations

from hypothesis import strategies as st

from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan

VOCAB = 23


@st.composite
def text_spans(draw):
    ids = draw(st.lists(st.integers(0, VOCAB - 1), max_size=7))
    learn = st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))
    labels = draw(
        st.none() | learn.map(lambda which: [i if w else IGNORE_INDEX for i, w in zip(ids, which, strict=True)])
    )
    return TextSpan(ids, labels)


item_spans = st.builds(ItemSpan, st.sampled_from(["alpha", "beta"]), st.integers(0, 6))


batches = st.lists(st.lists(text_spans() | item_spans, max_size=6), min_size=1, max_size=4)
