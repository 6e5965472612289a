"""A stage that is trained from its first step to its last."""

from __future__ import annotations

import pytest

from tests.training.runs import losses_in, train

pytestmark = pytest.mark.slow


def test_a_model_learns_its_rows_by_heart(place):
    found = losses_in(
        train(
            place,
            "heart",
            max_steps=40,
            batch_size=6,
            learning_rate=1e-2,
            train={"connector.image": "full", "llm": "full"},
        )
    )
    assert found[-1] < found[0] / 10
