"""What the stages of a recipe would take: memory, steps and time, from ten steps that are timed. Nothing is kept."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import SaveStrategy

from ..core.conversation import ITEM, Conversation
from ..data.dataset import ConversationDataset
from ..data.stream import RowStream
from ..distributed import world_size
from ..errors import KitError
from .batches.batching import batches_of, steps_of
from .batches.packing import token_counts
from .loop.clock import Clock
from .loop.fitting import trainer_of
from .output.history import device_name
from .preparation import prepare
from .recipe import Recipe, Stage
from .run import check_unfinished, first_model
from .stage_run import StageRun
from .stages import in_stage

TIMED = 10  # steps; one more comes first
_SPARE = 4  # times the rows that the steps need are read: some batches are larger


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a stage would take.

    rows: of an epoch; None: of a stream. steps: without a limit of time. step_seconds: the mean of the timed ones.
    first_seconds: before the first step, for features, codes of answers and a teacher's features. trained, parameters:
    numbers of weights. memory: the most that was used, in bytes. limit_seconds: `max_minutes`.
    """

    stage: str
    rows: int | None
    steps: int
    step_seconds: float
    first_seconds: float
    trained: int
    parameters: int
    device: str
    memory: int
    limit_seconds: float | None

    @property
    def steps_in_time(self) -> int:
        """As many as the limit of time lets it take."""
        if self.limit_seconds is None:
            return self.steps
        return min(self.steps, max(1, round(self.limit_seconds / self.step_seconds)))

    @property
    def seconds(self) -> float:
        """Of the whole stage."""
        return self.first_seconds + self.steps_in_time * self.step_seconds


def dry_run(recipe: Recipe, *, only: str | None = None) -> Iterator[Estimate]:
    """Try the stages that are not complete, each on some of its rows, from the first model that is there.

    Args:
        only: this stage alone.

    Raises:
        KitError: as `run_recipe`; there are several processes.
    """
    if world_size() > 1:
        raise KitError("--dry-run times one process; start it without a launcher")
    with tempfile.TemporaryDirectory() as folder:
        for stage in check_unfinished(recipe, only):
            with in_stage(stage.name):
                yield _tried(stage, first_model(recipe), Path(folder), recipe.seed)


def _tried(stage: Stage, source: Path, folder: Path, seed: int) -> Estimate:
    """A stage that is begun as it would be, and ended after some steps."""
    caching = stage.cache_features.model_copy(update={"dir": None})  # not into the user's folder
    short = {
        "cache_features": caching,
        "max_steps": TIMED + 1,
        "max_minutes": None,
        "validation": None,
        "logging_steps": TIMED + 1,
    }
    run = StageRun(stage.model_copy(update=short), source, folder / stage.name, seed)
    part = _PartOfData(stage, seed)
    prepared = prepare(run, part)
    timer = StepTimer()
    trainer = trainer_of(run, prepared, Clock(), [timer])
    encodes = bool(stage.cache_features.mode or stage.match_features or prepared.processor.gives)
    first_seconds = (time.monotonic() - part.read_at) * part.times_more if encodes else 0.0
    trainer.args.save_strategy = SaveStrategy.NO
    trainer.train()
    return Estimate(
        stage=stage.name,
        rows=part.rows,
        steps=part.steps,
        step_seconds=timer.mean,
        first_seconds=first_seconds,
        trained=sum(p.numel() for p in prepared.model.parameters() if p.requires_grad),
        parameters=sum(p.numel() for p in prepared.model.parameters()),
        device=device_name(trainer.args.device),
        memory=_peak_bytes(trainer.args.device),
        limit_seconds=None if stage.max_minutes is None else stage.max_minutes * 60,
    )


class _PartOfData:
    """Counts the data of a stage, and leaves as many rows of them as its few steps need.

    rows, steps: of the whole; `rows` is None of a stream. times_more: rows that the whole has for each that is left.
    """

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.seed = stage, seed
        self.rows: int | None = None
        self.times_more, self.read_at = 1.0, 0.0
        _, self.steps = steps_of(stage, 0, None)

    def __call__(self, dataset: ConversationDataset | RowStream) -> None:
        if isinstance(dataset, ConversationDataset):
            stage, conversations = self.stage, dataset.conversations
            tokens = partial(token_counts, dataset, stage.max_length, workers=stage.workers)
            batches = batches_of(stage, conversations, dataset.processor.modalities, tokens, self.seed)
            _, self.steps = steps_of(stage, len(conversations), batches)
            self.rows = len(conversations)
            wanted = _SPARE * TIMED * stage.batch_size * stage.gradient_accumulation
            dataset.conversations = _some(conversations, wanted)
            self.times_more = self.rows / max(len(dataset.conversations), 1)
        self.read_at = time.monotonic()


def _some(conversations: Sequence[Conversation], count: int) -> list[Conversation]:
    """Evenly spread ones, and the first of each kind by roles and modalities, so that no part goes without."""
    step = -(-len(conversations) // count)
    firsts: dict[Any, Conversation] = {}
    for each in conversations:
        roles = [turn.role for turn in each.turns for _ in range(turn.text.count(ITEM))]
        firsts.setdefault(tuple((role, item.modality) for role, item in zip(roles, each.items, strict=True)), each)
    some = list(conversations[::step])
    known = set(map(id, some))
    return some + [each for each in firsts.values() if id(each) not in known]


class StepTimer(TrainerCallback):
    """The mean time of steps, from the end of the first on."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    @property
    def mean(self) -> float:
        """In seconds."""
        return (self.ends[-1] - self.ends[0]) / max(len(self.ends) - 1, 1)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.ends.append(time.monotonic())


def _peak_bytes(device: torch.device) -> int:
    """The most memory that was used: of a CUDA device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
