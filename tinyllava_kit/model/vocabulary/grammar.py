"""Which id may follow which: where the ids of decoders stand behind the vocabulary, and in what order they come.

Everything is a function of the last id alone, so that it needs no state, and holds for beams in any order. Further ids
may stand beside one, at the same position (`ParallelStream`); which of them do is a function of the ids so far.

Legend: B samples, t ids so far, S states, n target positions, V ids in all, K streams in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.ids import BEGIN, END, NO_ID, TEXT, ParallelStream, TokenRanges, check_parallel, check_ranges
from ...errors import KitError


@dataclass(frozen=True)
class Segment:
    """A part of an answer: text, or the ids of an item between its marks.

    modality: `TEXT`, or of the item. ids: in the vocabulary for text, counted from 0 for an item's decoder; a row for
    each position, ``[main, *parallel]``, where the decoder has streams.
    closed: whether the item's end was written. dropped: ids behind the last place where it may be cut, not in `ids`.
    """

    modality: str
    ids: list[int] | list[list[int]]
    closed: bool = True
    dropped: int = 0


Follows = Mapping[str, Mapping[str, Sequence[str]]]  # modality -> `TokenDecoder.follows`


class Grammar:
    """The ids of a model's decoders, and their order.

    A state is what the last id was: text (0, also behind an item's end mark), an item's begin mark, or one of a range.

    state_of: (V,) int64. allowed: (S, V) bool. groups: the names under which losses are counted: the text, then each
    range, then each parallel stream; an end mark counts with the ids that could stand in its place, a begin mark with
    the text.
    group_of: (S,) int64, of what follows on a state.
    streams: the streams of all modalities, in the order in which a position's parallel ids stand.

    Args:
        ranges: as `allot` gives them.
        follows: modality -> `TokenDecoder.follows`.
        num_text: how many ids the LLM has rows for; ids between these and the first range are never written.
        parallel: modality -> `TokenDecoder.parallel`. break_points: modality -> `TokenDecoder.break_points`.

    Raises:
        KitError: a decoder's order, streams or break points name ranges that it does not have, or its order never ends.
    """

    def __init__(
        self,
        ranges: TokenRanges,
        follows: Follows,
        num_text: int,
        *,
        parallel: Mapping[str, Mapping[str, ParallelStream]] | None = None,
        break_points: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.ranges = {m: {name: (start, size) for name, start, size in ranges[m]} for m in sorted(ranges)}
        streams = {m: (parallel or {}).get(m, {}) for m in self.ranges}
        breaks = {m: (break_points or {}).get(m, {}) for m in self.ranges}
        for modality, each in self.ranges.items():
            _check_order(modality, list(each), follows[modality])
            _check_parallel(modality, list(each), streams[modality], breaks[modality])
        self.num_text = num_text
        self.first = min(start for each in self.ranges.values() for start, _ in each.values())
        self.size = max(start + size for each in self.ranges.values() for start, size in each.values())
        self.begin = {m: each[BEGIN][0] for m, each in self.ranges.items()}
        self.end = {m: each[END][0] for m, each in self.ranges.items()}
        self.parallel = {f"{m}.{name}": stream for m, each in streams.items() for name, stream in each.items()}
        self._columns_of = _columns_of(streams)
        own = [f"{m}.{name}" for m, each in self.ranges.items() for name in each if name not in (BEGIN, END)]
        self.groups = [TEXT, *own, *self.parallel]
        self._states = [(TEXT, ""), *((m, name) for m, each in self.ranges.items() for name in each if name != END)]
        with torch.device("cpu"):  # also while the model is built on meta
            self.state_of = self._number_ids()
            self.allowed = self._allow(follows)
            self.group_of = self._group_states(follows)
            self._least = self._least_ids(follows, breaks)
            self._opens = torch.tensor([name == BEGIN for _, name in self._states])  # (S,)
            stands = [[_stands(stream, *state) for stream in self.parallel.items()] for state in self._states]
            self._on = torch.tensor(stands, dtype=torch.bool)  # (S, K)
            self._delays = torch.tensor([stream.delay for stream in self.parallel.values()], dtype=torch.int64)  # (K,)
        self._devices: dict[torch.device, tuple[Tensor, ...]] = {}

    def _number_ids(self) -> Tensor:
        """(V,), the state that each id is."""
        state_of = torch.zeros(self.size, dtype=torch.int64)
        for state, (modality, name) in enumerate(self._states[1:], 1):
            state_of[self._ids(modality, name)] = state
        return state_of

    def _allow(self, follows: Follows) -> Tensor:
        """(S, V), whether an id may follow on a state."""
        allowed = torch.zeros(len(self._states), self.size, dtype=torch.bool)
        allowed[0, : self.num_text] = True
        allowed[0, list(self.begin.values())] = True
        for state, (modality, name) in enumerate(self._states[1:], 1):
            for following in follows[modality][name]:
                allowed[state, self._ids(modality, following)] = True
        return allowed

    def _group_states(self, follows: Follows) -> Tensor:
        """(S,), the group of what follows on a state: the first range that may, or the end's own where nothing else."""
        expected = [
            f"{m}.{next((each for each in follows[m][name] if each != END), name)}" for m, name in self._states[1:]
        ]
        return torch.tensor([0, *(self.groups.index(group) for group in expected)])

    def _least_ids(self, follows: Follows, breaks: Mapping[str, Mapping[str, int]]) -> Tensor:
        """(S,), how many ids an item has at least that is cut behind such an id; 0: it is never cut there."""
        places = {}
        for modality, each in follows.items():
            may_end = {name: 1 for name, after in each.items() if END in after}
            places[modality] = breaks.get(modality) or may_end
        return torch.tensor([0, *(places[m].get(name, 0) for m, name in self._states[1:])])

    def tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """`state_of` and `allowed` on a device."""
        state_of, allowed, *_ = self._tables(device)
        return state_of, allowed

    def _tables(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._devices:
            tables = (self.state_of, self.allowed, self._opens, self._on, self._delays, self.group_of)
            self._devices[device] = tuple(table.to(device) for table in tables)
        return self._devices[device]

    def span(self, modality: str) -> tuple[int, int]:
        """Where a modality's ids begin, marks included, and how many there are."""
        each = self.ranges[modality].values()
        return min(start for start, _ in each), sum(size for _, size in each)

    def columns(self, group: str) -> Tensor:
        """Which ids compete with one another in a group, ascending, int64."""
        states = self.group_of == self.groups.index(group)
        return self.allowed[states].any(0).nonzero()[:, 0]

    def parallel_columns(self, modality: str) -> slice:
        """Which of a position's parallel ids are of a modality."""
        return self._columns_of[modality]

    def targets(self, previous: Tensor, parallel_ids: Tensor | None = None) -> dict[str, Tensor]:
        """Every group, in order, with which of the target positions are of it, (g,).

        Args:
            previous: (n,) the ids before the learned ones. parallel_ids: (n, K) those that are learned, if any.
        """
        state_of, *_, group_of = self._tables(previous.device)
        group = group_of[state_of[previous]]  # (n,)
        targets = {name: (group == index).nonzero()[:, 0] for index, name in enumerate(self.groups)}
        if parallel_ids is not None:
            for name, ids in zip(self.parallel, parallel_ids.T, strict=True):
                targets[name] = (ids != NO_ID).nonzero()[:, 0]
        return targets

    def standing(self, ids: Tensor) -> Tensor:
        """Main ids (B, t), from the beginning of an item or before -> (B, t, K) bool, the streams that stand there."""
        state_of, _, opens, on, delays, _ = self._tables(ids.device)
        state = state_of[ids]  # (B, t)
        at = torch.arange(ids.shape[1], device=ids.device)  # (t,)
        begun = torch.where(opens[state], at, 0).cummax(1).values  # (B, t)
        return on[state] & ((at - begun - 1)[..., None] >= delays)  # (B, t, K)

    def written(self, ids: Tensor, chosen: Sequence[Tensor]) -> Tensor:
        """What was chosen beside new ids (B, n), each (B, K), as far as it stands there: (B, n, K).

        Of items that begin among these ids.
        """
        return torch.stack(list(chosen[: ids.shape[1]]), 1).masked_fill(~self.standing(ids), NO_ID)  # (B, n, K)

    def enclosed(self, modality: str, ids: Tensor, name: str) -> list[int]:
        """What a decoder gave for an item, (n,) or (n, 1 + streams) from 0, as ids of the vocabulary between the marks.

        Raises:
            KitError: they are not in the order that the decoder states, or have other parallel ids; names the item.
        """
        first, _ = self.span(modality)
        inner = (ids if ids.ndim == 1 else ids[:, 0]) + (first + 2)  # (n,)
        whole = [self.begin[modality], *inner.tolist(), self.end[modality]]
        row = torch.tensor(whole)
        if inner.numel() and not (self.first <= int(inner.min()) and int(inner.max()) < self.size):
            raise KitError(f"{name}: its decoder gives an id outside of its ranges; report it to its authors")
        fits = self.allowed[self.state_of[row[:-1]], row[1:]]
        if not bool(fits.all()):
            at = int(fits.int().argmin())
            raise KitError(
                f"{name}: its decoder gives {len(ids)} ids, and id number {at} is not allowed there; "
                "an item has a whole number of steps, and at least one"
            )
        self._check_parallel_ids(modality, row, ids, name)
        return whole

    def parallel_ids(self, modality: str, ids: Tensor) -> list[list[int]] | None:
        """The parallel ids, (n + 2, K), of an item that a decoder gave as (n, 1 + streams): for the streams of all
        modalities, marks included.

        None where its decoder has none.
        """
        columns = self._columns_of[modality]
        if columns.start == columns.stop:
            return None
        rows = torch.full((len(ids) + 2, len(self.parallel)), NO_ID)  # (n + 2, K)
        rows[1:-1, columns] = ids[:, 1:]
        return rows.tolist()

    def _check_parallel_ids(self, modality: str, row: Tensor, ids: Tensor, name: str) -> None:
        """Check the parallel ids that a decoder gives with an item.

        Raises:
            KitError: the parallel ids (n, 1 + streams) are not those that stand beside the ids of a row (n + 2,).
        """
        columns = self._columns_of[modality]
        wanted = (len(ids), 1 + columns.stop - columns.start) if columns.stop > columns.start else (len(ids),)
        if tuple(ids.shape) != wanted:
            raise KitError(f"{name}: its decoder gives ids of shape {tuple(ids.shape)}, expected {wanted}; report it")
        standing = self.standing(row[None])[0, 1:-1, columns]  # (n, streams)
        for (stream, how), given, here in zip(
            list(self.parallel.items())[columns], ids.reshape(len(ids), -1).T[1:], standing.T, strict=True
        ):
            fits = torch.where(here, (given >= 0) & (given < how.size), given == NO_ID)  # (n,)
            if not bool(fits.all()):
                at = int(fits.int().argmin())
                wants = f"one of {how.size}" if here[at] else f"{NO_ID}, for none"
                raise KitError(
                    f"{name}: its decoder gives {int(given[at])} as {stream!r} beside id number {at}, expected "
                    f"{wants}; report it to its authors"
                )

    def segments(self, ids: Sequence[int], parallel_ids: Sequence[Sequence[int]] | None = None) -> list[Segment]:
        """Ids that were written -> text and items, in order. An item that was not finished is cut where it may be.

        Args:
            parallel_ids: those at each of them, of a model that has streams.
        """
        modality_of = {begin: m for m, begin in self.begin.items()}
        found: list[Segment] = []
        row = list(ids)
        at = 0
        while at < len(row):
            modality = modality_of.get(row[at], TEXT)
            if modality == TEXT:
                stop = next((i for i in range(at, len(row)) if row[i] in modality_of), len(row))
                found.append(Segment(TEXT, row[at:stop]))
                at = stop
                continue
            first, size = self.span(modality)
            stop = next((i for i in range(at + 1, len(row)) if not first + 2 <= row[i] < first + size), len(row))
            closed = stop < len(row) and row[stop] == self.end[modality]
            inner = row[at + 1 : stop]
            kept = len(inner) if closed else self._last_break(inner)
            counted: list[Any] = [i - first - 2 for i in inner[:kept]]
            columns = self._columns_of[modality]
            if parallel_ids is not None and columns.stop > columns.start:
                others = parallel_ids[at + 1 : stop]
                counted = [[each, *other[columns]] for each, other in zip(counted, others, strict=False)]
            found.append(Segment(modality, counted, closed, len(inner) - kept))
            at = stop + closed
        return found

    def may_break(self, each: int, count: int) -> bool:
        """Whether an item may be cut behind an id of it, the number `count`, from 1."""
        return 0 < int(self._least[self.state_of[each]]) <= count

    def _last_break(self, inner: Sequence[int]) -> int:
        """How many of an item's ids stand before the last place where it may be cut."""
        return max((n for n, each in enumerate(inner, 1) if self.may_break(each, n)), default=0)

    def _ids(self, modality: str, name: str) -> slice:
        start, size = self.ranges[modality][name]
        return slice(start, start + size)


def _check_order(modality: str, names: Sequence[str], follows: Mapping[str, Sequence[str]]) -> None:
    """Check which ranges a decoder says may follow on which.

    Raises:
        KitError: see `Grammar`.
    """
    where = f"the decoder of {modality!r}"
    wanted = set(names) - {END}
    if set(follows) != wanted:
        raise KitError(f"{where} must say what follows each of {sorted(wanted)}, says it of {sorted(follows)}")
    for name, after in follows.items():
        unknown = [each for each in after if each not in names or each == BEGIN]
        if unknown or not after or (name == BEGIN and END in after):
            raise KitError(f"{where}: behind {name!r} may come {list(after)}; expected at least one of its ranges")
    if not any(END in after for after in follows.values()):
        raise KitError(f"{where}: no range may be the last one; one of them must be followed by {END!r}")


def _check_parallel(
    modality: str, names: Sequence[str], parallel: Mapping[str, ParallelStream], break_points: Mapping[str, int]
) -> None:
    """Check the parallel streams and the break points of a decoder.

    Raises:
        KitError: see `Grammar`.
    """
    if unknown := sorted(set(break_points) - set(names)):
        raise KitError(f"the decoder of {modality!r}: cut behind {unknown}; expected some of its ranges")
    for name, stream in parallel.items():
        wrong = [each for each in stream.on if each not in names or each in (BEGIN, END)]
        if name in names or wrong or not stream.on or stream.size < 1 or stream.delay < 0:
            raise KitError(f"the decoder of {modality!r}: {name!r} cannot be parallel to its ids: {stream}")


def _columns_of(streams: Mapping[str, Mapping[str, ParallelStream]]) -> dict[str, slice]:
    """Which of a position's parallel ids are of each modality."""
    columns, start = {}, 0
    for modality, mine in streams.items():
        columns[modality] = slice(start, start + len(mine))
        start += len(mine)
    return columns


def _stands(stream: tuple[str, ParallelStream], modality: str, name: str) -> bool:
    """Whether an id of a stream, by its full name, may stand beside ids of a range."""
    full, how = stream
    return full.startswith(f"{modality}.") and name in how.on


def grammar_of(config: Any, decoders: Mapping[str, Any]) -> Grammar | None:
    """The grammar of a model or a processor; None where no decoder has ids.

    Raises:
        KitError: the configuration's ranges are not those of its decoders.
    """
    writing = {m: decoder for m, decoder in decoders.items() if decoder.reads == "tokens"}
    check_ranges(config.token_ranges, {m: dict(decoder.ranges) for m, decoder in writing.items()})
    parallel = {m: decoder.parallel for m, decoder in writing.items()}
    check_parallel(config.parallel_streams, parallel)
    if not writing:
        return None
    follows = {m: decoder.follows for m, decoder in writing.items()}
    break_points = {m: decoder.break_points for m, decoder in writing.items()}
    return Grammar(
        config.token_ranges, follows, config.text_config.vocab_size, parallel=parallel, break_points=break_points
    )
