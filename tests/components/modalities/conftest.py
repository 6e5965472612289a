"""A picture of noise."""

from __future__ import annotations

import numpy as np
import pytest

from tests.components.modalities.pictures import HEIGHT, WIDTH


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
