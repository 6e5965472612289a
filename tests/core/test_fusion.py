"""The fusion kernel against a slow obvious loop, and what it must refuse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core import slow_fusion
from tinyllava_kit.core.fusion import check_features, fuse, gather_features
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan
from tinyllava_kit.errors import FusionError
from tinyllava_kit.testing.no_sync import NoSync

VOCAB, PAD = 23, 3
NARROW, WIDE = 5, 8  # rows of eight numbers are copied as wider ones, on the CPU
both_widths = pytest.mark.parametrize("width", [NARROW, WIDE], ids=["narrow", "wide"])


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


def run_kernel(samples, features, table, **options):
    """Plan, then fuse the padded features of the items that were kept."""
    inputs, layout = plan(samples, pad_id=PAD, **options)
    rows = {}
    for modality in layout.item_positions:
        kept = [features[modality][item.index] for item in layout.kept(modality)]
        padded = torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)  # (N, P', D)
        check_features(layout, modality, padded.shape)
        rows[modality] = gather_features(layout, modality, padded)
    text = table[inputs["input_ids"].flatten()[layout.text_positions]]
    return inputs, layout, fuse(layout, text, rows)


def make_features(samples, width):
    features: dict[str, list[torch.Tensor]] = {}
    for sample in samples:
        for span in sample:
            if isinstance(span, ItemSpan):
                features.setdefault(span.modality, []).append(torch.randn(span.num_tokens, width))
    return features


def packs_of(number):
    """How many samples stand in each row: any way to cut so many into rows, empty rows among them."""
    truncations = st.lists(st.integers(0, number), max_size=3).map(sorted)
    return truncations.map(lambda at: [b - a for a, b in zip([0, *at], [*at, number], strict=True)])


layouts = st.sampled_from(["left", "right", "packed"])


@both_widths
@settings(max_examples=150, deadline=None)
@given(samples=batches, side=layouts, max_length=st.none() | st.integers(0, 12), data=st.data())
def test_the_kernel_equals_the_slow_loop(samples, side, max_length, data, width):
    table, features = torch.randn(VOCAB, width), make_features(samples, width)
    packs = data.draw(packs_of(len(samples))) if side == "packed" else None
    options = {"padding_side": "left" if side == "left" else "right", "max_length": max_length, "packs": packs}
    inputs, layout, fused = run_kernel(samples, features, table, **options)
    embeds, ids, mask, positions, labels = slow_fusion.slow_fuse(samples, features, table, pad_id=PAD, **options)
    assert torch.equal(fused, embeds)
    assert torch.equal(inputs["input_ids"], ids)
    assert torch.equal(layout.attention_mask, mask)
    assert ("attention_mask" in inputs) == (packs is None)
    assert torch.equal(inputs.get("attention_mask", mask), mask)
    assert torch.equal(layout.position_ids, positions)
    assert torch.equal(inputs["position_ids"], positions)
    assert layout.shape == tuple(ids.shape)
    if "labels" not in inputs:
        assert (labels == IGNORE_INDEX).all()
    else:
        assert torch.equal(inputs["labels"], labels)
        expected = [
            b * labels.shape[1] + t
            for b, row in enumerate(labels.tolist())
            for t in range(len(row) - 1)
            if row[t + 1] != IGNORE_INDEX
        ]
        assert layout.target_positions.tolist() == expected
        rows = [layout.samples[number] for number in layout.target_samples.tolist()]
        places = zip(expected, rows, strict=True)
        assert all(0 <= at - s.row * labels.shape[1] - s.start < s.num_tokens - 1 for at, s in places)


@settings(max_examples=80, deadline=None)
@given(batches, st.integers(0, 12))
def test_what_is_kept_and_what_is_cut_add_up(samples, max_length):
    _, layout = plan(samples, max_length=max_length)
    truncations = {cut.sample: cut for cut in layout.truncations}
    for number, sample in enumerate(samples):
        before = sum(len(s.ids) for s in sample if isinstance(s, TextSpan))
        items = sum(isinstance(s, ItemSpan) for s in sample)
        kept = [item for item in layout.items if item.sample == number]
        text = int(layout.attention_mask[number].sum()) - sum(item.num_tokens for item in kept)
        cut = truncations.get(number)
        assert text + (cut.num_text if cut else 0) == before
        assert len(kept) + (sum(cut.items.values()) if cut else 0) == items


def test_truncation_stops_in_front_of_an_item_and_reports_it():
    sample = [TextSpan([1, 2]), ItemSpan("alpha", 3), TextSpan([4, 5], labels=[4, 5]), ItemSpan("beta", 2)]
    inputs, layout = plan([sample], max_length=4)
    assert inputs["input_ids"].tolist() == [[1, 2]]
    (cut,) = layout.truncations
    assert (cut.sample, cut.num_text, cut.num_labels, dict(cut.items)) == (0, 2, 2, {"alpha": 1, "beta": 1})


def test_a_pack_says_where_its_samples_and_items_are():
    samples = [[TextSpan([1, 2])], [ItemSpan("alpha", 2), TextSpan([3], labels=[3])], [TextSpan([4], labels=[4])]]
    inputs, layout = plan(samples, packs=[2, 1], names=["a", "b", "c"])
    assert layout.is_packed
    assert not plan(samples)[1].is_packed
    places = [(s.name, s.row, s.start, s.num_tokens) for s in layout.samples]
    assert places == [("a", 0, 0, 2), ("b", 0, 2, 3), ("c", 1, 0, 1)]
    assert [(i.sample, i.row, i.start) for i in layout.items] == [(1, 0, 2)]
    assert layout.position_ids.tolist() == [[0, 1, 0, 1, 2], [0, 0, 0, 0, 0]]
    assert inputs["labels"].tolist() == [[-100, -100, -100, -100, 3], [-100] * 5]  # nothing predicts a first position


@pytest.mark.parametrize(("packs", "side"), [([2], "right"), ([2, 2], "right"), ([1, 2], "left")])
def test_packs_must_hold_every_sample_and_stand_on_the_left(packs, side):
    with pytest.raises(FusionError, match="expected sizes that add up to the samples"):
        plan([[TextSpan([1])]] * 3, packs=packs, padding_side=side)


def test_items_are_counted_through_the_batch_even_when_some_are_cut():
    samples = [[ItemSpan("alpha", 2)], [ItemSpan("alpha", 9)], [ItemSpan("alpha", 3)]]
    _, layout = plan(samples, max_length=5)
    assert [(item.index, item.sample, item.num_tokens) for item in layout.kept("alpha")] == [(0, 0, 2), (2, 2, 3)]


@both_widths
def test_gradients_reach_text_and_features_and_are_those_of_the_slow_loop(width):
    samples = [[TextSpan([1, 2]), ItemSpan("alpha", 3), TextSpan([4])], [TextSpan([5])]]
    table = torch.randn(VOCAB, width, requires_grad=True)
    features = {"alpha": [torch.randn(3, width, requires_grad=True)]}
    weight = torch.randn(2, 6, width)
    *_, fused = run_kernel(samples, features, table)
    grads = torch.autograd.grad((fused * weight).sum(), [table, *features["alpha"]])
    embeds, *_ = slow_fusion.slow_fuse(samples, features, table, pad_id=PAD, padding_side="right", max_length=None)
    expected = torch.autograd.grad((embeds * weight).sum(), [table, *features["alpha"]])
    for got, want in zip(grads, expected, strict=True):
        assert torch.equal(got, want)


@both_widths
def test_fuse_changes_none_of_its_arguments(width):
    inputs, layout = plan([[TextSpan([1]), ItemSpan("alpha", 2)], [TextSpan([2])]])
    text, rows = torch.randn(2, width), torch.randn(2, width)
    before = (text.clone(), rows.clone(), inputs["input_ids"].clone())
    fuse(layout, text, {"alpha": rows})
    for now, then in zip((text, rows, inputs["input_ids"]), before, strict=True):
        assert torch.equal(now, then)


@both_widths
@pytest.mark.parametrize("sizes", [(3, 3), (2, 4)], ids=["even", "ragged"])
def test_fuse_reads_nothing_back_from_the_device(sizes, width):
    inputs, layout = plan([[TextSpan([1, 2]), ItemSpan("alpha", n)] for n in sizes])
    features = torch.randn(2, max(sizes), width)
    table = torch.randn(VOCAB, width)
    with NoSync():
        text = table.index_select(0, inputs["input_ids"].flatten().index_select(0, layout.text_positions))
        fuse(layout, text, {"alpha": gather_features(layout, "alpha", features)})


@both_widths
def test_features_of_another_dtype_take_that_of_the_text(width):
    _, layout = plan([[TextSpan([1]), ItemSpan("alpha", 2)]])
    text, rows = torch.randn(1, width, dtype=torch.bfloat16), torch.randn(2, width)
    fused = fuse(layout, text, {"alpha": rows})
    assert fused.dtype == torch.bfloat16
    assert torch.equal(fused[0], torch.cat([text, rows.to(torch.bfloat16)]))


@pytest.mark.parametrize("first", range(5))
def test_rows_may_begin_anywhere_in_their_storage(first):
    _, layout = plan([[TextSpan([1, 2]), ItemSpan("alpha", 3)]])
    text = torch.randn(first + 2 * WIDE)[first:].view(2, WIDE)
    rows = torch.randn(first + 3 * WIDE)[first:].view(3, WIDE)
    assert torch.equal(fuse(layout, text, {"alpha": rows})[0], torch.cat([text, rows]))


def test_rows_may_be_part_of_longer_ones_or_columns():
    _, layout = plan([[TextSpan([1, 2]), ItemSpan("alpha", 3)]])
    text, rows = torch.randn(2, WIDE + 3)[:, :WIDE], torch.randn(WIDE, 3).t()
    assert torch.equal(fuse(layout, text, {"alpha": rows})[0], torch.cat([text, rows]))


def test_too_few_rows_name_the_sample_the_item_and_both_numbers():
    _, layout = plan([[TextSpan([1])], [ItemSpan("alpha", 7)]])
    with pytest.raises(FusionError, match=r"sample 1, alpha 0: expected 7 rows, the connector made 5"):
        check_features(layout, "alpha", (1, 5, NARROW))


def test_another_number_of_items_names_both_numbers():
    _, layout = plan([[ItemSpan("alpha", 7)], [ItemSpan("alpha", 7)]])
    with pytest.raises(FusionError, match=r"the plan has 2 alpha item\(s\), 3 came with the batch"):
        check_features(layout, "alpha", (3, 7, NARROW))


def test_labels_of_another_length_are_refused():
    with pytest.raises(FusionError, match="sample 1: 2 ids but 1 labels"):
        plan([[TextSpan([1])], [TextSpan([1, 2], labels=[1])]])


def test_an_unknown_padding_side_is_refused():
    with pytest.raises(FusionError, match="padding_side must be 'left' or 'right', got 'top'"):
        plan([[TextSpan([1])]], padding_side="top")


def test_a_negative_count_is_refused():
    with pytest.raises(FusionError, match="sample 0: alpha item with -1 tokens"):
        plan([[ItemSpan("alpha", -1)]])
