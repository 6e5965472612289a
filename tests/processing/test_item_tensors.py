"""Windows and features of several items as tensors, against slow loops."""

from __future__ import annotations

import pytest
import torch

from tinyllava_kit.processing.item_tensors import pad_features, window_inputs


@pytest.mark.parametrize("counts", [[[2, 3], [4]], [[1], [1, 1, 1]], [[5, 5, 2], [3], [0, 2]]])
def test_windows_lie_behind_one_another(counts):
    found = window_inputs(counts)
    longest, first = max(map(sum, counts)), 0
    for item, windows in enumerate(counts):
        expected = [(first + window, place) for window, size in enumerate(windows) for place in range(size)]
        places = list(zip(found["window_rows"][item].tolist(), found["window_features"][item].tolist(), strict=True))
        assert places[: len(expected)] == expected
        assert found["window_lengths"][item] == len(expected)
        first += len(windows)
    assert found["window_rows"].shape == found["window_features"].shape == (len(counts), longest)


def test_items_of_one_row_need_none():
    assert window_inputs([[3], [5]]) == window_inputs([]) == {}


def test_features_are_padded_where_they_differ():
    one, two = torch.randn(3, 2), torch.randn(1, 2)
    padded = pad_features([one, two])
    assert padded["lengths"].tolist() == [3, 1]
    assert torch.equal(padded["features"][0], one)
    assert torch.equal(padded["features"][1], torch.cat([two, torch.zeros(2, 2)]))
    even = pad_features([one, one + 1])
    assert even.keys() == {"features"}
    assert torch.equal(even["features"], torch.stack([one, one + 1]))
