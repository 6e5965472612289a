"""Runs a recipe: each stage through transformers' Trainer, its output a model directory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..checkpoints.loading import load_pretrained
from ..checkpoints.quantization import Quantization
from ..core.errors import KitError
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.processing import TinyLlavaProcessor
from ..core.ranks import from_all, join, rank, say, wait_for_all, world_size
from ..core.saving import whole_directory
from ..data.dataset import Collator, ConversationDataset
from ..data.skipping import SkippedRows
from ..data.stream import RowStream
from ..inference.codes import ItemCodes
from .batches import Epochs
from .batching import batches_of
from .caching import FOLDER, cache_features
from .distillation import TaughtCollator, TaughtDataset, distillation_loss
from .feature_matching import FeatureMatcher, MatchedCollator, MatchedDataset
from .guard import check_gradients, samples_for_parts
from .idle import WithIdleItems, idle_items
from .packing import PackedBatches, PackedCollator, PackedDataset, token_counts
from .parts import OpenParts
from .progress import Progress
from .reading import read_data
from .recipe import Recipe, Stage
from .sharding import is_sharded, trained_state
from .trainer import KitTrainer, Objective, TimeLimit
from .word_matching import WordedCollator, WordedDataset, matcher

SETTINGS_FILE, SKIPPED_FILE = "stage.json", "skipped.jsonl"
# What does not change the model that comes out.
_HOUSEKEEPING = {"logging_steps", "save_steps", "workers", "cache_features"}


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
    if only is not None:
        recipe.stage(only)
    source = Path(recipe.model)
    for stage in recipe.stages:
        target = Path(recipe.output) / stage.name
        if only in (None, stage.name):
            if (target / "config.json").exists():
                _check_same(_settings(stage, source, recipe.seed), stage, target)
                say(f"stage {stage.name} is complete: {target}")
            else:
                run_stage(stage, source, target, seed=recipe.seed)
        source = target
        if only == stage.name:
            break
    return source


def run_stage(stage: Stage, source: Path, target: Path, *, seed: int = 0) -> None:
    """Train one stage from the model directory `source` into `target`.

    Checkpoints go to ``target/checkpoints``; the trained model is written to `target` when the stage ends,
    with ``log.json`` (the Trainer's log of losses and rates) and ``stage.json`` (the settings). ``skipped.jsonl`` lists
    the rows that were left out, as they are found.
    """
    if not source.exists() and source.parent == target.parent:
        raise KitError(f"stage {source.name!r} was not run yet, and {stage.name!r} starts from it; run it first")
    checkpoints = target / "checkpoints"
    settings = _settings(stage, source, seed)
    _check_same(settings, stage, checkpoints)
    set_seed(seed)  # adapters and other new weights are drawn before the Trainer sets it
    model, processor = _load(stage, source)
    skipped = SkippedRows(target / SKIPPED_FILE)
    dataset = read_data(stage, processor, seed=seed, skipped=skipped)
    if isinstance(dataset, ConversationDataset):
        _check_files(dataset)
    _make_codes(model, processor, dataset, target.parent / FOLDER)
    parts = OpenParts(model, stage.train)
    tried: dict[str, int] = {}
    if isinstance(dataset, ConversationDataset):
        tried = samples_for_parts(dataset, list(parts.trained))
    batches = _batches(stage, dataset, seed)
    arguments = _arguments(stage, checkpoints, seed, epochs=stage.epochs if batches is None else 1)
    cache_features(model, dataset, stage, target.parent / FOLDER, arguments.device)
    samples, collator, objective = _objective(stage, dataset, model)
    if world_size() > 1:
        collator = WithIdleItems(collator, idle_items(dataset))
    trainer = KitTrainer(
        model=model,
        args=arguments,
        train_dataset=samples,
        data_collator=collator,
        processing_class=processor,
        callbacks=[TimeLimit(stage.max_minutes)] if stage.max_minutes else [],
        training=[(module, stage.train[name]) for name, module in parts.trained.items()],
        batches=batches,
        objective=objective,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress(stage.name, stage.max_minutes))
    with _one_clear_line(trainer, checkpoints):
        if tried and world_size() == 1:
            check_gradients(trainer, parts.trained, tried)
        _run(trainer, checkpoints, settings)
    learned, num_cut = trained_state(model), sum(from_all(collator.num_cut))
    if num_cut:
        why = "have more words than rows" if stage.match_words else f"were cut at max_length {stage.max_length}"
        say(f"{num_cut} times, samples {why}")
    if rank() == 0:
        if skipped.tidy():
            say(f"{skipped.tidy()} rows were skipped; {target / SKIPPED_FILE} says why")
        model = _merged(model, parts, stage, source, learned)
        with whole_directory(target) as stage_directory:
            model.save_pretrained(stage_directory)
            processor.save_pretrained(stage_directory)
            (stage_directory / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1), encoding="utf-8")
            (stage_directory / SETTINGS_FILE).write_text(json.dumps(settings, indent=1), encoding="utf-8")
    wait_for_all()


def _load(stage: Stage, source: Path) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    quantized = stage.quantization
    return load_pretrained(source, quantization=Quantization(**quantized.model_dump()) if quantized else None)


def _merged(
    model: TinyLlavaForConditionalGeneration,
    parts: OpenParts,
    stage: Stage,
    source: Path,
    learned: Mapping[str, torch.Tensor],
) -> TinyLlavaForConditionalGeneration:
    """The model with what was `learned` in its own weights.

    Of a quantized one, in those that it was quantized from; of one that is spread over ranks, in a whole one.
    """
    if stage.quantization or is_sharded(model):
        model, _ = load_pretrained(source)
        parts = OpenParts(model, stage.train)
        model.load_state_dict(learned, strict=False)
    parts.merge()
    return model


def _run(trainer: KitTrainer, checkpoints: Path, settings: Mapping[str, Any]) -> None:
    """Train, from the last checkpoint where there is one; the settings are kept beside the checkpoints."""
    if trainer.is_world_process_zero():
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / SETTINGS_FILE).write_text(json.dumps(settings, indent=1), encoding="utf-8")
    trainer.train(resume_from_checkpoint=_last_checkpoint(checkpoints))


@contextmanager
def _one_clear_line(trainer: KitTrainer, checkpoints: Path) -> Iterator[None]:
    """Where training raises a KitError: the line of progress has ended, and no folder without a checkpoint is left."""
    try:
        yield
    except KitError as error:
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        if not _last_checkpoint(checkpoints):
            (checkpoints / SETTINGS_FILE).unlink(missing_ok=True)
        for folder in (checkpoints, *checkpoints.parents[:2]):
            with suppress(OSError):
                folder.rmdir()  # which refuses one that is not empty
        raise type(error)(_without_traceback(str(error), type(error).__name__)) from error


def _without_traceback(said: str, kind: str) -> str:
    """What an error says; processes that read data (`workers`) hand it over in the last line of a traceback."""
    return said.rpartition(f".{kind}: ")[2].strip() if "\nOriginal Traceback" in said else said


def _arguments(stage: Stage, checkpoints: Path, seed: int, *, epochs: float) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=epochs,
        max_steps=stage.max_steps,
        per_device_train_batch_size=stage.batch_size,
        gradient_accumulation_steps=stage.gradient_accumulation,
        learning_rate=stage.learning_rate,
        weight_decay=stage.weight_decay,
        warmup_steps=stage.warmup_ratio,
        lr_scheduler_type=stage.schedule,
        max_grad_norm=stage.max_grad_norm,
        bf16=_has_bf16() if stage.bf16 == "auto" else stage.bf16,
        activation_checkpointing=stage.gradient_checkpointing,
        logging_steps=stage.logging_steps,
        save_steps=stage.save_steps,
        save_total_limit=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        dataloader_num_workers=stage.workers,
        dataloader_pin_memory=torch.accelerator.is_available(),
        seed=seed,
        use_cpu=not torch.accelerator.is_available(),
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
    )


def _has_bf16() -> bool:
    """Whether bfloat16 is fast on what the Trainer will use."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _make_codes(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    dataset: ConversationDataset | RowStream,
    folder: Path,
) -> None:
    """Let the processor write what the assistant gives in the data: encoded before training, unless it is streamed."""
    if not processor.writes:
        return
    codes = ItemCodes(model, processor, folder)
    if isinstance(dataset, ConversationDataset):
        say(f"encoded {codes.fill(dataset.conversations)} items of answers; the rest was there")
    processor.writer = codes


