"""Batches by size: everything once an epoch, never over the budget, like beside like, the order from seed and epoch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tinyllava_kit import KitError
from tinyllava_kit.components.modalities.audio import AudioModality
from tinyllava_kit.core.conversation import Conversation, Item
from tinyllava_kit.training.batches.sized import SizedBatches, check_budget, sizes_of

pytestmark = pytest.mark.slow

SECONDS = st.lists(st.floats(0.1, 40.0), min_size=1, max_size=60)


def batches_of(seconds, **kwargs):
    return SizedBatches([{"audio": s} for s in seconds], [0] * len(seconds), **kwargs)


@given(SECONDS, st.integers(1, 7), st.floats(1.0, 90.0), st.integers(0, 3))
def test_every_sample_comes_once_and_no_batch_is_over_the_budget(seconds, batch_size, budget, epoch):
    batches = batches_of(seconds, batch_size=batch_size, budget={"audio": budget})
    batches.set_epoch(epoch)
    sample_order = list(batches)
    assert sorted(i for batch in sample_order for i in batch) == list(range(len(seconds)))
    assert len(sample_order) == len(batches)
    for batch in sample_order:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(seconds[i] for i in batch) <= budget


def test_like_stands_beside_like():
    draw = random.Random(3)
    seconds = [draw.uniform(0.5, 30.0) for _ in range(400)]

    def padded(sample_order):
        return sum(len(batch) * max(seconds[i] for i in batch) for batch in sample_order)

    order = list(range(400))
    draw.shuffle(order)
    mixed = padded([order[i : i + 8] for i in range(0, 400, 8)])
    assert padded(batches_of(seconds, batch_size=8)) < 1.05 * sum(seconds) < mixed / 1.3


def test_equal_sizes_are_sorted_by_their_text():
    batches = SizedBatches([{}] * 6, [50, 1, 49, 2, 51, 3], batch_size=3)
    assert sorted(map(sorted, batches)) == [[0, 2, 4], [1, 3, 5]]


def test_the_order_depends_on_seed_and_epoch_alone():
    seconds = list(range(1, 41))

    def order(seed, epoch):
        batches = batches_of(seconds, batch_size=3, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(5, 1) == order(5, 1)
    assert order(5, 1) != order(5, 2)
    assert order(5, 1) != order(6, 1)


def test_sizes_are_read_from_headers(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(4000, np.float32), 8000)
    sources = [str(tmp_path / "a.wav"), (np.zeros(300), 100), str(tmp_path / "a.wav")]
    conversation = Conversation((), tuple(Item("audio", s) for s in sources if isinstance(s, str)))
    assert sizes_of([conversation, Conversation(())], {"audio": AudioModality()}) == [{"audio": 1.0}, {}]
    assert AudioModality().measure((np.zeros(3000), 1000)) == 3.0


def test_a_missing_file_is_named(tmp_path):
    conversation = Conversation((), (Item("audio", str(tmp_path / "no.wav"), name="rows.csv[7]"),))
    with pytest.raises(KitError, match=r"^rows\.csv\[7\]: cannot open .*no\.wav"):
        sizes_of([conversation], {"audio": AudioModality()})


def test_a_budget_names_a_modality_of_the_model():
    with pytest.raises(KitError, match=r"batch_budget\.audi: the model has no such modality; did you mean 'audio'"):
        check_budget("batch_budget", {"audi": 3.0}, {"audio": AudioModality()})
