"""Whether samples that share a row of the batch learn what they learn alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.batch import Batch
from ..processing.processor import TinyLlavaProcessor


def check_packing(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Any],
    *,
    tolerance: float = 1e-4,
) -> None:
    """Samples that share a row of the batch learn what they learn alone: the same losses, the same gradients.

    Args:
        model: in float32, without dropout, with some parameters that are trained.
        conversations: several, with answers; messages, rows or `Conversation`.

    Raises:
        AssertionError: says what differs, and by how much.
    """
    encoded = [processor.encode(processor.conversation(each)) for each in conversations]
    model.train()
    expected = _losses_and_gradients(model, [processor.collate([each], labels=True) for each in encoded])
    for packs in ([len(encoded)], [1, len(encoded) - 1]):
        batch = processor.collate(encoded, labels=True, packs=packs)
        got = _losses_and_gradients(model, [batch])
        largest = max(float(wanted.norm()) for wanted in expected.values())
        for name, wanted in expected.items():
            distance = float((got[name] - wanted).norm()) / max(float(wanted.norm()), 1e-3 * largest)
            assert distance < tolerance, f"{name} in packs of {packs}, and alone: differ by {distance:.2g}"


def _losses_and_gradients(model: TinyLlavaForConditionalGeneration, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """The loss of each target token, in order, and the gradient of their mean by the parameter's name."""
    model.zero_grad()
    total: Any = sum(len(batch["plan"].target_positions) for batch in batches)
    if "targets" in batches[0]:  # of each group of ids, as in training
        total = torch.tensor([[len(rows) for rows in batch["targets"].values()] for batch in batches]).sum(0)
    losses = []
    for batch in batches:
        output = model(**batch, num_items_in_batch=total)
        output.loss.backward()
        losses.append(output.target_losses)  # (n,)
    gradients = {f"the gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {"the losses": torch.cat(losses), **gradients}
