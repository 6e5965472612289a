"""The fusion kernel against a slow obvious loop, and what it must refuse."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core import slow_fusion
from tests.core.samples import VOCAB, batches
from tinyllava_kit.core.fusion import check_features, check_inputs, fuse, gather_features
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan
from tinyllava_kit.errors import FusionError
from tinyllava_kit.testing.no_sync import NoSync

PAD = 3
NARROW, WIDE = 5, 8  # rows of eight numbers are copied as wider ones, on the CPU
both_widths = pytest.mark.parametrize("width", [NARROW, WIDE], ids=["narrow", "wide"])


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


@pytest.mark.parametrize("name", ["input_ids", "attention_mask", "position_ids", "labels", "inputs_embeds"])
def test_inputs_of_another_shape_than_the_plan_are_refused(name):
    _, layout = plan([[TextSpan([1, 2, 3])], [TextSpan([4])]])
    check_inputs(layout, None, None, **{name: torch.zeros(2, 3)})
    for shape in ((2, 4), (1, 3)):
        message = rf"{name} \({shape[0]}, {shape[1]}\) does not belong to the plan, which lays out \(2, 3\)"
        with pytest.raises(FusionError, match=message):
            check_inputs(layout, None, None, **{name: torch.zeros(*shape)})


def test_a_mask_may_be_longer_by_what_a_cache_holds_and_nothing_else_may():
    _, layout = plan([[TextSpan([1, 2, 3])]])
    cache = SimpleNamespace(get_seq_length=lambda: 4)
    check_inputs(layout, None, cache, input_ids=torch.zeros(1, 3), attention_mask=torch.ones(1, 7))
    check_inputs(layout, None, None, attention_mask=torch.zeros(1, 1, 9, 9))  # whose shape is the caller's affair
    with pytest.raises(FusionError, match=r"attention_mask \(1, 8\) does not belong to the plan"):
        check_inputs(layout, None, cache, attention_mask=torch.ones(1, 8))
    with pytest.raises(FusionError, match=r"input_ids \(1, 7\) does not belong to the plan"):
        check_inputs(layout, None, cache, input_ids=torch.zeros(1, 7))


def test_items_that_would_be_ignored_are_refused():
    _, layout = plan([[TextSpan([1])]])
    items = {"alpha": {"x": torch.zeros(1)}}
    check_inputs(layout, items, None, input_ids=torch.zeros(1, 1))
    check_inputs(None, items, None, input_ids=None)
    check_inputs(None, {}, None, input_ids=torch.zeros(1, 1))
    for of, name in ((None, "input_ids"), (None, "inputs_embeds"), (layout, "inputs_embeds")):
        with pytest.raises(FusionError, match=f"alpha items come with {name} and would be ignored"):
            check_inputs(of, items, None, **{name: torch.zeros(1, 1)})
