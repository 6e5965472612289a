"""Towers with a raster, and of other layouts of features: right ones pass, and each fault shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from tests.testing.right import PatchContract, Patches, PatchTower, caught, changed, numbers, table
from tinyllava_kit.interfaces import Features, Grid, Preprocessor


class Squares(Preprocessor):
    """Pictures of 12 rows, 8 columns and 3 colours, (12, 8, 3), in squares of 2."""

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        return [{"pixels": item.permute(2, 0, 1)}]

    def num_features(self, item: Tensor) -> list[int]:
        return [24]

    def settings(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Squares:
        return cls()


class SquareTower(PatchTower):
    preprocessor_class: Any = Squares

    @property
    def grid(self) -> Grid | None:
        return (6, 4)

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
        return cls.preprocessor_class()

    def forward(self, pixels: Tensor) -> Features:  # type: ignore[override]
        squares = F.unfold(pixels, 2, stride=2).transpose(1, 2)  # (N, P, 12)
        return Features(self.project(squares[..., :: 3 if self.config["size"] == 4 else 1]), None, self.grid)


class SquareContract(PatchContract):
    component = SquareTower

    def items(self) -> Sequence[Tensor]:
        return [torch.randn(12, 8, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]

    def reference(self, item: Tensor) -> Tensor:
        w = load_file(Path(self.checkpoint) / "model.safetensors")
        squares = [
            item[y : y + 2, x : x + 2].permute(2, 0, 1).flatten()[::3] for y in range(0, 12, 2) for x in (0, 2, 4, 6)
        ]
        return torch.stack([w["project.weight"] @ square + w["project.bias"] for square in squares])


def raster_by(change: Any) -> type[SquareTower]:
    def forward(self: SquareTower, pixels: Tensor) -> Features:
        right = SquareTower.forward(self, change(pixels) if change else pixels)
        return right

    return changed(SquareTower, forward=forward)


def arranged_by(change: Any) -> type[SquareTower]:
    def forward(self: SquareTower, pixels: Tensor) -> Features:
        right = SquareTower.forward(self, pixels)
        return right._replace(features=change(right.features.unflatten(1, (6, 4))).flatten(1, 2))

    return changed(SquareTower, forward=forward)


RASTERS: list[tuple[str, type[SquareTower], str, str]] = [
    ("rows of the raster swapped", arranged_by(lambda f: f.flip(1)), "places", "along axis 0"),
    ("columns of the raster swapped", arranged_by(lambda f: f.flip(2)), "places", "along axis 1"),
    ("the raster lies on its side", arranged_by(lambda f: f.transpose(1, 2)), "reference", "and the reference"),
    ("a grid on its side", changed(SquareTower, grid=property(lambda self: (4, 6))), "places", "along axis 1"),
    ("a grid of another size", changed(SquareTower, grid=property(lambda self: (5, 5))), "counts", "does not hold"),
    ("colours swapped", raster_by(lambda p: p.flip(1)), "reference", "and the reference"),
    (
        "colours dropped",
        raster_by(lambda p: p.mean(1, keepdim=True).expand(-1, 3, -1, -1)),
        "reference",
        "the reference",
    ),
    ("one patch too many left out", arranged_by(lambda f: f.roll(1, 2)), "reference", "and the reference"),
]


def test_the_right_raster_passes_what_is_asked_of_it() -> None:
    contract = SquareContract()
    for check in ("counts", "places", "reference"):
        getattr(contract, f"test_{check}")()


@table(RASTERS)
def test_a_mutant_of_a_raster_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(changed(SquareContract, component=mutant)(), check, message)


class ChannelsFirst(Squares):
    """The same pictures as (5, 12, 8): with their channels in front, and five of them."""

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        return [{"pixels": item[:3]}]


class ChannelsFirstContract(SquareContract):
    component = changed(SquareTower, preprocessor_class=ChannelsFirst)

    def items(self) -> Sequence[Tensor]:
        return [torch.randn(5, 12, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


class Mixed(Patches):
    """Signals of four channels, (4, L), of which the mean is taken."""

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        return super().__call__(item.mean(0))

    def num_features(self, item: Tensor) -> list[int]:
        return super().num_features(item[0] if item.ndim == 2 else item)


class MixedContract(PatchContract):
    component = changed(PatchTower, preprocessor_class=Mixed)

    def items(self) -> list[Tensor]:
        return [torch.stack([numbers(length + shift)[:length] for shift in range(4)]) for length in (27, 61, 9)]


class FloatMask(Patches):
    """Says what is real by ones and zeros among floats."""

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        inputs = super().collate(rows)
        counts = inputs.pop("counts")
        return {**inputs, "mask": (torch.arange(int(counts.max())) < counts[:, None]).float()}


class MaskedTower(PatchTower):
    preprocessor_class = FloatMask

    def forward(self, numbers: Tensor, mask: Tensor) -> Features:  # type: ignore[override]
        return super().forward(numbers, mask.sum(1).long())


class RaggedContract(PatchContract):
    """Items that are lists of signals of different lengths, behind one another; of no modality here."""

    spec, catalog = None, None

    class Joined(Patches):
        def __call__(self, item: list[Tensor]) -> list[dict[str, Tensor]]:  # type: ignore[override]
            return super().__call__(torch.cat(item))

        def num_features(self, item: list[Tensor]) -> list[int]:  # type: ignore[override]
            return Patches.num_features(self, torch.cat(item) if isinstance(item, list) else item)

    component = changed(PatchTower, preprocessor_class=Joined)

    def items(self) -> list[list[Tensor]]:
        return [[numbers(length), numbers(3 * length)] for length in (5, 11, 2)]


@pytest.mark.parametrize(
    ("contract", "checks"),
    [
        (ChannelsFirstContract, ("counts", "places", "probe", "stateless")),
        (MixedContract, ("counts", "places", "probe", "stateless", "batch")),
        (changed(PatchContract, component=MaskedTower), ("counts", "batch", "padding", "sync", "places")),
        (RaggedContract, ("counts", "places", "probe", "stateless", "pickled")),
    ],
)
def test_a_right_tower_of_another_layout_passes(contract: type[PatchContract], checks: Sequence[str]) -> None:
    for check in checks:
        getattr(contract(), f"test_{check}")()


def laid_out(contract: type[PatchContract], change: Any) -> type[PatchContract]:
    """With the features that `change` makes of those of the contract's tower."""

    def forward(self: PatchTower, **inputs: Tensor) -> Features:
        right = contract.component.forward(self, **inputs)
        return right._replace(features=change(right.features))

    return changed(contract, component=changed(contract.component, forward=forward))


LAYOUTS: list[tuple[str, type[PatchContract], str, str]] = [
    (
        "rows swapped where channels stand in front",
        laid_out(ChannelsFirstContract, lambda f: f.unflatten(1, (6, 4)).flip(1).flatten(1, 2)),
        "places",
        "along axis 1",
    ),
    (
        "columns swapped where channels stand in front",
        laid_out(ChannelsFirstContract, lambda f: f.unflatten(1, (6, 4)).flip(2).flatten(1, 2)),
        "places",
        "along axis 2",
    ),
    ("features reversed of many channels", laid_out(MixedContract, lambda f: f.flip(1)), "places", "along axis 1"),
    ("features reversed of a ragged item", laid_out(RaggedContract, lambda f: f.flip(1)), "places", "along axis 0"),
]


@table(LAYOUTS)
def test_a_mutant_of_another_layout_is_caught(mutant: type[PatchContract], check: str, message: str) -> None:
    caught(mutant(), check, message)
