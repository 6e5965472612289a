"""Which id may follow which: where the ids of decoders stand behind the vocabulary, and in what order they come.

Everything is a function of the last id alone, so that it needs no state, and holds for beams in any order.

Legend: B samples, t ids so far, S states, n target positions, V ids in all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import KitError, near

# The marks around an item's ids; each is a range of one id, in front of the decoder's own.
BEGIN, END = "begin", "end"
TEXT = "text"

# modality -> [name of a range, first id, number of ids], in order: what config.json holds
TokenRanges = Mapping[str, Sequence[Sequence[Any]]]


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
        raise KitError("config.json: token_ranges do not lie behind one another; assemble the model again")


@dataclass(frozen=True)
class Piece:
    """A part of an answer: text, or the ids of an item between its marks.

    modality: `TEXT`, or of the item. ids: in the vocabulary for text, counted from 0 for an item's decoder.
    closed: whether the item's end was written. dropped: ids behind the last place where it may end, left out of `ids`.
    """

    modality: str
    ids: list[int]
    closed: bool = True
    dropped: int = 0


class Grammar:
    """The ids of a model's decoders, and their order.

    A state is what the last id was: text (0, also behind an item's end mark), an item's begin mark, or one of a range.

    state_of: (V,) int64. allowed: (S, V) bool. groups: the names under which losses are counted: the text, then each
    range; an end mark counts with the ids that could stand in its place, a begin mark with the text.
    group_of: (S,) int64, of what follows on a state.

    Args:
        ranges: as `allot` gives them.
        follows: modality -> `TokenDecoder.follows`.
        num_text: how many ids the LLM has rows for; what is between these and the first range is never written.

    Raises:
        KitError: a decoder's order names ranges that it does not have, or never ends.
    """

    def __init__(self, ranges: TokenRanges, follows: Mapping[str, Mapping[str, Sequence[str]]], num_text: int) -> None:
        self.ranges = {m: {name: (start, size) for name, start, size in ranges[m]} for m in sorted(ranges)}
        self.num_text = num_text
        self.first = min(start for each in self.ranges.values() for start, _ in each.values())
        self.size = max(start + size for each in self.ranges.values() for start, size in each.values())
        self.begin = {m: each[BEGIN][0] for m, each in self.ranges.items()}
        self.end = {m: each[END][0] for m, each in self.ranges.items()}
        states = [(TEXT, "")]
        self.groups = [TEXT]
        for modality, each in self.ranges.items():
            _check_order(modality, list(each), follows[modality])
            states += [(modality, name) for name in each if name != END]
            self.groups += [f"{modality}.{name}" for name in each if name not in (BEGIN, END)]
        self.state_of = torch.zeros(self.size, dtype=torch.int64, device="cpu")  # also while the model is built on meta
        self.allowed = torch.zeros(len(states), self.size, dtype=torch.bool, device="cpu")
        self.allowed[0, :num_text] = True
        self.allowed[0, list(self.begin.values())] = True
        self.group_of = torch.zeros(len(states), dtype=torch.int64, device="cpu")
        for state, (modality, name) in enumerate(states[1:], 1):
            self.state_of[self._ids(modality, name)] = state
            after = follows[modality][name]
            for following in after:
                self.allowed[state, self._ids(modality, following)] = True
            expected = next(following for following in after if following != END)
            self.group_of[state] = self.groups.index(f"{modality}.{expected}")
        self._devices: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """`state_of` and `allowed` on a device."""
        if device not in self._devices:
            self._devices[device] = (self.state_of.to(device), self.allowed.to(device))
        return self._devices[device]

    def span(self, modality: str) -> tuple[int, int]:
        """Where a modality's ids begin, marks included, and how many there are."""
        each = self.ranges[modality].values()
        return min(start for start, _ in each), sum(size for _, size in each)

    def columns(self, group: str) -> Tensor:
        """Which ids compete with one another in a group, ascending, int64."""
        states = self.group_of == self.groups.index(group)
        return self.allowed[states].any(0).nonzero()[:, 0]

    def targets(self, previous: Tensor) -> dict[str, Tensor]:
        """The ids (n,) in front of target positions -> every group, in order, with which of the n are of it, (g,)."""
        group = self.group_of[self.state_of[previous]]  # (n,)
        return {name: (group == index).nonzero()[:, 0] for index, name in enumerate(self.groups)}

    def enclosed(self, modality: str, ids: Tensor, name: str) -> list[int]:
        """What a decoder gave for an item, (n,) from 0, as ids of the vocabulary between the marks.

        Raises:
            KitError: they are not in the order that the decoder states; names the item.
        """
        first, _ = self.span(modality)
        inner = ids + (first + 2)
        whole = [self.begin[modality], *inner.tolist(), self.end[modality]]
        row = torch.tensor(whole)
        if inner.numel() and not (self.first <= int(inner.min()) and int(inner.max()) < self.size):
            raise KitError(f"{name}: its decoder gives an id outside of its ranges; report it to its authors")
        fits = self.allowed[self.state_of[row[:-1]], row[1:]]
        if not bool(fits.all()):
            at = int(fits.int().argmin())
            raise KitError(
                f"{name}: its decoder gives {len(ids)} ids, of which number {at} is not one that may stand there; "
                "an item has a whole number of steps, and at least one"
            )
        return whole

    def pieces(self, ids: Sequence[int]) -> list[Piece]:
        """Ids that were written -> text and items, in order. An item that was not finished is cut where it may end."""
        modality_of = {begin: m for m, begin in self.begin.items()}
        found: list[Piece] = []
        row = list(ids)
        at = 0
        while at < len(row):
            modality = modality_of.get(row[at], TEXT)
            if modality == TEXT:
                stop = next((i for i in range(at, len(row)) if row[i] in modality_of), len(row))
                found.append(Piece(TEXT, row[at:stop]))
                at = stop
                continue
            first, size = self.span(modality)
            stop = next((i for i in range(at + 1, len(row)) if not first + 2 <= row[i] < first + size), len(row))
            closed = stop < len(row) and row[stop] == self.end[modality]
            inner = row[at + 1 : stop]
            kept = len(inner) if closed else self._last_end(modality, inner)
            found.append(Piece(modality, [i - first - 2 for i in inner[:kept]], closed, len(inner) - kept))
            at = stop + closed
        return found

    def may_end(self, modality: str, each: int) -> bool:
        """Whether an item of a modality may end behind an id."""
        return bool(self.allowed[self.state_of[each], self.end[modality]])

    def _last_end(self, modality: str, inner: Sequence[int]) -> int:
        """How many of an item's ids stand before the last place where it may end."""
        ends = self.allowed[self.state_of[torch.tensor(inner, dtype=torch.int64)], self.end[modality]]  # (n,)
        places = ends.nonzero()[:, 0]
        return int(places[-1]) + 1 if len(places) else 0

    def _ids(self, modality: str, name: str) -> slice:
        start, size = self.ranges[modality][name]
        return slice(start, start + size)


class FollowGrammar:
    """A logits processor of transformers: only what may follow on the last id keeps its score.

    Args:
        grammar: of the model.
        prompt: (B, t) ids in front of the answer; what is written counts from there.
        ends: ids that end an answer.
        force: modalities of which an answer must hold an item: where it would end without, the item begins instead.
        forbid: modalities that an answer must not hold.

    Raises:
        KitError: a modality that the model does not write, or one that is in both.
    """

    def __init__(
        self,
        grammar: Grammar,
        *,
        prompt: Tensor | None,
        ends: Sequence[int],
        force: Collection[str] = (),
        forbid: Collection[str] = (),
    ) -> None:
        for modality in (*force, *forbid):
            if modality not in grammar.begin:
                raise KitError(f"the model does not write {modality!r} in ids; {near(modality, grammar.begin)}")
            if modality in force and modality in forbid:
                raise KitError(f"{modality!r} cannot be forced and forbidden; leave one of them out")
        self.grammar, self.prompt, self.ends, self.force = grammar, prompt, list(ends), list(force)
        self.closed = [grammar.begin[modality] for modality in forbid]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(B, t) or, where generation began from embeddings, (B, new); (B, V) -> (B, V)."""
        state_of, allowed = self.grammar.tables(scores.device)
        has_prompt = self.prompt is not None and input_ids.shape[1] >= self.prompt.shape[1]
        new = input_ids[:, self.prompt.shape[1] :] if has_prompt else input_ids  # (B, new)
        if input_ids.shape[1]:
            state = state_of[input_ids[:, -1]]  # (B,)
        else:
            state = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
        scores = scores.clone()
        in_text = state == 0  # (B,)
        for modality in self.force:
            begin = self.grammar.begin[modality]
            waits = in_text & ~(new == begin).any(1)  # (B,)
            wish = scores[:, [begin, *self.ends]].amax(1)  # (B,)
            scores[:, begin] = torch.where(waits, wish, scores[:, begin])
            scores[:, self.ends] = scores[:, self.ends].masked_fill(waits[:, None], -torch.inf)
        scores[:, self.closed] = -torch.inf
        return scores.masked_fill(~allowed[state], -torch.inf)  # (B, V)


def _check_order(modality: str, names: Sequence[str], follows: Mapping[str, Sequence[str]]) -> None:
    """
    Raises:
        KitError: see `Grammar`.
    """
    where = f"the decoder of {modality!r}"
    wanted = set(names) - {END}
    if set(follows) != wanted:
        raise KitError(f"{where} must say what follows on each of {sorted(wanted)}, says it of {sorted(follows)}")
    for name, after in follows.items():
        unknown = [each for each in after if each not in names or each == BEGIN]
        if unknown or not [each for each in after if each != END] or (name == BEGIN and END in after):
            raise KitError(f"{where}: behind {name!r} may come {list(after)}; expected at least one of its ranges")
    if not any(END in after for after in follows.values()):
        raise KitError(f"{where}: no range may be the last one; one of them must be followed by {END!r}")


def grammar_of(config: Any, decoders: Mapping[str, Any]) -> Grammar | None:
    """The grammar of a model or a processor; None where no decoder has ids.

    Raises:
        KitError: the configuration's ranges are not those of its decoders.
    """
    writing = {m: decoder for m, decoder in decoders.items() if decoder.reads == "tokens"}
    check_ranges(config.token_ranges, {m: dict(decoder.ranges) for m, decoder in writing.items()})
    if not writing:
        return None
    follows = {m: decoder.follows for m, decoder in writing.items()}
    return Grammar(config.token_ranges, follows, config.text_config.vocab_size)
