"""What stages in tests train and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import toys


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved model that reads pictures, ``model``, and six rows, ``rows.json``."""
    folder = tmp_path_factory.mktemp("training")
    toys.save_picture_model(folder)
    toys.picture_rows(folder)
    return folder
