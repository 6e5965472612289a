"""The order of an epoch: every sample once, grouped window by window, and another one each epoch."""

from __future__ import annotations

import pytest

from tinyllava_kit.training.batches.size import sample_order


def by_three(window):
    return [tuple(window[start : start + 3]) for start in range(0, len(window), 3)]


@pytest.mark.parametrize("count", [0, 1, 7, 23])
def test_every_sample_comes_once(count):
    groups = sample_order(count, 7, 0, 0, by_three)
    assert sorted(index for group in groups for index in group) == list(range(count))


def test_a_group_holds_samples_of_one_window_and_windows_and_groups_are_drawn():
    windows = []
    groups = sample_order(23, 7, 0, 0, lambda window: (windows.append(tuple(window)), by_three(window))[1])
    assert [len(window) for window in windows] == [7, 7, 7, 2]
    assert all(any(set(group) <= set(window) for window in windows) for group in groups)
    assert [index for window in windows for index in window] != list(range(23))
    assert groups != [group for window in windows for group in by_three(window)]


def test_the_order_is_that_of_its_seed_and_its_epoch_alone():
    first = sample_order(23, 7, 5, 1, by_three)
    assert sample_order(23, 7, 5, 1, by_three) == first
    assert sample_order(23, 7, 5, 2, by_three) != first
    assert sample_order(23, 7, 6, 1, by_three) != first
    assert sample_order(23, 7, 1, 5, by_three) != first  # seed and epoch are not exchanged
