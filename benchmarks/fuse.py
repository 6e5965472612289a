"""The fusion kernel, in copies of its output: time forward and with backward, what it allocates, and the plan.

`fuse` is timed with the embedding lookup of its text, the embedding frozen unless a name says otherwise. Beside it,
without goals: the same with a trained embedding, and transformers' way (LLaVA's and others' ``forward``), which looks
up all positions and puts the features over the placeholders with `masked_scatter`.

Legend: B samples, T positions, D width, V vocabulary, R feature rows, n text rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tinyllava_kit.core.fusion import fuse
from tinyllava_kit.core.plan import Plan, plan
from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan
from tinyllava_kit.model.memory import trim_memory

from .clock import Work, one_thread, ratios
from .figure import Figure

FORWARD = {torch.float32: 1.4, torch.bfloat16: 1.8}
BACKWARD = {torch.float32: 2.4, torch.bfloat16: 2.8}
ALLOCATED = 1.1
PLAN = 0.1

MODALITY = "item"

Samples = list[list[TextSpan | ItemSpan]]
Way = Callable[[Tensor, Tensor], Tensor]  # table (V, D), features (R, D) -> (B, T, D)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """SigLIP's rows in a TinyLlama-sized LLM, and a question with its answer."""

    width: int = 2048
    vocab: int = 32000
    rows: int = 729
    text: tuple[int, int] = (140, 200)  # at least and at most, per sample
    batches: tuple[int, ...] = (8, 32)


def figures(sizes: Sizes | None = None, *, seconds: float = 4.0, rounds: int = 15) -> Iterator[Figure]:
    """Time and allocation at each batch size and dtype, then the plan of the largest batch.

    Args:
        sizes: of the tensors; those of the goals when not given.
        seconds, rounds: see `clock.ratios`, for each batch size and dtype.
    """
    sizes = sizes or Sizes()
    with one_thread():
        for number in sizes.batches:
            samples = make_samples(sizes, number)
            for dtype in FORWARD:
                trim_memory()
                yield from _figures_of(Batch.of(samples, sizes, dtype), samples, sizes, seconds, rounds)


def make_samples(sizes: Sizes, batch: int) -> Samples:
    """Conversations about one item each: some text, the item, a question and an answer that is learned."""
    chance = random.Random(0)
    samples: Samples = []
    for _ in range(batch):
        ids = [chance.randrange(1, sizes.vocab - 1) for _ in range(chance.randint(*sizes.text))]
        third = len(ids) // 3
        question, answer = ids[third : 2 * third], ids[2 * third :]
        after = TextSpan(question + answer, [IGNORE_INDEX] * len(question) + answer)
        samples.append([TextSpan(ids[:third]), ItemSpan(MODALITY, sizes.rows), after])
    return samples


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The tensors of a case, and the ways to fuse them.

    input_ids: (B, T).
    table: (V, D), the embedding. features: (R, D), with a gradient. grad: (B, T, D), that of the output.
    placeholders: (B, T), the input ids with an id of their own where features go, as transformers has them.
    """

    plan: Plan
    input_ids: Tensor
    table: Tensor
    features: Tensor
    grad: Tensor
    placeholders: Tensor

    @classmethod
    def of(cls, samples: Samples, sizes: Sizes, dtype: torch.dtype) -> Batch:
        inputs, layout = plan(samples)
        ids = inputs["input_ids"]
        places = layout.item_positions[MODALITY]
        make = partial(torch.rand, generator=torch.Generator().manual_seed(0))
        return cls(
            plan=layout,
            input_ids=ids,
            table=make(sizes.vocab, sizes.width).to(dtype),
            features=make(len(places), sizes.width).to(dtype).requires_grad_(),
            grad=make(*layout.shape, sizes.width).to(dtype),
            placeholders=ids.flatten().index_fill(0, places, sizes.vocab - 1).view_as(ids),
        )

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        moved = {each.name: getattr(self, each.name).to(device) for each in fields(self)}
        return Batch(**{**moved, "features": moved["features"].detach().requires_grad_()})

    def look_up(self, table: Tensor) -> Tensor:
        return F.embedding(self.input_ids.flatten().index_select(0, self.plan.text_positions), table)  # (n, D)

    def fused(self, table: Tensor, features: Tensor) -> Tensor:
        return fuse(self.plan, self.look_up(table), {MODALITY: features})  # (B, T, D)

    def scattered(self, table: Tensor, features: Tensor) -> Tensor:
        everywhere = F.embedding(self.placeholders, table)  # (B, T, D)
        mask = (self.placeholders == table.shape[0] - 1)[..., None].expand_as(everywhere)  # (B, T, D)
        return everywhere.masked_scatter(mask, features)  # (B, T, D)

    def forward(self, way: Way) -> Work:
        return torch.no_grad()(partial(way, self.table, self.features))

    def backward(self, way: Way, table: Tensor | None = None) -> Work:
        """Forward and backward. The embedding is frozen, unless a `table` that is not comes with it."""
        table = self.table if table is None else table
        wanted = [tensor for tensor in (table, self.features) if tensor.requires_grad]
        return lambda: torch.autograd.grad(way(table, self.features), wanted, self.grad)


class Allocations(TorchDispatchMode):
    """Counts the bytes of every storage that an operator returns and was not given; freed ones count too.

    It sees operators, not the insides of their kernels: what one allocates and frees within itself is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {storage.data_ptr() for storage in _storages((args, kwargs))}
        made = {storage.data_ptr(): storage.nbytes() for storage in _storages(result)}
        self.num_bytes += sum(size for place, size in made.items() if place not in given)
        return result


