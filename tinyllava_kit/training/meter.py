"""What the steps since the last log saw: losses by kind of sample, tokens, fill."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.fusion import Plan

TEXT = "text"  # the kind of a sample without an item


class Meter:
    """Sums over batches, on the device that they are on; nothing is read back before `take`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.losses: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}
        self.groups: dict[str, Tensor] = {}
        self.tokens, self.positions = 0, 0
        self.start = time.monotonic()

    def add(self, plan: Plan, losses: Tensor) -> None:
        """Count a batch: `losses` (n,) of ``plan.target_rows``."""
        kinds = kinds_of(plan)
        names = sorted(set(kinds))
        which = torch.tensor([names.index(kind) for kind in kinds], device=losses.device)  # (samples,)
        which = which[plan.target_samples]  # (n,)
        sums = losses.new_zeros(len(names)).index_add_(0, which, losses)  # (kinds,)
        counts = torch.zeros_like(sums).index_add_(0, which, torch.ones_like(losses))  # (kinds,)
        for number, name in enumerate(names):
            self.losses[name] = self.losses.get(name, 0.0) + sums[number]
            self.counts[name] = self.counts.get(name, 0.0) + counts[number]
        self.tokens += sum(sample.num_tokens for sample in plan.samples)
        self.positions += plan.input_ids.numel()

    def add_groups(self, groups: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Count the groups of ids of a batch: the losses of each, (g,), and which of them were right, (g,)."""
        for name, (losses, hits) in groups.items():
            sums = (losses.sum(), hits.sum(), losses.new_tensor(len(losses)))
            self.groups[name] = self.groups.get(name, 0.0) + torch.stack([each.float() for each in sums])  # (3,)

    def take(self) -> dict[str, float]:
        """What was counted, and begin anew.

        ``loss_KIND``: mean over the target tokens of the samples of each kind, where there were several kinds.
        ``tokens_per_second``: positions that held a sample, items included. ``fill``: their share of all positions.
        ``ids_loss_GROUP`` and ``ids_right_GROUP``: of each group of ids that decoders and text have, the mean loss and
        how often the right one was the likeliest.
        """
        if not self.positions:
            return {}
        means = {f"loss_{name}": float(self.losses[name] / self.counts[name]) for name in sorted(self.losses)}
        seconds = time.monotonic() - self.start
        speed = {"tokens_per_second": self.tokens / seconds, "fill": self.tokens / self.positions}
        groups = {}
        for name, sums in self.groups.items():
            loss, right, count = sums.tolist()
            if count:
                groups.update({f"ids_loss_{name}": loss / count, f"ids_right_{name}": right / count})
        self.reset()
        return {**(means if len(means) > 1 else {}), **speed, **groups}


def kinds_of(plan: Plan) -> list[str]:
    """Of each sample, the modalities of its items, like ``audio+image``; `TEXT` without any."""
    modalities: list[set[str]] = [set() for _ in plan.samples]
    for item in plan.items:
        modalities[item.sample].add(item.modality)
    return ["+".join(sorted(each)) or TEXT for each in modalities]
