"""The loss of several groups, averaged as a slow loop does it, and the words of items in a batch."""

from __future__ import annotations

import pytest
import torch

from tinyllava_kit.core.plan import GeneratedItems
from tinyllava_kit.errors import FusionError
from tinyllava_kit.model.losses import answer_states_of, mean_of_groups

WEIGHTS = {"text": 1.0, "it.a": 0.25, "it.b": 0.5}


def losses_of(**groups):
    found = {name.replace("_", "."): torch.tensor(each) for name, each in groups.items()}
    return {name: (each, torch.zeros(len(each), dtype=torch.bool)) for name, each in found.items()}


def test_each_group_is_averaged_and_counts_its_weight():
    losses = losses_of(text=[1.0, 2.0, 6.0], it_a=[4.0, 8.0], it_b=[10.0])
    assert mean_of_groups(losses, WEIGHTS, 6, None).item() == pytest.approx(3.0 + 0.25 * 6 + 0.5 * 10)


def test_a_group_without_a_target_counts_nothing():
    losses = losses_of(text=[1.0, 3.0], it_a=[], it_b=[10.0])
    assert mean_of_groups(losses, WEIGHTS, 3, None).item() == pytest.approx(2.0 + 0.5 * 10)


@pytest.mark.parametrize("counts", [torch.tensor([7, 5, 0]), torch.tensor([7.0, 5.0, 0.0])])
def test_counts_of_a_step_are_what_each_group_is_averaged_over(counts):
    losses = losses_of(text=[1.0, 2.0, 6.0], it_a=[4.0, 8.0], it_b=[])
    assert mean_of_groups(losses, WEIGHTS, 5, counts).item() == pytest.approx(9 / 7 + 0.25 * 12 / 5)


@pytest.mark.parametrize("count", [12, torch.tensor(12)])
def test_a_single_count_is_of_the_positions(count):
    several = losses_of(text=[1.0, 2.0, 6.0], it_a=[4.0], it_b=[])
    assert mean_of_groups(several, WEIGHTS, 4, count).item() == pytest.approx((3.0 + 0.25 * 4) * 4 / 12)
    assert mean_of_groups(losses_of(text=[1.0, 5.0]), WEIGHTS, 2, count).item() == pytest.approx(6 / 12)


def test_batches_of_a_step_add_up_to_its_mean():
    counts = torch.tensor([3, 2, 0])
    whole = mean_of_groups(losses_of(text=[1.0, 2.0, 6.0], it_a=[4.0, 8.0], it_b=[]), WEIGHTS, 5, None)
    parts = [losses_of(text=[1.0], it_a=[4.0, 8.0], it_b=[]), losses_of(text=[2.0, 6.0], it_a=[], it_b=[])]
    assert sum(mean_of_groups(each, WEIGHTS, 3, counts) for each in parts).item() == pytest.approx(whole.item())


def test_nothing_to_learn_is_refused_but_where_the_step_has_some():
    nothing = losses_of(text=[])
    with pytest.raises(FusionError, match="no position of the batch has a label"):
        mean_of_groups(nothing, WEIGHTS, 0, None)
    assert mean_of_groups(nothing, WEIGHTS, 0, 5).item() == 0.0


def test_words_are_the_states_at_their_positions():
    hidden, embeds = torch.randn(2, 3, 5), torch.randn(2, 3, 5)  # (B, T, D)
    words = torch.tensor([[1, 2], [4, -1]])
    states = answer_states_of(GeneratedItems(words, torch.zeros(2, 1, dtype=torch.int64)), hidden, embeds)
    assert states.mask.tolist() == [[True, True], [True, False]]
    for found, source in ((states.hidden, hidden), (states.embeddings, embeds)):
        assert torch.equal(found[0], source[0, 1:])
        assert torch.equal(found[1, 0], source[1, 1])
