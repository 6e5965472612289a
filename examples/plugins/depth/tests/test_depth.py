"""Depth maps: what is read, and the contracts of the modality and its tower."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "src"))

from tinyllava_kit_depth.contract import DepthContract, DepthGridContract
from tinyllava_kit_depth.maps import DepthModality
from tinyllava_kit_depth.tower import DepthGridPreprocessor, DepthGridTower

from tinyllava_kit import KitError


class TestDepth(DepthContract):
    component = DepthModality


class TestDepthGrid(DepthGridContract):
    component = DepthGridTower


def test_a_cell_is_its_nearest_its_mean_and_what_was_measured() -> None:
    item = torch.tensor([[1.0, 3.0], [float("nan"), float("nan")]])
    (row,) = DepthGridPreprocessor(cells=1)(item)
    torch.testing.assert_close(row["cells"].flatten(), torch.tensor([1.0, 2.0, 0.5]))
    assert DepthModality().blank(item).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_a_map_is_read_from_a_file_and_what_is_none_is_refused(tmp_path: Path) -> None:
    depths = torch.rand(7, 9)
    np.save(tmp_path / "a.npy", depths.numpy())
    assert torch.equal(DepthModality().read(tmp_path / "a.npy"), depths)
    for wrong, why in (([1.0], "needs two dimensions"), ([[-1.0]], "in metres"), ("none.npy", "no such file")):
        with pytest.raises(KitError, match=why):
            DepthModality().read(wrong)
