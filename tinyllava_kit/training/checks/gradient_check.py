"""Checked before the first step: every part that shall learn gets a gradient from some sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn

from ...core.conversation import Conversation
from ...data.dataset import ConversationDataset
from ...data.skipping import SkippedRow
from ...errors import KitError
from ..batches.packing import PackedDataset
from ..loop.trainer import KitTrainer

SAMPLES_TRIED = 4  # samples of a part: the learned positions of a single one may be cut off


def samples_for_parts(dataset: ConversationDataset, parts: Sequence[str]) -> dict[str, list[int]]:
    """For each part, the first conversation that it takes part in and that can be read, and the next few, unread.

    Raises:
        KitError: there is none; the part would be trained on nothing.
    """
    found = {}
    for part in parts:
        kind, _, modality = part.partition(".")
        using = (
            index
            for index, conversation in enumerate(dataset.conversations)
            if not modality or (modality, kind == "decoder") in _uses(conversation, dataset.processor.gives)
        )
        first = next((index for index in using if not isinstance(dataset[index], SkippedRow)), None)
        if first is None:
            raise KitError(
                f"train.{part}: no sample of the data has {modality} items, so the {kind} would learn nothing; add "
                "data, or take the part out"
            )
        found[part] = [first, *islice(using, SAMPLES_TRIED - 1)]
    return found


def _uses(conversation: Conversation, gives: Collection[str]) -> set[tuple[str, bool]]:
    """Each modality that a conversation reads (False) or its assistant gives (True)."""
    answered = conversation.answered(gives)
    return {(item.modality, given) for item, given in zip(conversation.items, answered, strict=True)}


def check_gradients(
    trainer: KitTrainer, parts: Mapping[str, nn.Module], samples: Mapping[str, Sequence[int]], cut: str
) -> None:
    """Run the loss of a sample for each part, forward and backward, and of more for a part that gets no gradient.

    Nothing of the run is changed by it.

    Args:
        parts: by name, those that are trained.
        samples: the indices of those for each, see `samples_for_parts`.
        cut: why a sample of the stage may be cut.

    Raises:
        KitError: a part has parameters to train, and its loss does not depend on them.
    """
    devices = [trainer.args.device] if trainer.args.device.type == "cuda" else []
    without = list(parts)
    with torch.random.fork_rng(devices):
        for turn in range(max(map(len, samples.values()))):
            for index in sorted({samples[name][turn] for name in without if turn < len(samples[name])}):
                _backward(trainer, index)
            without = [name for name in without if not any(_has_gradient(p) for p in parts[name].parameters())]
    trainer.model.zero_grad()
    trainer.meter.reset()
    if without:
        collator: Any = trainer.data_collator
        too_long = collator.num_cut >= len(samples[without[0]])
        raise KitError(
            f"train.{without[0]}: its parameters get no gradient, so it would learn nothing: "
            + (f"the samples {cut}" if too_long else "the loss does not depend on them; train another part")
        )


def _backward(trainer: KitTrainer, index: int) -> None:
    """Add the gradient of one sample's loss."""
    trainer.model.train()
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(_batch_of(trainer, index)))
    trainer.accelerator.backward(loss)


def _batch_of(trainer: KitTrainer, index: int) -> Any:
    """One sample as a batch."""
    samples: Any = trainer.train_dataset
    return trainer.data_collator([samples[(index,) if isinstance(samples, PackedDataset) else index]])


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.count_nonzero())
