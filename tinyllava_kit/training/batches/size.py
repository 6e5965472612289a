"""What a sample costs in a batch, and the order in which samples are drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

Measures = Mapping[str, float]
Group = TypeVar("Group")


def sample_order(
    count: int, window: int, seed: int, epoch: int, group: Callable[[Sequence[int]], Iterable[Group]]
) -> list[Group]:
    """The samples of an epoch in an order of its own, grouped window by window, and the groups in another order.

    Args:
        count: of samples. window: how many are grouped together: as many as sizes want, as few as chance wants.
        group: indices of a window -> groups of them.
    """
    draw = random.Random(f"{seed} {epoch}")
    order = list(range(count))
    draw.shuffle(order)
    windows = (order[start : start + window] for start in range(0, count, window))
    groups = [each for part in windows for each in group(part)]
    draw.shuffle(groups)
    return groups
