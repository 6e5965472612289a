"""Runs a recipe: each stage through transformers' Trainer, its output a model directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.trainer_utils import rotate_checkpoints

from ..checkpoints.loading import load_pretrained
from ..checkpoints.quantization import Quantization
from ..core.conversation import Conversation
from ..data.dataset import ConversationDataset
from ..data.skipping import SkippedRows
from ..data.stream import RowStream
from ..distributed import from_all, from_first, join, rank, say, wait_for_all, world_size
from ..errors import KitError, shown
from ..features.item_codes import ItemCodes
from ..files.item_sources import is_address
from ..files.locks import only_writer
from ..files.paths import is_there
from ..files.writing import remove_abandoned
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor
from .batches.batching import batches_of
from .batches.dummy_items import WithDummyItems, dummy_items
from .batches.epochs import Epochs
from .batches.packing import PackedBatches, token_counts
from .checks.gradient_check import check_gradients, samples_for_parts
from .checks.preflight import check_ahead, of_stage
from .data_loading import read_data
from .feature_caching import DECISION_FILE, FOLDER, cache_features
from .loop.arguments import training_arguments
from .loop.clock import Clock
from .loop.lost_workers import one_line_for_lost_workers
from .loop.progress import Progress
from .loop.sharding import is_sharded, trained_state
from .loop.stopping import Stopper
from .loop.trainer import KitTrainer
from .objectives.objective import objective_of
from .output.checkpoints import check_whole, last_checkpoint
from .output.history import stage_record
from .output.outcome import SHOWN, write_outcome
from .output.provenance import check_provenance, provenance_of
from .output.settings import SETTINGS_FILE, check_complete, check_same, settings_of, write_settings
from .parts import OpenParts
from .recipe import Recipe, Stage

SKIPPED_FILE = "skipped.jsonl"


def run_recipe(recipe: Recipe, *, only: str | None = None) -> Path:
    """Run the stages in order, each from the last one's output; returns the last model directory.

    A stage whose directory is complete is not run again; one that was interrupted goes on from its last checkpoint.

    Args:
        only: run this stage alone, from what the stages before it left.

    Raises:
        KitError: a stage that is not there or was not run yet, one that was run with other settings, data or a part
            that cannot be used.
    """
    # As a model grows sure, probabilities can become denormal numbers, on which processors compute slower; what
    # this gains was not measured by itself. Threads that are made from now on inherit it.
    torch.set_flush_denormal(True)
    join()
    _check_ahead(recipe, recipe.stages if only is None else [recipe.stage(only)])
    source = Path(recipe.model)
    for stage in recipe.stages:
        target = Path(recipe.output) / stage.name
        if only in (None, stage.name):
            with of_stage(stage.name):
                if _is_complete(target):
                    check_complete(settings_of(stage, source, recipe.seed), stage, target)
                    say(f"stage {stage.name} is complete: {target}")
                else:
                    run_stage(stage, source, target, seed=recipe.seed, report_to=recipe.report_to)
        source = target
        if only == stage.name:
            break
    return source


def _check_ahead(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Of those that are not complete; the parts are those of any model that is there to begin from."""
    todo = [stage for stage in stages if not _is_complete(Path(recipe.output) / stage.name)]
    done = [Path(recipe.output) / stage.name for stage in recipe.stages]
    if todo:
        check_ahead(next((str(each) for each in done if _is_complete(each)), recipe.model), todo)


def _is_complete(target: Path) -> bool:
    return os.path.exists(target / "config.json")


def run_stage(stage: Stage, source: Path, target: Path, *, seed: int = 0, report_to: Sequence[str] = ()) -> None:
    """Train one stage from the model directory `source` into `target`, which no other process writes meanwhile.

    Checkpoints go to ``target/checkpoints``, ``skipped.jsonl`` lists the rows that were left out, as they are found;
    the rest is written when the stage ends, see `write_outcome`.

    Raises:
        KitError: as `run_recipe`; another process trains the stage, a checkpoint is damaged, what it learned from has
            changed.
        StoppedError: a signal came; a checkpoint of the step that it came in is there.
    """
    with _only_trainer(target):
        _run_stage(stage, source, target, seed, report_to)


