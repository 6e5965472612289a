"""What a recipe's data hold, before any training: what is wrong with them, and what a stage makes of them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.conversation import Conversation, Item
from ...core.plan import Truncation, plan
from ...core.spans import IGNORE_INDEX, GeneratedSpan, Sample, TextSpan
from ...data.dataset import conversations_of, mixed
from ...data.sources import Source
from ...errors import KitError
from ...processing.encoded import Encoded
from ...processing.processor import TinyLlavaProcessor
from ..batches.batching import batches_of, steps_of
from ..batches.packing import PackedBatches
from ..recipe import Recipe, Stage


@dataclass(frozen=True)
class DataProblem:
    """Something that is wrong, in one line: `row` is the file and the row, `kind` one of those of `PROBLEMS`."""

    kind: str
    row: str
    reason: str


# What a finding is about, as the summary calls it.
PROBLEMS = {
    "source": "sources that cannot be read",
    "row": "rows that cannot be used",
    "answer cut": "rows whose answer is cut",
    "item cut": "rows that lose an item",
    "teaches nothing": "rows that teach nothing",
}


BINS = 12  # of a histogram


def _round_numbers() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50 and so on."""
    return (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))


@dataclass
class StageReport:
    """What a stage reads.

    rows: how many conversations; `lengths`: the positions of each that can be used, before anything is cut.
    tokens: positions by modality, ``text`` among them; `learned` is how many are labels.
    made: ids by modality, of items that a decoder makes of words; they take no position.
    batches, steps: of the whole stage in one process. fill: of packed rows, the share that holds a sample.
    """

    stage: str
    findings: list[DataProblem] = field(default_factory=list)
    rows: int = 0
    lengths: list[int] = field(default_factory=list)
    tokens: Counter[str] = field(default_factory=Counter)
    learned: int = 0
    made: Counter[str] = field(default_factory=Counter)
    batches: int | None = None
    steps: int | None = None
    fill: float | None = None

    def histogram(self) -> list[tuple[int, int, int]]:
        """How many conversations have from, to (both included) positions: at most `BINS` and one, of a round width."""
        if not self.lengths:
            return []
        least, most = min(self.lengths), max(self.lengths)
        width = next(w for w in _round_numbers() if (most - least) < w * BINS)
        counts = Counter(length // width for length in self.lengths)
        return [(b * width, (b + 1) * width - 1, counts[b]) for b in range(least // width, most // width + 1)]

    def to_json(self) -> dict[str, Any]:
        """All of it, the lengths as their histogram."""
        plain = {k: v for k, v in vars(self).items() if k not in ("lengths", "findings")}
        histogram = [{"from": first, "to": last, "rows": count} for first, last, count in self.histogram()]
        return {**plain, "lengths": histogram, "findings": [vars(finding) for finding in self.findings]}


def check_data(
    recipe: Recipe, *, only: str | None = None, decode: bool = True, progress: Callable[[str], None] = lambda _: None
) -> list[StageReport]:
    """Read all data of a recipe's stages, and say what is wrong with them.

    Args:
        only: this stage alone.
        decode: read every item; otherwise the headers of their files alone.
        progress: a function that gets what is being read, now and then.

    Raises:
        KitError: the model's processor cannot be loaded, or there is no such stage.
    """
    stages = [recipe.stage(only)] if only is not None else recipe.stages
    processor = TinyLlavaProcessor.from_pretrained(recipe.model)
    items = _Items(processor, decode)
    return [_check_stage(stage, processor, items, recipe.seed, progress) for stage in stages]


def _check_stage(
    stage: Stage, processor: TinyLlavaProcessor, items: _Items, seed: int, progress: Callable[[str], None]
) -> StageReport:
    report, objective = StageReport(stage.name), stage.objective
    learns_answers = objective is None or objective.runs_llm  # others use the items alone
    parts: list[list[tuple[Conversation | None, int]]] = []  # of a stream, which is not held, no conversation
    for source in stage.data:
        parts.append([])
        try:
            for label, make in _conversations(source, processor, in_words=stage.items == "text"):
                report.rows += 1
                if report.rows % 1000 == 0:
                    progress(f"{stage.name}: {report.rows} rows")
                checked = _checked(label, make, items, processor, report)
                if checked is not None:
                    conversation, probe = checked
                    _count(probe, stage.max_length, report, learns_answers)
                    parts[-1].append((None if stage.is_streamed else conversation, probe.num_tokens))
        except KitError as error:
            report.findings.append(DataProblem("source", source.name, str(error)))
    if stage.validation is not None:
        _check_held_out(stage.validation.data, stage, processor, items, report)
    if all(parts):
        _predict(stage, processor, mixed(parts, stage.data, seed), seed, report)
    return report


def _check_held_out(
    sources: Sequence[Source], stage: Stage, processor: TinyLlavaProcessor, items: _Items, report: StageReport
) -> None:
    """Faults of the held-out rows of a stage, which count for nothing else."""
    for source in sources:
        try:
            for label, make in _conversations(source, processor, in_words=stage.items == "text"):
                _checked(label, make, items, processor, report)
        except KitError as error:
            report.findings.append(DataProblem("source", source.name, str(error)))


def _conversations(
    source: Source, processor: TinyLlavaProcessor, *, in_words: bool
) -> Iterator[tuple[str, Callable[[], Conversation]]]:
    """Those of one pass; a stream's are not held."""
    if not source.stream:
        yield from conversations_of(source.rows(), source, processor, in_words=in_words)
        return
    rows = itertools.islice(itertools.chain.from_iterable(source.shards()), source.limit)
    turns = 1 if source.pairs is None else source.pairs.turns
    at = 0
    while together := list(itertools.islice(rows, turns)):
        yield from conversations_of(together, source, processor, first=at, in_words=in_words)
        at += len(together)


def _checked(
    label: str,
    make: Callable[[], Conversation],
    items: _Items,
    processor: TinyLlavaProcessor,
    report: StageReport,
) -> tuple[Conversation, Encoded] | None:
    """A conversation and its probe; None, and a finding each, for what is wrong with it."""
    found: list[str] = []
    try:
        conversation = make()
        found = [reason for item in conversation.items if (reason := items.problem(item))]
        if not found:
            return conversation, processor.probe(conversation)
    except KitError as error:
        found.append(str(error))
    report.findings += [DataProblem("row", label, reason.removeprefix(f"{label}: ")) for reason in found]
    return None


class _Items:
    """Faults of items; each file is read once.

    Args:
        decode: read them whole, beside what their headers say.
    """

    def __init__(self, processor: TinyLlavaProcessor, decode: bool) -> None:
        self.processor, self.decode = processor, decode
        self.known: dict[Any, str] = {}

    def problem(self, item: Item) -> str:
        """One line; empty where there is none."""
        nameless = Item(item.modality, item.source)
        if not isinstance(item.source, str):
            return self._problem(nameless)
        key = item.key
        if key not in self.known:
            self.known[key] = self._problem(nameless)
        return self.known[key]

    def _problem(self, item: Item) -> str:
        try:
            self.processor.probe_source(item)
            if self.decode:
                self.processor.read_source(item)
        except KitError as error:
            return str(error)
        return ""


def _count(encoded: Encoded, max_length: int | None, report: StageReport, learns_answers: bool) -> None:
    """Add a conversation's lengths to the report, and what its stage would do to it."""
    report.lengths.append(encoded.num_tokens)
    for span in encoded.spans:
        if isinstance(span, GeneratedSpan):
            report.made[span.modality] += len(span.ids)
            continue
        count = len(span.ids) if isinstance(span, TextSpan) else span.num_tokens
        report.tokens["text" if isinstance(span, TextSpan) else span.modality] += count
    if not learns_answers:
        return
    learned, cut = _learned(encoded.spans), _cut(encoded.spans, max_length)
    kept = learned - (cut.num_labels if cut else 0)
    report.learned += kept
    if not kept:
        why = f"max_length {max_length} cuts its answers off" if learned else "nothing in it is an answer"
        report.findings.append(DataProblem("teaches nothing", encoded.name, why))
    elif cut and cut.num_labels:
        lost = f"{cut.num_labels} of the {learned} that are learned"
        why = f"takes {encoded.num_tokens} positions of {max_length}; {lost} are cut"
        report.findings.append(DataProblem("answer cut", encoded.name, why))
    elif cut and cut.items:
        lost = ", ".join(f"{count} {modality}" for modality, count in cut.items.items())
        why = f"takes {encoded.num_tokens} positions of {max_length}; {lost} item(s) are cut"
        report.findings.append(DataProblem("item cut", encoded.name, why))


def _learned(spans: Sample) -> int:
    texts = (span.labels or () for span in spans if isinstance(span, TextSpan))
    return sum(label != IGNORE_INDEX for labels in texts for label in labels)


def _cut(spans: Sample, max_length: int | None) -> Truncation | None:
    """What truncation takes, as the plan of a batch says."""
    truncations = plan([spans], max_length=max_length)[1].truncations if max_length is not None else ()
    return truncations[0] if truncations else None


def _predict(
    stage: Stage,
    processor: TinyLlavaProcessor,
    samples: list[tuple[Conversation | None, int]],
    seed: int,
    report: StageReport,
) -> None:
    """How many batches and steps the samples of an epoch make, and how full packed rows are."""
    if stage.is_streamed:
        report.batches, report.steps = steps_of(stage, 0, None)
        return
    conversations = [conversation for conversation, _ in samples if conversation is not None]
    most = math.inf if stage.max_length is None else stage.max_length
    tokens = [int(min(length, most)) for _, length in samples]
    batches = batches_of(stage, conversations, processor.modalities, lambda: tokens, seed)
    report.batches, report.steps = steps_of(stage, len(samples), batches)
    if batches is not None and isinstance(batches.batches, PackedBatches):
        report.fill = batches.batches.fill
