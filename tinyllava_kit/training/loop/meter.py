"""What the steps since the last log saw, on all ranks: losses by kind of sample and group of ids, tokens, fill."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ...core.ids import TEXT
from ...core.plan import Plan
from ...distributed import from_all

# (what is counted, of what) -> sums; the figure is the first divided by the last.
_Key = tuple[str, str]
_Sums = Mapping[_Key, list[float]]
_STEPS: _Key = ("steps", "")
_POSITIONS: _Key = ("positions", "")


class Meter:
    """Sums over batches, on the device that they are on; nothing is read back before `take`.

    A mean is over all targets since the last `take`: a batch without learned tokens counts nothing.

    Args:
        weights: group of ids -> what its mean loss counts, of a model whose decoders learn.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.weights = dict(weights or {})
        self.whole: _Sums = {}  # of the run
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.sums: dict[_Key, Tensor] = {}
        self.start = time.monotonic()

    def add_step(self, targets: Tensor | None) -> None:
        """Count the targets of a step, on all ranks; None: of one that counts as every other."""
        self._add(_STEPS, torch.stack([torch.tensor(0.0, device=_device(targets)), _count(targets)]))

    def add_loss(self, loss: Tensor, targets: Tensor | None) -> None:
        """Count what a batch adds to the mean loss of its step, which has so many targets."""
        self._add(_STEPS, torch.stack([loss.detach().float() * _count(targets).to(loss.device), loss.new_tensor(0.0)]))

    def add(self, plan: Plan, losses: Tensor) -> None:
        """Count a batch by kind of sample: `losses` (n,) of ``plan.target_positions``."""
        kinds = kinds_of(plan)
        names = sorted(set(kinds))
        which = torch.tensor([names.index(kind) for kind in kinds], device=losses.device)  # (samples,)
        which = which[plan.target_samples]  # (n,)
        both = torch.stack([losses, torch.ones_like(losses)], dim=-1)  # (n, 2)
        sums = losses.new_zeros(len(names), 2).index_add_(0, which, both)  # (kinds, 2)
        for number, name in enumerate(names):
            self._add(("kind", name), sums[number])
        tokens = sum(sample.num_tokens for sample in plan.samples)
        self._add(_POSITIONS, torch.tensor([tokens, math.prod(plan.shape)], dtype=torch.float64))

    def add_groups(self, groups: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Count the groups of ids of a batch: the losses of each, (g,), and which of them were right, (g,)."""
        for name, (losses, hits) in groups.items():
            sums = (losses.sum(), hits.sum(), losses.new_tensor(len(losses)))
            self._add(("group", name), torch.stack([each.float() for each in sums]))  # (3,)

    def take(self) -> dict[str, float]:
        """What was counted on all ranks, and begin anew; all of them call it.

        ``loss``: mean over the targets; absent where there was none. With groups of ids, their weighted means.
        ``loss_KIND``: mean over the target tokens of the samples of each kind, where there were several kinds.
        ``tokens_per_second``: positions that held a sample, items included. ``fill``: their share of all positions.
        ``ids_loss_GROUP`` and ``ids_right_GROUP``: of each group of ids that decoders and text have, the mean loss and
        how often the right one was the likeliest.
        """
        found = _added(from_all({key: sums.tolist() for key, sums in self.sums.items()}))
        self.whole = _added([self.whole, found])
        seconds = time.monotonic() - self.start
        self.reset()
        kinds = {f"loss_{name}": sums[0] / sums[-1] for name, sums in sorted(_named(found, "kind").items())}
        figures = {**self._loss(found), **(kinds if len(kinds) > 1 else {})}
        if _POSITIONS in found:
            tokens, positions = found[_POSITIONS]
            figures |= {"tokens_per_second": tokens / seconds, "fill": tokens / positions}
        for name, (loss, right, count) in _named(found, "group").items():
            figures |= {f"ids_loss_{name}": loss / count, f"ids_right_{name}": right / count}
        return figures

    def loss_of_run(self) -> dict[str, float]:
        """``loss`` over all that was taken; nothing where nothing was learned."""
        return self._loss(self.whole)

    def _loss(self, sums: _Sums) -> dict[str, float]:
        groups, steps = _named(sums, "group"), _named(sums, "steps")
        if groups:
            return {"loss": sum(self.weights[name] * loss / count for name, (loss, _, count) in groups.items())}
        return {"loss": steps[""][0] / steps[""][-1]} if steps else {}

    def _add(self, key: _Key, sums: Tensor) -> None:
        self.sums[key] = self.sums[key] + sums if key in self.sums else sums


def _count(targets: Tensor | None) -> Tensor:
    """How many targets a step has, of all groups; 1 where that is not known."""
    return torch.tensor(1.0) if targets is None else targets.sum().float()


def _device(targets: Tensor | None) -> torch.device:
    return torch.device("cpu") if targets is None else targets.device


def _added(all_sums: Iterable[_Sums]) -> dict[_Key, list[float]]:
    """Sums by key."""
    whole: dict[_Key, list[float]] = {}
    for sums in all_sums:
        for key, values in sums.items():
            whole[key] = [a + b for a, b in zip(whole.get(key, [0.0] * len(values)), values, strict=True)]
    return whole


def _named(sums: _Sums, kind: str) -> dict[str, list[float]]:
    """Those of one kind that counted anything, by name."""
    return {name: values for (each, name), values in sums.items() if each == kind and values[-1]}


def kinds_of(plan: Plan) -> list[str]:
    """Of each sample, the modalities of its items, like ``audio+image``; `TEXT` without any."""
    modalities: list[set[str]] = [set() for _ in plan.samples]
    for item in plan.items:
        modalities[item.sample].add(item.modality)
    return ["+".join(sorted(each)) or TEXT for each in modalities]
