"""What a stage needs before its first step: the model, the data, the parts that learn, the batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import set_seed

from ..checkpoints.loading import load_pretrained
from ..checkpoints.quantization import Quantization
from ..core.conversation import Conversation
from ..data.dataset import ConversationDataset
from ..data.skipping import SkippedRows
from ..data.stream import RowStream
from ..distributed import from_first, on_first, rank, say
from ..features.item_codes import ItemCodes
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor
from .batches.batching import stage_batches
from .batches.epochs import Epochs
from .checks.gradient_check import samples_for_parts
from .checks.preflight import check_item_files
from .data_loading import read_data, read_held_out
from .output.checkpoints import check_whole, last_checkpoint
from .output.provenance import check_provenance, provenance_of
from .stage_run import StageRun
from .trained_parts import OpenParts


@dataclass(frozen=True)
class Resumption:
    """The checkpoint that a run resumes from and, in the first process, what it learned from."""

    last: Path | None
    learned_from: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """All that the training of a stage is made of.

    held_out: the rows of the stage's validation.
    samples_of_parts: for each trained part a few samples that use it; empty where the data are streamed.
    batches: None where samples are drawn one after another.
    """

    model: TinyLlavaForConditionalGeneration
    processor: TinyLlavaProcessor
    dataset: ConversationDataset | RowStream
    held_out: ConversationDataset | None
    parts: OpenParts
    skipped: SkippedRows
    provenance: Mapping[str, Any]
    last: Path | None
    samples_of_parts: Mapping[str, Sequence[int]]
    batches: Epochs | None

    @property
    def conversations(self) -> Sequence[Conversation]:
        """Those that are held in memory: none of a stream."""
        return self.dataset.conversations if isinstance(self.dataset, ConversationDataset) else ()


def prepare(run: StageRun, seen: Callable[[ConversationDataset | RowStream], None] = lambda _: None) -> Prepared:
    """Load the model and read the data of a stage, and check that one fits the other.

    Args:
        seen: is given the data as they were read, and may shorten them.

    Raises:
        KitError: see `run_stage`.
    """
    resumption = _resumption(run.checkpoints)
    set_seed(run.seed)  # adapters and other new weights are drawn before the Trainer sets it
    model, processor = _load(run)
    skipped = SkippedRows(run.skipped_file)
    if rank() == 0 and resumption.last is None:  # of a run that begins anew, not of one that resumes
        skipped.forget()
    dataset = read_data(run.stage, processor, seed=run.seed, skipped=skipped)
    if isinstance(dataset, ConversationDataset):
        check_item_files(dataset.conversations)
    held_out = _held_out(run, processor)
    provenance = _provenance(run.source, dataset, held_out, resumption)
    seen(dataset)
    _encode_answers(model, processor, dataset, run.cache_folder)
    parts = OpenParts(model, run.stage.train)
    held = dataset if isinstance(dataset, ConversationDataset) and dataset.conversations else None
    samples_of_parts = samples_for_parts(held, list(parts.trained)) if held is not None else {}
    batches = stage_batches(run.stage, dataset, run.seed) if isinstance(dataset, ConversationDataset) else None
    return Prepared(
        model, processor, dataset, held_out, parts, skipped, provenance, resumption.last, samples_of_parts, batches
    )


def _resumption(checkpoints: Path) -> Resumption:
    """Find the last checkpoint of a stage, checked to be whole.

    Raises:
        KitError: the last checkpoint is damaged; in every process.
    """
    last = from_first(last_checkpoint(checkpoints))
    learned_from = None if last is None else on_first(lambda: check_whole(last))
    return Resumption(last, learned_from or {})


def _held_out(run: StageRun, processor: TinyLlavaProcessor) -> ConversationDataset | None:
    """Read the held-out rows of a stage, if it has validation.

    Raises:
        KitError: a row of the stage's validation cannot be used.
    """
    held_out = read_held_out(run.stage, processor, seed=run.seed)
    if held_out is not None:
        check_item_files(held_out.conversations)
    return held_out


def _provenance(
    source: Path,
    dataset: ConversationDataset | RowStream,
    held_out: ConversationDataset | None,
    resumption: Resumption,
) -> dict[str, Any]:
    """What the stage learns from, in the first process, which writes it down.

    Raises:
        KitError: the last checkpoint learned from something else; in every process.
    """

    def find() -> dict[str, Any]:
        provenance = provenance_of(source, dataset, held_out)
        if resumption.last is not None:
            check_provenance(resumption.learned_from, provenance, resumption.last)
        return provenance

    return on_first(find) or {}


def _load(run: StageRun) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    quantized = run.stage.quantization
    return load_pretrained(run.source, quantization=Quantization(**quantized.model_dump()) if quantized else None)


def _encode_answers(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    dataset: ConversationDataset | RowStream,
    folder: Path,
) -> None:
    """Let the processor encode the items that the assistant gives: before training, unless the data are streamed."""
    if not processor.gives:
        return
    codes = ItemCodes(model, processor, folder)
    if isinstance(dataset, ConversationDataset):
        say(f"encoded {codes.fill(dataset.conversations)} items of answers; the rest was there")
    processor.writer = codes
