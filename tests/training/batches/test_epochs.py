"""Batches of every epoch, dealt to processes."""

from __future__ import annotations

import pytest
from accelerate.data_loader import BatchSamplerShard

from tinyllava_kit import KitError
from tinyllava_kit.training.batches.epochs import Epochs
from tinyllava_kit.training.batches.packing import PackedBatches
from tinyllava_kit.training.batches.sized import SizedBatches


def test_epochs_are_one_row_of_batches():
    batches = SizedBatches([{}] * 7, list(range(7)), batch_size=2)
    every = Epochs(batches, 2.5)
    drawn = list(every)
    assert len(every) == len(drawn) == 4 + 4 + 2
    first, second = ([i for batch in part for i in batch] for part in (drawn[:4], drawn[4:8]))
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert list(every) == drawn


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("epochs", [1, 2.5])
def test_every_rank_gets_as_many_batches_and_every_sample_is_seen_once(ranks, epochs):
    sizes = [{"audio": 1.0 + n % 7} for n in range(23)]
    sized = SizedBatches(sizes, [n % 5 for n in range(23)], batch_size=4, budget={"audio": 16}, seed=3)
    shares = [list(BatchSamplerShard(Epochs(sized, epochs, ranks), ranks, n, even_batches=False)) for n in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    assert len(Epochs(sized, epochs, ranks)) == ranks * len(shares[0])
    seen = [index for step in zip(*shares, strict=True) for batch in step for index in batch]
    assert sorted(seen[:23]) == list(range(23))
    assert sorted(seen) == sorted(index for batch in Epochs(sized, epochs) for index in batch)
    assert all(sized.fits(batch) or len(batch) == 1 for share in shares for batch in share)


def test_fewer_samples_than_processes_are_refused():
    sized = SizedBatches([{}] * 3, [1, 2, 3], batch_size=2)
    with pytest.raises(KitError, match="3 batches of one sample cannot be shared by 4 processes; start fewer"):
        list(Epochs(sized, 1, processes=4))


def test_a_packed_row_is_halved_where_every_batch_is_one_row():
    rows = PackedBatches([5, 3, 3, 2, 2, 2, 1, 4, 3], 9, batch_size=1)
    assert len(rows) % 2 == 1
    shares = list(Epochs(rows, 1, processes=2))
    assert len(shares) % 2 == 0
    assert sorted(index for batch in shares for row in batch for index in row) == list(range(9))
