"""What stages in tests train and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import toys
from tinyllava_kit.training.loop import trainer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved model that reads pictures, ``model``, and six rows, ``rows.json``."""
    folder = tmp_path_factory.mktemp("training")
    toys.save_picture_model(folder)
    toys.picture_rows(folder)
    return folder


@pytest.fixture
def in_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Lets something happen in the step behind so many."""

    def patch(steps: int, happen: Callable[[], None]) -> None:
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == steps:
                happen()
            return keep(self, *args, **kwargs)

        keep = trainer.KitTrainer.training_step
        monkeypatch.setattr(trainer.KitTrainer, "training_step", step)

    return patch