def _run_stage(stage: Stage, source: Path, target: Path, seed: int, report_to: Sequence[str]) -> None:
    if not is_there(source) and source.parent == target.parent:
        raise KitError(f"stage {source.name!r} was not run yet, and {stage.name!r} starts from it; run it first")
    checkpoints = target / "checkpoints"
    settings = settings_of(stage, source, seed)
    check_same(settings, stage, checkpoints)
    last, learned_from = _whole_checkpoint(checkpoints)
    set_seed(seed)  # adapters and other new weights are drawn before the Trainer sets it
    model, processor = _load(stage, source)
    skipped = SkippedRows(target / SKIPPED_FILE)
    if rank() == 0 and last is None:  # of a run that begins anew, not of one that goes on
        skipped.forget()
    dataset = read_data(stage, processor, seed=seed, skipped=skipped)
    conversations: Sequence[Conversation] = ()
    if isinstance(dataset, ConversationDataset):
        _check_files(dataset)
        conversations = dataset.conversations
    provenance = _provenance(source, dataset, last, learned_from)
    _make_codes(model, processor, dataset, target.parent / FOLDER)
    parts = OpenParts(model, stage.train)
    tried = samples_for_parts(dataset, list(parts.trained)) if conversations else {}
    with one_line_for_lost_workers(checkpoints, stage.workers):
        batches = _batches(stage, dataset, seed)
    arguments = training_arguments(
        stage, checkpoints, seed, epochs=stage.epochs if batches is None else 1, report_to=report_to
    )
    cache_features(model, dataset, stage, batches, target.parent / FOLDER, checkpoints, arguments.device)
    samples, collator, loss = objective_of(stage, dataset, model)
    if world_size() > 1:
        collator = WithDummyItems(collator, dummy_items(dataset))
    clock, stopper = Clock(stage.max_minutes), Stopper()
    trainer = KitTrainer(
        model=model,
        args=arguments,
        train_dataset=samples,
        data_collator=collator,
        processing_class=processor,
        callbacks=[clock, stopper, Progress(stage.name, clock)],
        training=[(module, stage.train[name]) for name, module in parts.trained.items()],
        batches=batches,
        loss=loss,
        provenance=provenance,
        packed=stage.packing is not None,
    )
    with _one_clear_line(trainer, checkpoints), one_line_for_lost_workers(checkpoints, stage.workers):
        if tried and world_size() == 1:
            check_gradients(trainer, parts.trained, tried)
        if rank() == 0:
            write_settings(settings, checkpoints)
        with stopper.listening():
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        stopper.check(trainer.state.global_step)
    attention = model.language_model.config._attn_implementation  # with which packs were seen to stay apart
    learned, num_cut = trained_state(model), sum(from_all(collator.num_cut))
    if num_cut:
        why = "have more words than rows" if stage.match_words else f"were cut at max_length {stage.max_length}"
        say(f"{num_cut} times, samples {why}")
    if rank() == 0:
        left_out = skipped.tidy()
        if left_out:
            say(f"{left_out} rows were skipped; {target / SKIPPED_FILE} says why")
        record = stage_record(
            stage,
            settings,
            parts.trained,
            trainer,
            seconds=clock.seconds,
            samples=len(conversations),
            skipped=left_out,
        )
        model, parts = _in_own_weights(model, parts, stage, source, learned)
        if stage.packing is not None:
            model.config.packs_apart = sorted({*model.config.packs_apart, attention})
        writes = stage.match_words is None and stage.match_features is None
        log, shown = trainer.state.log_history, conversations[:SHOWN] if writes else ()
        write_outcome(target, source, model, processor, parts, settings, record, log, shown)
        rotate_checkpoints(str(checkpoints), save_total_limit=1)
    wait_for_all()


@contextmanager
def _only_trainer(target: Path) -> Iterator[None]:
    """While one process of this run holds the stage's directory, what killed ones left of it can go.

    Raises:
        KitError: another run has it, or it cannot be written to; on every rank.
    """
    with ExitStack() as held:
        _on_first(lambda: held.enter_context(only_writer(target)))
        if rank() == 0:
            remove_abandoned(target, target.parent, seconds=0)
        yield


def _whole_checkpoint(checkpoints: Path) -> tuple[Path | None, dict[str, Any]]:
    """The one to go on from and, on rank 0, what it learned from.

    Raises:
        KitError: it is damaged; on every rank.
    """
    last, learned_from = from_first(last_checkpoint(checkpoints)), {}
    if last is not None:
        _on_first(lambda: learned_from.update(check_whole(last)))
    return last, learned_from


