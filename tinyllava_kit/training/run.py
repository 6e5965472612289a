"""Runs a recipe: each stage through transformers' Trainer, its output a model directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from ..checkpoints.loading import load_pretrained
from ..core.errors import KitError
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.saving import whole_directory
from ..data.dataset import Collator, ConversationDataset
from .batches import SizedBatches, check_budget, sizes_of
from .caching import FOLDER, cache_features
from .distillation import TaughtCollator, TaughtDataset, distillation_loss
from .feature_matching import FeatureMatcher, MatchedCollator, MatchedDataset
from .packing import PackedBatches, PackedCollator, PackedDataset, token_counts
from .parts import OpenParts
from .recipe import Packing, PartTraining, Recipe, Stage
from .word_matching import WordedCollator, WordedDataset, matcher

Batches = SizedBatches | PackedBatches
Objective = Callable[[Any, Any, Any], torch.Tensor]

SETTINGS_FILE = "stage.json"
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
    names = [stage.name for stage in recipe.stages]
    if only is not None and only not in names:
        raise KitError(f"the recipe has no stage {only!r}; it has {', '.join(names)}")
    source = Path(recipe.model)
    for stage in recipe.stages:
        target = Path(recipe.output) / stage.name
        if only in (None, stage.name):
            if (target / "config.json").exists():
                _check_same(stage, source, target, recipe.seed)
                print(f"stage {stage.name} is complete: {target}")
            else:
                run_stage(stage, source, target, seed=recipe.seed)
        source = target
        if only == stage.name:
            break
    return source


def run_stage(stage: Stage, source: Path, target: Path, *, seed: int = 0) -> None:
    """Train one stage from the model directory `source` into `target`.

    Checkpoints go to ``target/checkpoints``; the trained model is written to `target` when the stage ends,
    with ``log.json`` (the Trainer's log of losses and rates) and ``stage.json`` (the settings).
    """
    if not source.exists() and source.parent == target.parent:
        raise KitError(f"stage {source.name!r} was not run yet, and {stage.name!r} starts from it; run it first")
    model, processor = load_pretrained(source)
    dataset = ConversationDataset.from_sources(stage.data, processor)
    _check_files(dataset)
    parts = OpenParts(model, stage.train)
    checkpoints = target / "checkpoints"
    arguments = _arguments(stage, checkpoints, seed)
    cache_features(model, dataset, stage, target.parent / FOLDER, arguments.device)
    samples, collator, objective = _objective(stage, dataset, model)
    trainer = KitTrainer(
        model=model,
        args=arguments,
        train_dataset=samples,
        data_collator=collator,
        processing_class=processor,
        callbacks=[TimeLimit(stage.max_minutes)] if stage.max_minutes else [],
        training=[(module, stage.train[name]) for name, module in parts.trained.items()],
        batches=_batches(stage, dataset, seed),
        objective=objective,
    )
    _run(trainer, checkpoints)
    parts.merge()
    if collator.num_cut:
        why = "have more words than rows" if stage.match_words else f"were cut at max_length {stage.max_length}"
        print(f"{collator.num_cut} times, samples {why}")
    with whole_directory(target) as stage_directory:
        model.save_pretrained(stage_directory)
        processor.save_pretrained(stage_directory)
        (stage_directory / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1), encoding="utf-8")
        settings = json.dumps(_settings(stage, source, seed), indent=1)
        (stage_directory / SETTINGS_FILE).write_text(settings, encoding="utf-8")


class KitTrainer(Trainer):
    """transformers' Trainer with a learning rate and weight decay per part, sized batches, and other objectives.

    Args:
        training: each trained part with how it is trained.
        batches: which samples make a batch; None: the Trainer's own.
        objective: model, batch, number of target tokens -> loss; None: the model's own.
    """

    def __init__(
        self,
        *,
        training: Sequence[tuple[torch.nn.Module, PartTraining]],
        batches: Batches | None = None,
        objective: Objective | None = None,
        **kwargs: Any,
    ) -> None:
        self.training_of_parts = training
        self.batches, self.objective = batches, objective
        super().__init__(**kwargs)

    def get_train_dataloader(self) -> DataLoader:
        if self.batches is None:
            return super().get_train_dataloader()
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def compute_loss(
        self, model: torch.nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self.objective is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return self.objective(model, inputs, num_items_in_batch)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = cls([g for part, how in self.training_of_parts for g in self._groups(part, how)], **kwargs)
        return self.optimizer

    def _groups(self, part: torch.nn.Module, how: PartTraining) -> list[dict[str, Any]]:
        """Weights decay; biases, norms and other vectors do not."""
        rate = how.learning_rate or self.args.learning_rate
        decay = self.args.weight_decay if how.weight_decay is None else how.weight_decay
        trained = [p for p in part.parameters() if p.requires_grad]
        matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
        groups = [(matrices, decay), (vectors, 0.0)]
        return [{"params": params, "lr": rate, "weight_decay": w} for params, w in groups if params]


class TimeLimit(TrainerCallback):
    """Stops a stage after so many minutes of training."""

    def __init__(self, minutes: float) -> None:
        self.seconds = minutes * 60
        self.start = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.start = time.monotonic()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if time.monotonic() - self.start > self.seconds:
            control.should_training_stop = True


def _run(trainer: Trainer, checkpoints: Path) -> None:
    """Train, from the last checkpoint where there is one.

    Raises:
        KitError: an item that cannot be read. The progress bar has ended its line, no empty directory is left.
    """
    try:
        trainer.train(resume_from_checkpoint=_last_checkpoint(checkpoints))
    except KitError as error:
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        for folder in (checkpoints, *checkpoints.parents[:2]):
            with suppress(OSError):
                folder.rmdir()  # which refuses one that is not empty
        raise type(error)(_without_traceback(str(error), type(error).__name__)) from error


def _without_traceback(said: str, kind: str) -> str:
    """What an error says; processes that read data (`workers`) hand it over in the last line of a traceback."""
    return said.rpartition(f".{kind}: ")[2].strip() if "\nOriginal Traceback" in said else said


def _arguments(stage: Stage, checkpoints: Path, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=stage.epochs,
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


def _batches(stage: Stage, dataset: ConversationDataset, seed: int) -> Batches | None:
    if stage.packing:
        return _packed_batches(stage, stage.packing, dataset, seed)
    if not (stage.group_by_size or stage.batch_budget):
        return None
    modalities = dataset.processor.modalities
    check_budget("batch_budget", stage.batch_budget, modalities)
    batches = SizedBatches(
        sizes_of(dataset.conversations, modalities),
        [sum(len(turn.text) for turn in c.turns) for c in dataset.conversations],
        batch_size=stage.batch_size,
        budget=stage.batch_budget,
        seed=seed,
    )
    alone = sum(not batches.fits([i]) for i in range(len(dataset)))
    if alone:
        print(f"{alone} sample(s) exceed batch_budget by themselves; each is a batch of its own")
    return batches


def _packed_batches(stage: Stage, packing: Packing, dataset: ConversationDataset, seed: int) -> PackedBatches:
    modalities = dataset.processor.modalities
    check_budget("packing.limits", packing.limits, modalities)
    tokens = token_counts(dataset, stage.max_length, workers=stage.workers)
    batches = PackedBatches(
        tokens,
        stage.pack_length,
        batch_size=stage.batch_size,
        sizes=sizes_of(dataset.conversations, modalities) if packing.limits else (),
        limits=packing.limits,
        seed=seed,
    )
    print(
        f"packed {len(tokens)} samples into {len(batches.packs)} rows of {stage.pack_length}: fill {batches.fill:.1%}"
    )
    return batches


def _settings(stage: Stage, source: Path, seed: int) -> dict[str, Any]:
    """What the outcome of a stage depends on, as JSON."""
    return {"model": str(source), "seed": seed, **stage.model_dump(mode="json", exclude=_HOUSEKEEPING)}


def _check_same(stage: Stage, source: Path, target: Path, seed: int) -> None:
    """
    Raises:
        KitError: the stage that is complete in `target` had other settings; names one.
    """
    file = target / SETTINGS_FILE
    if not file.exists():
        return
    was, wanted = json.loads(file.read_text(encoding="utf-8")), _settings(stage, source, seed)
    for key in sorted(was.keys() | wanted.keys()):
        if was.get(key) != wanted.get(key):
            raise KitError(
                f"stage {stage.name}: {str(target)!r} was trained with {key} {was.get(key)!r}, the recipe has "
                f"{wanted.get(key)!r}; remove the directory to train again, or choose another output"
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
