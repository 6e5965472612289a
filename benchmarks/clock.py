"""CPU time of several ways to do the same, taken in turns, so that all meet the same neighbours on the machine."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Work = Callable[[], object]


def ratios(
    base: Work,
    sides: Mapping[str, Work],
    *,
    seconds: float = 0.0,
    rounds: int = 3,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median, over the rounds, of each side's time in the time of `base` in the same round.

    Args:
        base: what the sides are compared with.
        sides: name -> what is timed, until what it returned has been given back: a side that makes temporary tensors
            pays for their release, so the others pay for that of their results.
        seconds: of wall time; rounds are run for as long, or as many as `rounds` if those take longer.
        rounds: how many there are at least; one more, not counted, comes first.
        clock: seconds of CPU; wall time lies on a machine that is shared.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    end, number = time.monotonic() + seconds, -1
    while number < rounds or time.monotonic() < end:
        unit = _spent(base, clock)
        for name, work in sides.items():
            ratio = _spent(work, clock) / unit
            if number >= 0:
                taken[name].append(ratio)
        number += 1
    return {name: statistics.median(values) for name, values in taken.items()}


def of_children() -> float:
    """Seconds of CPU, user and system, of the child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch with one thread, so that CPU time is the time of the work, not of threads that wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _spent(work: Work, clock: Callable[[], float]) -> float:
    before = clock()
    work()  # nobody holds its result, so the memory is released here
    return clock() - before
