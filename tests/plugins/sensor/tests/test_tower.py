"""The contract of towers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from tinyllava_kit_sensor.tower import PatchifyTower
from torch import Tensor

from tinyllava_kit.testing import TowerContract


class TestPatchifyTower(TowerContract):
    component = PatchifyTower
    options: ClassVar = {"patch_size": 3}

    def items(self) -> Sequence[Tensor]:
        return [torch.randn(length, generator=torch.Generator().manual_seed(length)) for length in (7, 31, 2)]