def _provenance(
    source: Path, dataset: ConversationDataset | RowStream, last: Path | None, learned_from: Mapping[str, Any]
) -> dict[str, Any]:
    """What the stage learns from, on rank 0, which writes it down.

    Raises:
        KitError: the `last` checkpoint learned from something else; on every rank.
    """
    provenance: dict[str, Any] = {}

    def find() -> None:
        provenance.update(provenance_of(source, dataset))
        if last is not None:
            check_provenance(learned_from, provenance, last)

    _on_first(find)
    return provenance


def _on_first(work: Callable[[], object]) -> None:
    """Run it on rank 0.

    Raises:
        KitError: as rank 0; on every rank.
    """
    failed: KitError | None = None
    if rank() == 0:
        try:
            work()
        except KitError as error:
            failed = error
    failed = from_first(failed)
    if failed is not None:
        raise failed


def _load(stage: Stage, source: Path) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    quantized = stage.quantization
    return load_pretrained(source, quantization=Quantization(**quantized.model_dump()) if quantized else None)


def _in_own_weights(
    model: TinyLlavaForConditionalGeneration,
    parts: OpenParts,
    stage: Stage,
    source: Path,
    learned: Mapping[str, torch.Tensor],
) -> tuple[TinyLlavaForConditionalGeneration, OpenParts]:
    """The model with what was `learned`, and its parts.

    Of a quantized one, the model that it was quantized from; of one that is spread over ranks, a whole one.
    """
    if stage.quantization or is_sharded(model):
        model, _ = load_pretrained(source)
        parts = OpenParts(model, stage.train)
        model.load_state_dict(learned, strict=False)
    return model, parts


@contextmanager
def _one_clear_line(trainer: KitTrainer, checkpoints: Path) -> Iterator[None]:
    """Where training raises a KitError: the line of progress has ended, and no folder without a checkpoint is left."""
    try:
        yield
    except KitError as error:
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        if last_checkpoint(checkpoints) is None:
            for name in (SETTINGS_FILE, DECISION_FILE):
                (checkpoints / name).unlink(missing_ok=True)
        for folder in (checkpoints, *checkpoints.parents[:2]):
            with suppress(OSError):
                folder.rmdir()  # which refuses one that is not empty
        raise type(error)(_without_traceback(str(error), type(error).__name__)) from error


def _without_traceback(said: str, kind: str) -> str:
    """What an error says; processes that read data (`workers`) hand it over in the last line of a traceback."""
    return said.rpartition(f".{kind}: ")[2].strip() if "\nOriginal Traceback" in said else said


def _make_codes(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    dataset: ConversationDataset | RowStream,
    folder: Path,
) -> None:
    """Let the processor write what the assistant gives in the data: encoded before training, unless it is streamed."""
    if not processor.gives:
        return
    codes = ItemCodes(model, processor, folder)
    if isinstance(dataset, ConversationDataset):
        say(f"encoded {codes.fill(dataset.conversations)} items of answers; the rest was there")
    processor.writer = codes


def _batches(stage: Stage, dataset: ConversationDataset | RowStream, seed: int) -> Epochs | None:
    """All batches of the stage, where they are not drawn one sample after another; says what is to be known of them."""
    if isinstance(dataset, RowStream):
        return None
    tokens = partial(token_counts, dataset, stage.max_length, workers=stage.workers)
    batches = batches_of(stage, dataset.conversations, dataset.processor.modalities, tokens, seed)
    if batches is not None and isinstance(batches.batches, PackedBatches):
        packed = batches.batches
        rows = f"{len(packed.packs)} rows of {packed.length}"
        say(f"packed {len(packed.tokens)} samples into {rows}: fill {packed.fill:.1%}")
    elif batches is not None:
        alone = sum(not batches.batches.fits([i]) for i in range(len(dataset)))
        if alone:
            say(f"{alone} sample(s) exceed batch_budget by themselves; each is a batch of its own")
    return batches


def _check_files(dataset: ConversationDataset) -> None:
    """
    Raises:
        KitError: an item's file is not there; found now rather than in the middle of the training.
    """
    known: set[str] = set()
    for conversation in dataset.conversations:
        for item in conversation.items:
            if isinstance(item.source, str) and item.source not in known:
                if not os.path.isfile(item.source):
                    what = "is an address; download it" if is_address(item.source) else "is no file; check its path"
                    raise KitError(f"{conversation.name}: {item.modality} {shown(item.source)} {what}")
                known.add(item.source)
