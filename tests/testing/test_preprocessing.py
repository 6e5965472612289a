"""Preprocessors that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.testing.right import (
    PatchContract,
    Patches,
    PatchTower,
    caught,
    changed,
    patch_contract,
    table,
)
from tinyllava_kit.interfaces import Preprocessor


def count_of(count: Any) -> type[Patches]:
    """The number of features is what `count` makes of the right one and the item."""

    def num_features(self: Patches, item: Tensor) -> list[int]:
        return count(Patches.num_features(self, item), item)

    def call(self: Patches, item: Tensor) -> list[dict[str, Tensor]]:
        return Patches(size=self.size, window=self.window)(item)

    return changed(Patches, num_features=num_features, __call__=call)


def one_more_if(wrong: Any) -> type[Patches]:
    return count_of(lambda counts, item: [*counts[:-1], counts[-1] + 1] if wrong(item) else counts)


def rows_by(change: Any) -> type[Patches]:
    def call(self: Patches, item: Tensor) -> list[dict[str, Tensor]]:
        return change(self, item, lambda: Patches.__call__(self, item))

    return changed(Patches, __call__=call)


def cached_by_length(self: Patches, item: Tensor, rows: Any) -> Any:
    cache = self.__dict__.setdefault("cache", {})
    return cache.setdefault(len(item), rows())


def seeding(self: Patches, item: Tensor, rows: Any) -> Any:
    np.random.seed(3)
    return rows()


def drawing_noise(self: Patches, item: Tensor, rows: Any) -> Any:
    torch.rand(3)
    return rows()


def in_place(self: Patches, item: Tensor, rows: Any) -> Any:
    item -= item.mean()
    return rows()


class RunningMean(Patches):
    """What it subtracts depends on what came before."""

    mean = 0.0

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        self.mean = 0.9 * self.mean + 0.1 * float(item.mean())
        return super().__call__(item - self.mean)


class KeepsTheCount(Patches):
    """Cuts the item as the one that was counted before it."""

    counts: Any = None

    def num_features(self, item: Tensor) -> list[int]:
        self.counts = super().num_features(item)
        return self.counts

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        known = self.counts or Patches.num_features(self, item)
        right = Patches(size=self.size, window=self.window)(item)
        return [{**row, "counts": torch.tensor(count)} for row, count in zip(right, known, strict=False)]


class Locked(Patches):
    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.lock = threading.Lock()


class ForgetsTheGain(Patches):
    gain = 1.0

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        return super().__call__(self.gain * item)


class TupleSettings(Patches):
    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "size": (self.size,)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Patches:
        return cls(size=settings["size"][0], window=settings["window"])


class LosesTheWindow(Patches):
    def settings(self) -> dict[str, Any]:
        return {"size": self.size}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Patches:
        return cls(size=settings["size"], window=5)


FIXED = changed(Patches, fixed_features=property(lambda self: 3))


FROM_CONTENT = count_of(lambda counts, item: counts if item.abs().sum() > 0.01 else [1])


PREPROCESSORS: list[tuple[str, type[Patches], str, str]] = [
    ("a count wrong for one size in eight", one_more_if(lambda item: len(item) % 8 == 5), "sizes", "sizes are counted"),
    ("a count wrong above 100", one_more_if(lambda item: len(item) > 100), "sizes", "sizes are counted wrongly"),
    ("a count wrong for the smallest", one_more_if(lambda item: len(item) < 2), "sizes", "size number 1: counted"),
    ("a count wrong for every size", one_more_if(lambda item: True), "counts", "counted .* the network gives"),
    ("a window too few counted", count_of(lambda counts, item: counts[:1]), "sizes", "rows, 1 are counted"),
    ("counted by content", FROM_CONTENT, "probe", "with other content of its size"),
    ("a wrong fixed number", FIXED, "counts", "fixed_features is none of"),
    ("cached by length", rows_by(cached_by_length), "stateless", "other rows behind other items than alone"),
    ("seeds numpy's generator", rows_by(seeding), "stateless", "seeds a global generator"),
    ("uses torch's generator", rows_by(drawing_noise), "stateless", "uses or seeds a global generator"),
    ("changes the item", rows_by(in_place), "stateless", "is changed by the preprocessor"),
    ("statistics over items", RunningMean, "stateless", "other rows behind other items"),
    ("what was counted before is kept", KeepsTheCount, "stateless", "other rows behind other items"),
    ("cannot be pickled", Locked, "pickled", "cannot pickle"),
    ("settings that are not JSON", TupleSettings, "settings", "not plain JSON"),
    ("a setting that is lost", LosesTheWindow, "settings", "made again, it"),
]


def of_preprocessor(preprocessor: type[Preprocessor]) -> PatchContract:
    return patch_contract(changed(PatchTower, preprocessor_class=preprocessor))


@table(PREPROCESSORS)
def test_a_mutant_of_the_preprocessor_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(of_preprocessor(mutant), check, message)


def test_settings_that_are_not_all_there_are_caught() -> None:
    class Loud(PatchTower):
        @classmethod
        def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
            made = ForgetsTheGain(size=config["size"], window=config["window"])
            made.gain = 2.0
            return made

    caught(patch_contract(Loud), "settings", "made again, it gives other inputs")
