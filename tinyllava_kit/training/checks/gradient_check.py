"""What is checked before the first step: every part that shall learn gets a gradient from some sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ...core.conversation import Conversation
from ...data.dataset import ConversationDataset
from ...data.skipping import SkippedRow
from ...errors import KitError
from ..batches.packing import PackedDataset
from ..loop.trainer import KitTrainer


def samples_for_parts(dataset: ConversationDataset, parts: Sequence[str]) -> dict[str, int]:
    """For each part, the first conversation that it takes part in and that can be read.

    Raises:
        KitError: there is none; the part would be trained on nothing.
    """
    found = {}
    for part in parts:
        kind, _, modality = part.partition(".")
        fitting = (
            index
            for index, conversation in enumerate(dataset.conversations)
            if (not modality or (modality, kind == "decoder") in _uses(conversation, dataset.processor.gives))
            and not isinstance(dataset[index], SkippedRow)
        )
        index = next(fitting, None)
        if index is None:
            raise KitError(
                f"train.{part}: no sample of the data has {modality} items, so the {kind} would learn nothing; add "
                "data, or take the part out"
            )
        found[part] = index
    return found


def _uses(conversation: Conversation, gives: Collection[str]) -> set[tuple[str, bool]]:
    """Each modality of which an item is read in a conversation (False) or given by the assistant (True)."""
    answered = conversation.answered(gives)
    return {(item.modality, given) for item, given in zip(conversation.items, answered, strict=True)}


def check_gradients(trainer: KitTrainer, parts: Mapping[str, nn.Module], indices: Mapping[str, int]) -> None:
    """Run the loss of one sample for each part, forward and backward; nothing of the run is changed by it.

    Args:
        parts: by name, those that are trained.
        indices: of the sample for each, see `samples_for_parts`.

    Raises:
        KitError: a part has parameters to train, and its loss does not depend on them.
    """
    model = trainer.model
    devices = [trainer.args.device] if trainer.args.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        for index in sorted(set(indices.values())):
            model.train()
            with trainer.compute_loss_context_manager():
                loss = trainer.compute_loss(model, trainer._prepare_inputs(_batch_of(trainer, index)))
            trainer.accelerator.backward(loss)
    without = [name for name, part in parts.items() if not any(_has_gradient(p) for p in part.parameters())]
    model.zero_grad()
    trainer.meter.reset()
    if without:
        raise KitError(
            f"train.{without[0]}: its parameters get no gradient, so it would learn nothing: the loss does not depend "
            "on them; train another part"
        )


def _batch_of(trainer: KitTrainer, index: int) -> Any:
    """One sample as a batch."""
    samples: Any = trainer.train_dataset
    return trainer.data_collator([samples[(index,) if isinstance(samples, PackedDataset) else index]])


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.count_nonzero())
