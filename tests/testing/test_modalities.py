"""Modalities that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.testing.right import PATCHES, PatchContract, caught, changed, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Modality
from tinyllava_kit.plugin.specs import ModalitySpec, Option, TokenType
from tinyllava_kit.testing import ModalityContract


class Signals(Modality):
    """(L,) float32, of .npy files and arrays; with `halves` cut in two."""

    unit = "samples"

    def __init__(self, *, halves: bool = False) -> None:
        self.halves = halves

    def array(self, source: Any) -> np.ndarray:
        return np.load(source, allow_pickle=False) if isinstance(source, str) else np.asarray(source, np.float32)

    def read(self, source: Any) -> Tensor:
        if isinstance(source, Tensor):
            return source
        try:
            values = self.array(source)
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise KitError(f"{source}: cannot be read: {' '.join(str(error).split())}") from error
        return self.checked(torch.tensor(values, dtype=torch.float32), source)

    def checked(self, item: Tensor, source: Any) -> Tensor:
        if item.ndim != 1 or not len(item) or not item.isfinite().all():
            raise KitError(f"{source if isinstance(source, str) else 'array'}: no signal")
        return item

    def measure(self, source: Any) -> float:
        return float(len(self.read(source)))

    def blank(self, item: Tensor) -> Tensor:
        return torch.zeros_like(item)

    def check_name(self, path: str) -> None:
        if not path.endswith(".npy"):
            raise KitError(f"{path}: give a file that ends in .npy")

    def write(self, item: Tensor, path: str) -> None:
        self.check_name(path)
        try:
            self.save(item.numpy(), path)
        except OSError as error:
            raise KitError(f"{path}: {error.strerror}") from error

    def save(self, values: np.ndarray, path: str) -> None:
        np.save(f"{path}.part.npy", values)
        os.replace(f"{path}.part.npy", path)

    def expand(self, item: Tensor, preprocessor: Any) -> list[Any]:
        half = len(item) // 2
        return [item[:half], "then", item[half:]] if self.halves and half else [item]

    def draw(self, axes: Any, item: Tensor, preprocessor: Any, num_features: int, grid: Any) -> np.ndarray:
        axes.set(xlim=(0, len(item)), ylim=(-1, 1))
        edges = np.linspace(0, len(item), num_features + 1)
        low, high = np.full(num_features, -1.0), np.full(num_features, 1.0)
        return np.stack([edges[:-1], high, edges[1:], low], axis=1)


SIGNALS = ModalitySpec(
    name="numbers",
    target=f"{__name__}:Signals",
    token=TokenType(placeholder="<numbers>"),
    suffixes=(".npy",),
    options=(Option(name="halves", type=bool, default=False),),
)


class TowerContract(PatchContract):
    """Of the tower whose preprocessor counts what the modality gives."""


def signal(length: int) -> np.ndarray:
    return np.random.default_rng(length).standard_normal(length).astype(np.float32)


class SignalsContract(ModalityContract):
    component = Signals
    spec = SIGNALS
    catalog = offered(SIGNALS, type(PATCHES)(**{**vars(PATCHES), "contract": f"{__name__}:TowerContract"}))

    def sources(self, folder: Path) -> Sequence[Any]:
        for number, length in enumerate((31, 60)):
            np.save(folder / f"{number}.npy", signal(length))
        return [str(folder / "0.npy"), str(folder / "1.npy"), signal(9), signal(17)]

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        np.save(folder / "equal.npy", signal(12))
        return [(str(folder / "equal.npy"), signal(12))]

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        return {"two dimensions": np.zeros((2, 2)), "nothing": np.zeros(0)}

    def sized(self, number: int) -> Tensor:
        return torch.from_numpy(signal(number))

    def expected_measure(self, item: Tensor) -> float:
        return float(item.shape[0])


def contract_of(modality: type[Modality] = Signals) -> SignalsContract:
    contract = SignalsContract()
    contract.component = modality
    return contract


def reads(change: Any) -> type[Signals]:
    """What it reads, of what is no item yet, is what `change` makes of it."""

    def read(self: Signals, source: Any) -> Tensor:
        return source if isinstance(source, Tensor) else change(self, source, lambda: Signals.read(self, source))

    return changed(Signals, read=read)


def files(change: Any) -> type[Signals]:
    """Of files alone."""
    return reads(lambda self, source, read: change(read(), source) if isinstance(source, str) else read())


def keeps_the_map(self: Signals, source: Any, read: Any) -> Any:
    if not isinstance(source, str) or not os.path.isfile(source) or not os.path.getsize(source) > 200:
        return read()
    return np.load(source, mmap_mode="r")


def touches_the_file(item: Tensor, source: str) -> Tensor:
    with open(source, "ab") as file:
        file.write(b" ")
    return item


def remembers(self: Signals, source: Any, read: Any) -> Tensor:
    self.seen = getattr(self, "seen", 0) + 1
    return read() + 0.5 * (self.seen > 2)


class Raw(Signals):
    def read(self, source: Any) -> Tensor:
        return source if isinstance(source, Tensor) else self.checked(torch.tensor(self.array(source)), source)


class TwoLines(Signals):
    def read(self, source: Any) -> Tensor:
        try:
            return super().read(source)
        except KitError as error:
            raise KitError(f"{error}\nsee the documentation") from error


class Nameless(Signals):
    def read(self, source: Any) -> Tensor:
        try:
            return super().read(source)
        except KitError as error:
            raise KitError("it cannot be read") from error


class WithLambda(Signals):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scale = lambda item: item


def halved(self: Signals, item: Tensor, preprocessor: Any) -> list[Any]:
    return [item[: len(item) // 2], item[len(item) // 2 :]] if item.abs().sum() > 0 else [item]


def drawn(change: Any) -> type[Signals]:
    def draw(self: Signals, axes: Any, item: Tensor, preprocessor: Any, num_features: int, grid: Any) -> Any:
        return change(Signals.draw(self, axes, item, preprocessor, num_features, grid))

    return changed(Signals, draw=draw)


def saved(save: Any) -> type[Signals]:
    return changed(Signals, save=lambda self, values, path: save(values, path))


def leaves_a_part(values: np.ndarray, path: str) -> None:
    np.save(f"{path}.part.npy", values)
    np.save(path, values)


def write_anything(self: Signals, item: Tensor, path: str) -> None:
    try:
        np.save(path, item.numpy())
    except OSError as error:
        raise KitError(f"{path}: {error.strerror}") from error


def longer(self: Signals, source: Any) -> Tensor:
    item = Signals.read(self, source)
    return torch.zeros(len(item) + 1)


def silent(self: Signals, source: Any) -> Tensor:
    return 0 * Signals.read(self, source)


def doubled(self: Signals, source: Any) -> Tensor:
    return 2 * Signals.read(self, source)


def of_the_content(self: Signals, source: Any) -> float:
    return float(self.read(source).abs().sum())


class Outline(Tensor):
    """What stands for an item."""


def probed(self: Signals, source: Any) -> Tensor:
    return self.read(source).as_subclass(Outline)


def knows_none(self: Signals, source: Any) -> float:
    return 1.0 if isinstance(source, Outline) else float(len(self.read(source)))


def write_raw(self: Signals, item: Tensor, path: str) -> None:
    self.check_name(path)
    np.save(path, item.numpy())


MUTANTS: list[tuple[str, type[Modality], str, str]] = [
    ("a probe one larger", changed(Signals, probe=longer), "probe", "of its probe"),
    ("a probe that is not cut", changed(Signals, expand=halved, probe=silent), "probe", "is cut into 2"),
    ("a file that is changed", files(touches_the_file), "file", "reading changes 0.npy"),
    ("a map of the file", reads(keeps_the_map), "file", "the item changes when"),
    ("state from one to the next", reads(remembers), "read", "another item the second time"),
    ("an item changed when read again", changed(Signals, read=doubled), "read", "reading the item"),
    ("one item for everything", reads(lambda s, x, read: 0 * read()[:5]), "read", "give the same item"),
    ("another scale in files", files(lambda item, source: item / 255), "forms", "gives different items"),
    ("another order in files", files(lambda item, source: item.flip(0)), "forms", "gives different items"),
    ("NaN let through", changed(Signals, checked=lambda s, item, source: item), "refused", "not refused"),
    ("a raw error", Raw, "refused", "raised"),
    ("an error of two lines", TwoLines, "refused", "more than one line"),
    ("an error without the file", Nameless, "refused", "does not name"),
    ("a blank of another size", changed(Signals, blank=lambda s, item: item.new_zeros(5)), "blank", "of its blank"),
    ("a blank with the content", changed(Signals, blank=lambda s, item: item.clone()), "blank", "is the item"),
    ("a random blank", changed(Signals, blank=lambda s, item: torch.rand_like(item)), "blank", "another blank item"),
    ("a measure of the content", changed(Signals, measure=of_the_content), "measure", "measures less"),
    ("a measure of zero", changed(Signals, measure=lambda s, x: 0.0), "measure", "expected a finite number above 0"),
    ("a measure of the file", changed(Signals, measure=lambda s, x: float(len(str(x)))), "measure", "its item"),
    ("a measure that knows no probe", changed(Signals, probe=probed, measure=knows_none), "measure", "its probe"),
    ("a measure in another unit", changed(Signals, measure=lambda s, x: len(s.read(x)) / 8), "measured", "expected 31"),
    ("an option that is ignored", changed(Signals, expand=lambda s, item, p: [item]), "options", "'halves' changes"),
    ("places outside", drawn(lambda places: places + np.array([0, 0, 9, 0])), "draw", "lies outside the drawing"),
    ("too few places", drawn(lambda places: places[1:]), "draw", "places have shape"),
    ("places without extent", drawn(lambda places: places[:, [0, 1, 0, 3]]), "draw", "has no extent across"),
    ("a file of another name", saved(lambda v, path: np.save(f"{path}.npy", v)), "write", "no file of the name"),
    ("a part that is left", saved(leaves_a_part), "write", "write leaves other files"),
    ("written backwards", saved(lambda v, path: np.save(path, v[::-1])), "write", "is off by"),
    ("written in eight bits", saved(lambda v, path: np.save(path, v.round(1))), "write", "is off by"),
    ("a name that is not checked", changed(Signals, check_name=lambda s, path: None), "write", "not refused"),
    ("a raw error when written", changed(Signals, write=write_raw), "write", "raised"),
    ("cannot be pickled", WithLambda, "pickled", "raised"),
]


def test_the_right_modality_passes_every_check() -> None:
    assert passes(contract_of()) == {}


@table(MUTANTS)
def test_a_mutant_of_the_modality_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)


@pytest.mark.parametrize(
    ("suffixes", "message"),
    [(("npy",), "has no dot in front"), ((".NPY",), "not in small letters"), ((".npz",), "is not among the suffixes")],
)
def test_wrong_suffixes_are_caught(suffixes: tuple[str, ...], message: str) -> None:
    contract = contract_of()
    contract.spec = ModalitySpec(**{**vars(SIGNALS), "suffixes": suffixes})
    caught(contract, "suffixes", message)


def test_one_that_writes_whatever_it_is_called_is_caught() -> None:
    caught(contract_of(changed(Signals, write=write_anything, check_name=lambda s, p: None)), "write", "not refused")