def _objective(
    stage: Stage, dataset: ConversationDataset, model: TinyLlavaForConditionalGeneration
) -> tuple[Dataset, Any, Objective | None]:
    """What the stage learns: its samples, how they make a batch, and the loss where it is not the model's own."""
    collator = Collator(dataset.processor, stage.max_length)
    if stage.distill:
        return TaughtDataset(dataset), TaughtCollator(collator), partial(distillation_loss, how=stage.distill)
    if stage.match_words:
        worded = WordedDataset(dataset)
        embeddings = model.get_input_embeddings().weight
        return worded, WordedCollator(dataset.processor), matcher(embeddings, worded.words, stage.match_words.sharpness)
    if stage.match_features:
        modalities = [name.removeprefix("tower.") for name in stage.train]
        matched = MatchedDataset(
            dataset, stage.match_features.teacher, {m: model.towers[m].embed_dim for m in modalities}
        )
        return matched, MatchedCollator(dataset.processor), FeatureMatcher(matched.spread())
    if stage.packing:
        return PackedDataset(dataset), PackedCollator(collator), None
    return dataset, collator, None


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


def _settings(stage: Stage, source: Path, seed: int) -> dict[str, Any]:
    """What the outcome of a stage depends on, as JSON."""
    return {"model": str(source), "seed": seed, **stage.model_dump(mode="json", exclude=_HOUSEKEEPING)}


def _check_same(settings: Mapping[str, Any], stage: Stage, folder: Path) -> None:
    """
    Raises:
        KitError: the stage that is complete in `folder`, or has checkpoints there, had other settings; names one.
    """
    file = folder / SETTINGS_FILE
    if not file.exists():
        return
    was = json.loads(file.read_text(encoding="utf-8"))
    for key in sorted(was.keys() | settings.keys()):
        if was.get(key) != settings.get(key):
            raise KitError(
                f"stage {stage.name}: {str(folder)!r} was trained with {key} {was.get(key)!r}, the recipe has "
                f"{settings.get(key)!r}; remove the directory to train again, or choose another output"
            )


def _check_files(dataset: ConversationDataset) -> None:
    """
    Raises:
        KitError: an item's file is not there; found now rather than in the middle of the training.
    """
    known: set[str] = set()
    for conversation in dataset.conversations:
        for item in conversation.items:
            if isinstance(item.source, str) and item.source not in known:
                if not Path(item.source).exists():
                    raise KitError(f"{conversation.name}: no {item.modality} file {item.source!r}")
                known.add(item.source)


def _last_checkpoint(checkpoints: Path) -> str | None:
    return get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
