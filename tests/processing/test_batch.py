"""A batch: labels of text alone, as transformers' processors name things, moved as a whole."""

from __future__ import annotations

import pytest
import torch

from tests.processing.asking import asked, picture, text
from tests.processing.asking import equal as is_batch_of
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan
from tinyllava_kit.processing.batch import Batch


def batch(*samples, items=None, **how) -> Batch:
    inputs, layout = plan(samples, **how)
    return Batch({**inputs, "plan": layout, "items": items or {}})


def pictures(count):
    return {"image": {"pixel_values": torch.zeros(count, 2)}}


TWO = [[TextSpan([5]), ItemSpan("image", 2)], [ItemSpan("image", 2), TextSpan([6, 7])]]


def test_labels_that_are_set_are_of_text_alone():
    made = batch(*TWO, items=pictures(2))
    made["labels"] = made["input_ids"] + 10
    assert made["labels"].tolist() == [[15, -100, -100, 10], [-100, -100, 16, 17]]
    made["attention_mask"] = made["attention_mask"].roll(1, 1)
    made["labels"] = made["input_ids"] + 10  # what stands where is not known
    assert IGNORE_INDEX not in made["labels"]
    made["mm_token_type_ids"] = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0]])
    assert made["labels"].tolist() == [[15, 10, -100, -100], [-100, -100, 16, 17]]


def test_items_under_their_own_names_where_all_take_as_many_positions():
    made = batch(*TWO, items=pictures(2)).by_types(["image"], named=True)
    assert set(made) == {"input_ids", "attention_mask", "mm_token_type_ids", "pixel_values"}
    assert made["mm_token_type_ids"].tolist() == [[0, 1, 1, 0], [1, 1, 0, 0]]
    made["labels"] = made["input_ids"] + 10  # the plan is remembered
    assert made["labels"].tolist() == [[15, -100, -100, 10], [-100, -100, 16, 17]]


@pytest.mark.parametrize(
    ("samples", "items"),
    [
        ([[ItemSpan("image", 2), ItemSpan("image", 3)]], pictures(2)),
        ([[ItemSpan("image", 2), ItemSpan("depth", 2)]], {**pictures(1), "depth": pictures(1)["image"]}),
    ],
    ids=["of several sizes", "of one name"],
)
def test_items_that_names_do_not_tell_apart_keep_their_plan(samples, items):
    made = batch(*samples, items=items).by_types(["depth", "image"], named=True)
    assert {"items", "plan", "mm_token_type_ids"} <= set(made)
    assert "pixel_values" not in made


def test_text_alone_needs_no_plan():
    made = batch([TextSpan([5, 6])])
    assert "plan" not in made.by_types(["image"], named=False)
    assert made["mm_token_type_ids"].tolist() == [[0, 0]]


def test_lists_are_without_padding():
    made = batch(*TWO, padding_side="left", items=pictures(2)).by_types(["image"], named=True).as_lists()
    assert made["input_ids"] == [[5, 0, 0], [0, 0, 6, 7]]
    assert made["mm_token_type_ids"] == [[0, 1, 1], [1, 1, 0, 0]]
    assert made["attention_mask"] == [[1] * 3, [1] * 4]
    assert "position_ids" not in made


def test_all_is_moved_and_floats_alone_change_their_dtype():
    made = batch(*TWO, items=pictures(2))
    made["targets"] = {"text": torch.tensor([1])}
    made.to(torch.bfloat16)
    assert made["items"]["image"]["pixel_values"].dtype == torch.bfloat16
    assert made["input_ids"].dtype == made["targets"]["text"].dtype == made["plan"].text_positions.dtype == torch.int64
    assert not made["input_ids"].is_meta
    for how in (("meta", torch.float16), (torch.device("meta"),)):
        moved = batch(*TWO, items=pictures(2)).to(*how)
        tensors = [moved["input_ids"], moved["plan"].text_positions, moved["items"]["image"]["pixel_values"]]
        assert all(each.is_meta for each in tensors)
    moved = batch(*TWO, items=pictures(2)).to(device="meta", dtype=torch.float16)
    assert moved["items"]["image"]["pixel_values"].dtype == torch.float16
    assert moved["plan"].text_positions.is_meta


def test_a_batch_as_transformers_names_it_is_that_of_the_messages(prompted):
    _, processor, (one, two, _) = prompted
    messages = [asked([picture(one), text("what?")]), asked([text("and "), picture(two)])]
    exact = processor(messages)
    named = processor.collate([processor.encode(processor.conversation(m), answer=True) for m in messages])
    is_batch_of(named.by_types(["image"], named=True), exact)
