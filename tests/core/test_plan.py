"""The layout of a batch: what is kept, what is cut, what packs are, where words of items stand, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.samples import batches
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import GeneratedSpan, ItemSpan, TextSpan
from tinyllava_kit.errors import FusionError


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


def test_labels_of_another_length_are_refused():
    with pytest.raises(FusionError, match="sample 1: 2 ids but 1 labels"):
        plan([[TextSpan([1])], [TextSpan([1, 2], labels=[1])]])


def test_an_unknown_padding_side_is_refused():
    with pytest.raises(FusionError, match="padding_side must be 'left' or 'right', got 'top'"):
        plan([[TextSpan([1])]], padding_side="top")


def test_a_negative_count_is_refused():
    with pytest.raises(FusionError, match="sample 0: alpha item with -1 tokens"):
        plan([[ItemSpan("alpha", -1)]])


def learned(ids):
    return TextSpan(ids, ids)


def test_words_are_what_is_learned_in_front_of_an_item():
    samples = [
        [TextSpan([1, 2]), learned([3, 4]), GeneratedSpan("m", [7, 8, 9]), learned([5])],
        [
            TextSpan([1]),
            ItemSpan("m", 2),
            learned([3]),
            GeneratedSpan("m", [7]),
            learned([4, 5]),
            GeneratedSpan("m", [7, 8]),
        ],
        [TextSpan([1]), learned([3])],
    ]
    inputs, layout = plan(samples)
    assert inputs["input_ids"].shape == (3, 6)
    made = layout.generated["m"]
    assert made.words.tolist() == [[2, 3], [9, -1], [10, 11]]
    assert made.ids.tolist() == [[7, 8, 9], [7, -1, -1], [7, 8, -1]]
    _, packed = plan(samples, packs=[2, 1])
    assert packed.generated["m"].words.tolist() == [[2, 3], [8, -1], [9, 10]]
    assert plan([samples[2]])[1].generated == {}


def test_an_item_whose_words_are_cut_is_left_out_and_said():
    sample = [TextSpan([1, 2]), learned([3, 4]), GeneratedSpan("m", [7]), learned([5])]
    whole, cut = (plan([sample], max_length=length)[1] for length in (4, 3))
    assert whole.generated["m"].words.tolist() == [[2, 3]]
    assert (cut.generated, cut.truncations[0].items) == ({}, {"m": 1})


@pytest.mark.parametrize("before", [[], [TextSpan([1])], [learned([1]), GeneratedSpan("m", [7])]])
def test_an_item_without_words_has_no_place(before):
    with pytest.raises(FusionError, match="sample 0: an item of 'm' is made of the words in front of it, and"):
        plan([[TextSpan([1]), *before, GeneratedSpan("m", [7])]])


def test_parallel_ids_stand_beside_their_own_and_are_learned_behind_a_target():
    beside = [[7, -1], [8, 9]]
    samples = [[TextSpan([1]), TextSpan([2, 3], [2, 3], beside), TextSpan([4])], [TextSpan([5], [5])]]
    _, layout = plan(samples, padding_side="left")
    none = [-1, -1]
    assert layout.parallel_ids.tolist() == [[none, *beside, none], [none] * 4]
    assert layout.target_positions.tolist() == [0, 1]
    assert layout.target_parallel.tolist() == beside
    assert plan([[TextSpan([1, 2], [1, 2])]])[1].target_parallel is None
    with pytest.raises(FusionError, match="sample 0: 2 ids but 1 rows of parallel ids"):
        plan([[TextSpan([1, 2], parallel=[[3]])]])


def test_types_and_labels_know_where_items_stand():
    samples = [[ItemSpan("beta", 2), TextSpan([5, 6])], [TextSpan([7]), ItemSpan("alpha", 1)]]
    _, layout = plan(samples, padding_side="left")
    assert layout.types(["alpha", "beta"]).tolist() == [[2, 2, 0, 0], [0, 0, 0, 1]]
    labels = torch.arange(8).view(2, 4)
    assert layout.without_items(labels).tolist() == [[-100, -100, 2, 3], [4, 5, 6, -100]]
    assert labels.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_plan_is_moved_with_all_its_tensors():
    learned_item = [TextSpan([1, 2], [1, 2], [[3], [4]]), ItemSpan("alpha", 1), ItemSpan("alpha", 2)]
    _, layout = plan([[*learned_item, TextSpan([5], [5]), GeneratedSpan("m", [7])]])
    moved = layout.to("meta")
    tensors = [getattr(moved, name) for name in ("text_positions", "pad_positions", "target_positions")]
    tensors += [moved.target_samples, moved.parallel_ids, *moved.item_positions.values(), *moved.ragged["alpha"]]
    tensors += [moved.generated["m"].words, moved.generated["m"].ids]
    assert all(each.is_meta and each.dtype == torch.int64 for each in tensors)
    assert (moved.shape, moved.samples, moved.items) == (layout.shape, layout.samples, layout.items)
    _, unlabelled = plan([[TextSpan([1])]])
    assert unlabelled.to("meta").target_positions is None


@pytest.mark.parametrize("samples", [[], [[]], [[], [TextSpan([])]]])
def test_a_batch_of_nothing_has_a_plan(samples):
    inputs, layout = plan(samples)
    assert inputs["input_ids"].shape == layout.shape == (len(samples), 0)
    assert layout.attention_mask.shape == layout.position_ids.shape == layout.shape
