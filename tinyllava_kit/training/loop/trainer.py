"""transformers' Trainer, for the stages of a recipe."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from ...data.stream import RowStream
from ...distributed import wait_for_all
from ...errors import KitError
from ...files.failures import first_line
from ...files.writing import to_disk
from ...model.modeling import TinyLlavaForConditionalGeneration
from ..batches.epochs import Epochs
from ..checks.pack_probe import check_packs_apart
from ..data_loading import stream_loader
from ..objectives.objective import Loss
from ..output.checkpoints import check_whole, last_checkpoint, seal
from ..stage_settings import PartTraining
from .clock import Clock
from .lost_workers import is_lost_worker
from .meter import Meter
from .schedule import follow_clock
from .validation import LOSS, HeldOut

TRAINED_FILE = "trained.safetensors"
UNFINISHED = ".unfinished"  # where a checkpoint is written before it gets its name
SHOWN_ROWS = 8  # names of rows in a message


class KitTrainer(Trainer):
    """transformers' Trainer with a learning rate and weight decay per part, our batches, and other objectives.

    A checkpoint appears whole or not at all. A loss or gradient that is not finite is an error that names the rows.

    Args:
        training: each trained part with how it is trained.
        batches: which samples make a batch, through all epochs; None: the Trainer's own, for one epoch after another.
        loss: model, batch, number of target tokens -> loss; None: the model's own.
        provenance: of the model and the data, kept with each checkpoint; see `provenance_of`.
        held_out: rows that the model is judged on while it trains.
        clock: of the stage, one of its callbacks; where it has a limit, the learning rate follows it.
        packed: samples share rows; before the first step, the LLM is seen to keep them apart.
    """

    model: TinyLlavaForConditionalGeneration
    train_dataset: Dataset[Any]

    def __init__(
        self,
        *,
        training: Sequence[tuple[torch.nn.Module, PartTraining]],
        batches: Epochs | None = None,
        loss: Loss | None = None,
        held_out: HeldOut | None = None,
        provenance: Mapping[str, Any] = MappingProxyType({}),
        clock: Clock | None = None,
        packed: bool = False,
        **kwargs: Any,
    ) -> None:
        self.training_of_parts = training
        self.batches, self.loss, self.provenance = batches, loss, provenance
        self.held_out, self.clock, self.packs_unseen = held_out, clock, packed
        self.meter = Meter(kwargs["model"].loss_weights())
        self.names_of_step: list[str] = []
        with _as_with_adapters(kwargs["model"]):
            super().__init__(eval_dataset=held_out, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(LogWithCheckpoint())

    @property
    def _folder(self) -> Path:
        assert self.args.output_dir is not None
        return Path(self.args.output_dir)

    def get_train_dataloader(self) -> DataLoader[Any]:
        if isinstance(self.train_dataset, RowStream):
            return stream_loader(self.train_dataset, self.data_collator, self.accelerator, **self._reading())
        if self.batches is None:
            return super().get_train_dataloader()
        loader = DataLoader(
            self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator, **self._reading()
        )
        self.accelerator.even_batches = False  # they come even
        return self.accelerator.prepare(loader)

    def _reading(self) -> dict[str, Any]:
        """How the Trainer's arguments want data to be read."""
        args = self.args
        how = {"num_workers": args.dataloader_num_workers, "pin_memory": args.dataloader_pin_memory}
        names = ("persistent_workers", "prefetch_factor", "multiprocessing_context", "in_order")
        return how | {
            name: getattr(args, f"dataloader_{name}") for name in names if hasattr(args, f"dataloader_{name}")
        }

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """A stream resumes after the batches that the checkpoint has seen, without making them again."""
        if resume_from_checkpoint is not None and isinstance(self.train_dataset, RowStream):
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_NAME))
            self.train_dataset.start = state.global_step * self.args.gradient_accumulation_steps
            self.args.ignore_data_skip = True
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        drawn: Any = super().get_batch_samples(epoch_iterator, num_batches, device)
        batches, num_items = drawn
        self.names_of_step = [name for batch in batches for name in names_of(batch)]
        self.meter.add_step(num_items)
        return batches, num_items

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """The target tokens of the whole step; of each group of ids, where a model's decoders have some."""
        if not batch_samples or "targets" not in batch_samples[0]:
            return super()._get_num_items_in_batch(batch_samples, device)
        counts = torch.tensor([[len(rows) for rows in batch["targets"].values()] for batch in batch_samples])
        counts = counts.sum(0).to(device)  # (groups,)
        if self.args.world_size > 1:
            counts = self.accelerator.gather(counts).view(-1, len(counts)).sum(0)
        return counts

    def compute_loss(
        self, model: torch.nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if isinstance(num_items_in_batch, torch.Tensor):  # none where every row of the step was skipped
            num_items_in_batch = num_items_in_batch.clamp(min=1)
        if self.loss is not None:
            loss = self.loss(model, inputs, num_items_in_batch)
            # a sum over all ranks' targets is averaged over ranks behind this
            return loss if num_items_in_batch is None else loss * self.accelerator.num_processes
        loss, output = super().compute_loss(model, inputs, True, num_items_in_batch)
        self.meter.add(inputs["plan"], output.target_losses)
        if output.target_groups is not None:
            self.meter.add_groups(output.target_groups)
        return (loss, output) if return_outputs else loss

    def training_step(self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        if self.packs_unseen:
            with self.compute_loss_context_manager():
                check_packs_apart(model, self.model, self.args.device)
            self.packs_unseen = False
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._check_finite("loss", loss)
        self.meter.add_loss(loss, num_items_in_batch)
        return loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        self._check_finite("gradient", norm)
        return norm

    def _check_finite(self, what: str, value: torch.Tensor | float) -> None:
        if math.isfinite(value):
            return
        names = ", ".join(self.names_of_step[:SHOWN_ROWS])
        more = len(self.names_of_step) - SHOWN_ROWS
        raise KitError(
            f"step {self.state.global_step + 1}: the {what} is {float(value)}, from {names or 'its batch'}"
            f"{f' and {more} more' if more > 0 else ''}; look at these rows, or lower the learning rate; "
            "nothing was changed by this step, and the last checkpoint is as it was"
        )

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The loss and the figures of the held-out rows, logged; dropout is off, and no random number is drawn."""
        assert self.held_out is not None
        started, training = time.monotonic(), self.model.training
        self.model.eval()
        with self.compute_loss_context_manager():
            found = {**self._held_out_loss(self.held_out), **self.held_out.figures(self.model)}
        self.model.train(training)
        metrics = {f"eval_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.meter.start += time.monotonic() - started  # tokens a second are of training
        return metrics

    def _held_out_loss(self, held_out: HeldOut) -> dict[str, float]:
        """The mean over target tokens, as of training; by kind of sample, too."""
        kept = self.meter, self.loss
        self.meter, self.loss = Meter(self.model.loss_weights()), held_out.objective.loss
        try:
            for batch in held_out.batches():
                inputs = self._prepare_inputs(batch)
                targets = self._get_num_items_in_batch([inputs], self.args.device)
                self.meter.add_step(targets)
                self.meter.add_loss(self.compute_loss(self.model, inputs, num_items_in_batch=targets), targets)
            return {name: value for name, value in self.meter.take().items() if name.startswith(LOSS)}
        finally:
            self.meter, self.loss = kept

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """A new best gets a checkpoint, which stays while nothing is better; too many others in a row end the stage."""
        best = super()._determine_best_metric(metrics, trial)
        assert self.held_out is not None
        how = self.held_out.how
        if best and how.keep == "best":
            self.control.should_save = True
        if how.patience is not None and self._validations_since_best() >= how.patience:
            self.control.should_training_stop = True
        return best

    def _validations_since_best(self) -> int:
        best = self.state.best_global_step or 0
        return sum(f"eval_{LOSS}" in entry and entry["step"] > best for entry in self.state.log_history)

    def best_weights(self) -> dict[str, torch.Tensor]:
        """The trained weights of the step that was best on the held-out rows; empty where the last are to be kept.

        Raises:
            KitError: its checkpoint is gone or damaged.
        """
        step = self.state.best_global_step
        if self.held_out is None or self.held_out.how.keep == "last" or not step or step == self.state.global_step:
            return {}
        checkpoint = self._folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        if not checkpoint.is_dir():
            raise KitError(f"{str(checkpoint)!r} holds the best weights and is gone; write validation.keep: last")
        check_whole(checkpoint)
        return load_file(checkpoint / TRAINED_FILE)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As the Trainer's, with what the meter counted, and epochs of the data where `batches` holds several.

        The Trainer's losses are means over steps, and a step with nothing to learn counts among them.
        """
        if logs.pop("loss", None) is not None:
            logs.update(self.meter.take())
        if logs.pop("train_loss", None) is not None:
            logs.update({f"train_{key}": value for key, value in self.meter.loss_of_run().items()})
        super().log(logs, start_time)
        if self.batches is not None and self.state.epoch is not None:
            self.state.log_history[-1]["epoch"] = self.state.epoch * self.batches.epochs

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """As the Trainer's, of each part at its own rate."""
        cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        groups = [group for part, how in self.training_of_parts for group in self._groups(part, how)]
        self.optimizer_cls_and_kwargs = cls, {**kwargs, "params": groups}
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        if self.lr_scheduler is None:
            super().create_scheduler(num_training_steps, optimizer)
            if self.clock is not None and self.clock.minutes is not None and isinstance(self.lr_scheduler, LambdaLR):
                warmup = self.args.get_warmup_steps(num_training_steps)
                follow_clock(self.lr_scheduler, self.clock, warmup=warmup, steps=num_training_steps)
        assert self.lr_scheduler is not None
        return self.lr_scheduler

    def _groups(self, part: torch.nn.Module, how: PartTraining) -> list[dict[str, Any]]:
        """Weights decay; biases, norms and other vectors do not."""
        rate = how.learning_rate or self.args.learning_rate
        decay = self.args.weight_decay if how.weight_decay is None else how.weight_decay
        trained = [p for p in part.parameters() if p.requires_grad]
        matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
        groups = [(matrices, decay), (vectors, 0.0)]
        return [{"params": params, "lr": rate, "weight_decay": w} for params, w in groups if params]

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, torch.Tensor] | None = None) -> None:
        """The trained weights alone: the others are those of the model that the stage began with."""
        if not self.args.should_save:
            return
        state = self.model.state_dict() if state_dict is None else state_dict
        folder = Path(output_dir or self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        learned = {name: state[name].detach().contiguous() for name in self._learned_names() if name in state}
        save_file(learned, folder / TRAINED_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        file = Path(resume_from_checkpoint) / TRAINED_FILE
        if not file.exists():  # sharded, in the files of who sharded it
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        learned = load_file(file)
        unknown = (model or self.model).load_state_dict(learned, strict=False).unexpected_keys
        if unknown or learned.keys() != set(self._learned_names()):
            raise KitError(f"{str(file)!r} holds weights of another stage; remove {str(file.parent.parent)!r}")

    def _learned_names(self) -> list[str]:
        """Parameters that are trained, and what trained parts keep beside (a running mean)."""
        buffers = {id(buffer) for part, _ in self.training_of_parts for buffer in part.buffers()}
        saved = self.model.state_dict().keys()
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        return names + [name for name, each in self.model.named_buffers() if id(each) in buffers and name in saved]

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """The Trainer's checkpoint, written beside and renamed, so that one that can be seen is whole."""
        folder, name = self._folder, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        unfinished = folder / UNFINISHED
        if self.is_world_process_zero():
            shutil.rmtree(unfinished, ignore_errors=True)  # what a run that was killed left
        wait_for_all()
        self.args.output_dir = str(unfinished)
        try:
            super()._save_checkpoint(model, trial)
            wait_for_all()
            self.state.best_model_checkpoint = None  # the folder is about to be renamed; the best step names it
            if self.is_world_process_zero():
                self.state.save_to_json(str(unfinished / name / TRAINER_STATE_NAME))
                seal(unfinished / name, dict(self.provenance))
        except (OSError, SafetensorError, RuntimeError, KitError) as error:  # torch tells a full disk as a RuntimeError
            shutil.rmtree(unfinished, ignore_errors=True)
            if is_lost_worker(error):
                raise
            last = last_checkpoint(folder)
            raise KitError(
                f"cannot write {name} in {str(folder)!r}: {first_line(error)}; the run can resume from "
                f"{last.name if last else 'its beginning'}"
            ) from error
        finally:
            self.args.output_dir = str(folder)
        if self.is_world_process_zero():
            shutil.rmtree(folder / name, ignore_errors=True)
            os.rename(unfinished / name, folder / name)
            to_disk(folder)
            shutil.rmtree(unfinished)
            rotate_checkpoints(
                output_dir=str(folder),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=str(folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"),
            )
        wait_for_all()


@contextmanager
def _as_with_adapters(model: Any) -> Iterator[None]:
    """The Trainer takes a quantized model where peft says that it has adapters; ours stand on its parts, unseen."""
    model._hf_peft_config_loaded = True
    try:
        yield
    finally:
        model._hf_peft_config_loaded = False


class LogWithCheckpoint(TrainerCallback):
    """Logs whenever a checkpoint may be written: a run that resumes from there means the losses over the same steps.

    And when training ends, whatever ends it: the last steps have a loss, too.
    """

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if control.should_save or control.should_evaluate or control.should_training_stop:
            control.should_log = True


def names_of(batch: Any) -> list[str]:
    """How the rows of a batch are called in messages."""
    plan = batch.get("plan")
    return list(batch.get("names", ())) if plan is None else [sample.name for sample in plan.samples]
