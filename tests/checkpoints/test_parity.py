"""A model beside the outputs of another program: its inputs laid out, and what differs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.parity import IMAGE_TOKEN, Compared, _compare, lay_out, open_reference, rows_of, spans_of
from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan

P = IMAGE_TOKEN


def test_a_row_of_ids_is_its_texts_and_a_place_for_each_picture():
    ids = torch.tensor([1, 2, P, 3, P, P])
    assert spans_of(ids, None, None, 5) == [
        TextSpan([1, 2], None), ItemSpan("image", 5), TextSpan([3], None), ItemSpan("image", 5), ItemSpan("image", 5),
    ]  # fmt: skip
    labels = torch.tensor([IGNORE_INDEX, 2, IGNORE_INDEX, 3, IGNORE_INDEX, IGNORE_INDEX])
    assert [span.labels for span in spans_of(ids, labels, None, 5) if isinstance(span, TextSpan)] == [
        [IGNORE_INDEX, 2],
        [3],
    ]
    assert spans_of(torch.tensor([]).long(), None, None, 5) == []


def test_positions_that_the_mask_leaves_out_are_gone():
    mask = torch.tensor([0, 1, 0, 1])
    assert spans_of(torch.tensor([0, 7, P, 8]), None, mask, 5) == [TextSpan([7, 8], None)]


def model() -> SimpleNamespace:
    """One whose pictures take three positions."""
    return SimpleNamespace(encode=lambda modality, inputs: torch.zeros(len(inputs["pixel_values"]), 3, 7))


def test_a_row_without_a_picture_has_one_that_nobody_sees():
    """LLaVA takes one for each row that has none."""
    images = torch.arange(4.0)[:, None]
    ids = torch.tensor([[1, P, 2], [3, 4, 5], [P, P, 6]])
    laid_out, layout, kept = lay_out(model(), {"in.input_ids": ids, "in.images": images}, "right")
    assert layout.attention_mask.sum(1).tolist() == [5, 3, 7]
    assert kept.flatten().tolist() == [0, 2, 3]
    assert laid_out["input_ids"].shape == (3, 7)
    _, _, none = lay_out(model(), {"in.input_ids": ids[1:2]}, "right")
    assert none is None


def test_fewer_pictures_than_the_ids_ask_for_are_refused():
    ids = torch.tensor([[1, P, P]])
    with pytest.raises(KitError, match=r"the reference has 1 picture\(s\), its ids ask for more"):
        lay_out(model(), {"in.input_ids": ids, "in.images": torch.zeros(1, 1)}, "right")


def test_numbers_may_differ_by_rounding_and_ids_by_nothing():
    layout = SimpleNamespace(attention_mask=torch.tensor([[1, 1, 0]]))
    ours = torch.tensor([[[1.0], [2.0], [99.0]]])
    logits = _compare("logits", ours, torch.tensor([[[1.0], [2.5], [0.0]]]), layout)  # what is padding does not count
    assert (logits.shape, logits.difference, logits.equal) == ((2, 1), 0.5, False)
    assert _compare("logits", ours, ours + 5e-5 * torch.tensor([[[0.0], [1.0], [0.0]]]), layout).equal
    labels = _compare("labels", torch.tensor([[1, 2, 3]]), torch.tensor([[1, 0, 0]]), layout)
    assert (labels.difference, labels.equal) == (2, False)
    assert _compare("inputs_embeds", torch.zeros(0, 3), torch.zeros(0, 3), layout).equal
    with pytest.raises(KitError, match=r"ids: shape \(1, 3\), the reference has \(1, 2\)"):
        _compare("ids", torch.zeros(1, 3), torch.zeros(1, 2), layout)


def test_the_table_counts_ids_and_measures_numbers():
    assert rows_of([Compared("logits", (2, 7), 0.00125), Compared("ids", (1, 3), 0), Compared("labels", (1, 3), 2)])[
        1:
    ] == [
        ["logits", "2x7", "1.3e-03", "DIFFERENT"],
        ["ids", "1x3", "0 differ", "same"],
        ["labels", "1x3", "2 differ", "DIFFERENT"],
    ]


def test_a_file_without_ids_is_no_reference(tmp_path):
    save_file({"b.logits": torch.zeros(1), "a": torch.zeros(1)}, tmp_path / "r.safetensors")
    with pytest.raises(
        KitError, match=r"r\.safetensors: not a reference: it has no in\.input_ids; it has a, b\.logits"
    ):
        open_reference(tmp_path / "r.safetensors")
