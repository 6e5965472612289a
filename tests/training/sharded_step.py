"""One step of a model whose weights are spread over two ranks (FSDP2), beside the same step of a whole one.

Run by `test_distributed`, in two processes; prints what it found on rank 0.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard

from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.distributed import join, rank, wait_for_all, world_size
from tinyllava_kit.training.batches.dummy_items import WithDummyItems, dummy_items
from tinyllava_kit.training.loop.sharding import is_sharded, trained_state

RATE = 0.1


def shard(model: torch.nn.Module) -> None:
    """As accelerate does: each block that the model says must not be split, then what is left."""
    mesh = init_device_mesh("cpu", (world_size(),))
    for module in reversed(list(model.modules())):
        if type(module).__name__ in model._no_split_modules or module in model.connectors.values():
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def step(model: torch.nn.Module, batches: list, targets: int, *, scale: float) -> float:
    """The losses of batches over all targets, and one step of plain descent."""
    model.train()
    total = 0.0
    for batch in batches:
        loss = model(**copy.deepcopy(batch), num_items_in_batch=targets).loss
        (loss * scale).backward()
        total += float(loss.detach())
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE).step()
    return total


def main(place: Path) -> None:
    join()
    whole, processor = load_pretrained(place / "model")
    sharded, _ = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    collate = WithDummyItems(Collator(processor), dummy_items(dataset))
    # Pictures on rank 0, text alone on rank 1.
    batches = [collate([dataset[index] for index in own]) for own in ([0, 1], [2, 5])]
    assert not batches[1]["plan"].item_positions
    targets = sum(len(batch["plan"].target_positions) for batch in batches)

    shard(sharded)
    assert is_sharded(sharded)
    assert not is_sharded(whole)
    kinds = {name: p.placements for name, p in sharded.named_parameters() if isinstance(p, DTensor)}
    assert kinds.keys() == dict(sharded.named_parameters()).keys()
    assert set(kinds.values()) == {(Shard(0),)}
    held = sum(p.to_local().numel() for p in sharded.parameters())
    share = held / sum(p.numel() for p in whole.parameters())

    own = step(sharded, [batches[rank()]], targets, scale=world_size())  # gradients are averaged over ranks
    both = torch.tensor(own)
    torch.distributed.all_reduce(both)
    once = step(whole, batches, targets, scale=1.0)
    state = trained_state(sharded)
    if rank() == 0:
        away = max(float((state[name] - p).abs().max()) for name, p in whole.named_parameters())
        fresh, _ = load_pretrained(place / "model")
        moved = max(float((state[name] - p).abs().max()) for name, p in fresh.named_parameters())
        fresh.load_state_dict(state, strict=False)
        fresh.save_pretrained(place / "stepped")
        processor.save_pretrained(place / "stepped")
        again, _ = load_pretrained(place / "stepped")
        same = all(torch.equal(p, state[name]) for name, p in again.named_parameters())
        print(f"share={share} loss={abs(float(both) - once)} away={away} moved={moved} saved={same}")
    wait_for_all()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
