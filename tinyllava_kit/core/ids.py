"""Ids behind an LLM's vocabulary: the ranges that decoders ask for, their marks, and ids at the same positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import KitError

# The marks around an item's ids; each is a range of one id, in front of the decoder's own.
BEGIN = "begin"
END = "end"


TEXT = "text"


# modality -> [name of a range, first id, number of ids], in order: what config.json holds
TokenRanges = Mapping[str, Sequence[Sequence[Any]]]


NO_ID = -1  # where there is no parallel id


@dataclass(frozen=True, kw_only=True)
class ParallelStream:
    """Ids that the LLM writes beside the main ones, at the same positions, through a head of their own.

    size: how many there are, counted from 0. on: the ranges beside whose ids one stands. delay: beside the first so
    many ids of an item none does.
    """

    size: int
    on: Sequence[str]
    delay: int = 0


def allot(wanted: Mapping[str, Mapping[str, int]], first: int) -> dict[str, list[list[Any]]]:
    """Ranges of ids behind one another from `first`, modalities by name, each one's marks in front.

    Example:
        >>> allot({"m": {"code": 5}}, 100)
        {'m': [['begin', 100, 1], ['end', 101, 1], ['code', 102, 5]]}
    """
    allotted: dict[str, list[list[Any]]] = {}
    for modality in sorted(wanted):
        allotted[modality] = []
        for name, size in {BEGIN: 1, END: 1, **wanted[modality]}.items():
            allotted[modality].append([name, first, size])
            first += size
    return allotted


def check_ranges(saved: TokenRanges, wanted: Mapping[str, Mapping[str, int]]) -> None:
    """Compare the ranges that a configuration holds with those that its decoders ask for.

    Raises:
        KitError: others; names the decoder's modality and both.
    """
    for modality in sorted(saved.keys() | wanted.keys()):
        has = {name: size for name, _, size in saved.get(modality, ()) if name not in (BEGIN, END)}
        asks = dict(wanted.get(modality, {}))
        if list(has.items()) != list(asks.items()):
            raise KitError(
                f"config.json: the model was made with ids {has or 'of none'} for its decoder of {modality!r}, which "
                f"asks for {asks or 'none'} here; install the version of its plugin that config.json names"
            )
    first = min((start for ranges in saved.values() for _, start, _ in ranges), default=0)
    if {modality: [list(each) for each in ranges] for modality, ranges in saved.items()} != allot(wanted, first):
        raise KitError("config.json: token_ranges are not contiguous; assemble the model again")


def sizes_of(parallel: Mapping[str, Mapping[str, ParallelStream]]) -> dict[str, list[list[Any]]]:
    """Modality -> the name and size of each of its parallel streams: what ``parallel_streams`` holds."""
    return {m: [[name, stream.size] for name, stream in each.items()] for m, each in sorted(parallel.items()) if each}


def check_parallel(saved: Mapping[str, Any], wanted: Mapping[str, Mapping[str, ParallelStream]]) -> None:
    """As `check_ranges`, of the ids beside the main ones.

    Raises:
        KitError: others; names the decoder's modality and both.
    """
    has = {modality: [list(each) for each in parallel] for modality, parallel in saved.items()}
    asks = sizes_of(wanted)
    for modality in sorted(has.keys() | asks.keys()):
        if has.get(modality) != asks.get(modality):
            raise KitError(
                f"config.json: the model was made with parallel ids {has.get(modality) or 'of none'} for its "
                f"decoder of {modality!r}, which asks for {asks.get(modality) or 'none'} here; install the version of "
                "its plugin that config.json names"
            )
