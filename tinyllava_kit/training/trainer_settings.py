"""What a stage may tell transformers' Trainer beyond its own keys: an optimizer by name, and other arguments. Light.

transformers is imported where a stage says something of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..errors import KitError, near, shown

_OF_STAGE = {
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "warmup_steps": "warmup_steps",
    "lr_scheduler_type": "schedule",
    "max_grad_norm": "max_grad_norm",
    "optim": "optimizer",
    "bf16": "bf16",
    "activation_checkpointing": "gradient_checkpointing",
    "gradient_checkpointing": "gradient_checkpointing",
    "torch_compile": "torch_compile",
    "neftune_noise_alpha": "neftune_alpha",
    "logging_steps": "logging_steps",
    "logging_strategy": "logging_steps",
    "save_steps": "save_steps",
    "save_strategy": "save_steps",
    "dataloader_num_workers": "workers",
    "train_sampling_strategy": "group_by_size",
    "length_column_name": "group_by_size",
}
_BATCHES = "the kit makes the batches"
_CHECKPOINTS = "the kit keeps what a run resumes from"
_HELD_OUT = "validation says how held-out rows are judged"
_LAUNCHER = "the launcher decides what is sharded over processes, as the files in examples/launch do"
_LOSS = "the model computes its loss, a mean over all target tokens"
_HUB = "a stage leaves a directory, which huggingface_hub uploads"
_UNUSED = "a stage has no use for it"
_OF_KIT = {
    "output_dir": "the recipe says it; write output there",
    "seed": "the recipe says it; write seed there",
    "data_seed": "the recipe says it; write seed there",
    "report_to": "the recipe says it; write report_to there",
    "fp16": "its scaled gradients are not always finite, which ends a stage; write bf16 of the stage",
    "logging_nan_inf_filter": "a loss that is not finite ends the stage",
    "disable_tqdm": "the kit shows how a stage is getting on",
    "use_liger_kernel": "its kernels are for transformers' own models",
    "liger_kernel_config": "its kernels are for transformers' own models",
    "label_names": _LOSS,
    "label_smoothing_factor": _LOSS,
    "average_tokens_across_devices": _LOSS,
    "auto_find_batch_size": _BATCHES,
    "accelerator_config": _BATCHES,
    "dataloader_drop_last": _BATCHES,
    "remove_unused_columns": _BATCHES,
    "save_total_limit": _CHECKPOINTS,
    "save_only_model": _CHECKPOINTS,
    "save_on_each_node": _CHECKPOINTS,
    "enable_jit_checkpoint": _CHECKPOINTS,
    "ignore_data_skip": _CHECKPOINTS,
    "resume_from_checkpoint": _CHECKPOINTS,
    "restore_callback_states_from_checkpoint": _CHECKPOINTS,
    "per_device_eval_batch_size": _HELD_OUT,
    "prediction_loss_only": _HELD_OUT,
    "bf16_full_eval": _HELD_OUT,
    "fp16_full_eval": _HELD_OUT,
    "include_for_metrics": _HELD_OUT,
    "batch_eval_metrics": _HELD_OUT,
    "load_best_model_at_end": _HELD_OUT,
    "metric_for_best_model": _HELD_OUT,
    "greater_is_better": _HELD_OUT,
    "parallelism_config": _LAUNCHER,
    "fsdp": _LAUNCHER,
    "fsdp_config": _LAUNCHER,
    "deepspeed": _LAUNCHER,
    "local_rank": _LAUNCHER,
    "push_to_hub": _HUB,
    "do_train": _UNUSED,
    "do_eval": _UNUSED,
    "do_predict": _UNUSED,
}
_OF_KIT_BY_PREFIX = {"hub_": _HUB, "eval_": _HELD_OUT}

# Optimizers that take more than groups of weights, or step where the Trainer does not see it.
_OTHER_OPTIMIZERS = {
    "galore": "changes weights of its own choice, and the kit trains by part",
    "apollo": "changes weights of its own choice, and the kit trains by part",
    "lomo": "changes weights while gradients are computed, before the kit has checked them",
    "adalomo": "changes weights while gradients are computed, before the kit has checked them",
    "schedule_free": "has other weights in training than to be saved",
}


def check_optimizer(name: str) -> None:
    """Check that transformers has an optimizer that the kit can use.

    Raises:
        KitError: transformers has no optimizer of that name, or the kit cannot use it.
    """
    from transformers.training_args import OptimizerNames

    known = [str(each.value) for each in OptimizerNames]
    usable = [each for each in known if not _why_not(each)]
    if name not in known:
        raise KitError(f"transformers has no optimizer {shown(name)}; {near(name, usable)}")
    if reason := _why_not(name):
        raise KitError(f"optimizer {name} {reason}; one of these can be used: {', '.join(usable)}")


def _why_not(optimizer: str) -> str:
    return next((why for start, why in _OTHER_OPTIMIZERS.items() if optimizer.startswith(start)), "")


def checked_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a stage gives the Trainer itself, each as its type has it.

    Raises:
        KitError: the Trainer has no such argument, the kit gives it itself, or the value is of another type.
    """
    from transformers import TrainingArguments

    hints = get_type_hints(TrainingArguments)
    known = set(TrainingArguments.__dataclass_fields__)
    return {name: _checked(name, value, known, hints) for name, value in given.items()}


def _checked(name: str, value: Any, known: set[str], hints: Mapping[str, Any]) -> Any:
    if name in _OF_STAGE:
        raise KitError(f"{name}: the stage says it; write {_OF_STAGE[name]} of the stage")
    if reason := _OF_KIT.get(name) or next((r for start, r in _OF_KIT_BY_PREFIX.items() if name.startswith(start)), ""):
        raise KitError(f"{name}: {reason}; leave it out")
    if name not in known:
        free = [each for each in known if each not in _OF_KIT and not each.startswith(tuple(_OF_KIT_BY_PREFIX))]
        raise KitError(f"{name}: the Trainer has no such argument; {near(name, free)}")
    try:
        return TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        raise KitError(f"{name}: {error.errors()[0]['msg']}, got {shown(value)}") from error