def allocated(work: Work) -> int:
    """Bytes that `work` allocates, see `Allocations`."""
    with Allocations() as seen:
        work()
    return seen.num_bytes


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def case_name(batch: Batch) -> str:
    dtype = {torch.float32: "fp32", torch.bfloat16: "bf16"}[batch.grad.dtype]
    return f"{dtype}_batch{batch.grad.shape[0]}"


def _figures_of(batch: Batch, samples: Samples, sizes: Sizes, seconds: float, rounds: int) -> Iterator[Figure]:
    case, dtype = case_name(batch), batch.grad.dtype
    ours = {"forward": batch.forward(batch.fused), "backward": batch.backward(batch.fused)}
    copies = ratios(batch.grad.clone, ours, seconds=seconds, rounds=rounds)
    yield Figure(name=f"fuse_{case}_forward", value=copies["forward"], goal=FORWARD[dtype])
    yield Figure(name=f"fuse_{case}_backward", value=copies["backward"], goal=BACKWARD[dtype])
    yield from _allocations(batch, case)
    if len(samples) == min(sizes.batches):  # slow, and hardly another ratio in a larger batch
        yield from _others(batch, case)
    if len(samples) == max(sizes.batches) and dtype == torch.float32:
        planned = ratios(ours["forward"], {"plan": lambda: plan(samples)}, rounds=rounds)
        yield Figure(name=f"plan_in_fuse_batch{len(samples)}", value=planned["plan"], goal=PLAN)


def _allocations(batch: Batch, case: str) -> Iterator[Figure]:
    text, features = batch.look_up(batch.table), {MODALITY: batch.features.detach()}
    copies = allocated(lambda: fuse(batch.plan, text, features)) / batch.grad.nbytes
    yield Figure(name=f"fuse_{case}_allocated", value=copies, goal=ALLOCATED)
    for name, way in {"fuse_with_lookup": batch.fused, "masked_scatter": batch.scattered}.items():
        copies = allocated(batch.forward(way)) / batch.grad.nbytes
        yield Figure(name=f"{name}_{case}_allocated", value=copies)


def _others(batch: Batch, case: str) -> Iterator[Figure]:
    trained = batch.table.clone().requires_grad_()
    works = {
        f"fuse_{case}_backward_trained_embedding": batch.backward(batch.fused, trained),
        f"masked_scatter_{case}_forward": batch.forward(batch.scattered),
        f"masked_scatter_{case}_backward": batch.backward(batch.scattered),
    }
    for name, copies in ratios(batch.grad.clone, works).items():
        yield Figure(name=name, value=copies)
