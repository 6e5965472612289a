"""Modalities whose items hold several arrays, NaN, or any text: right ones pass, and a fault in one part shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np

from tests.testing.right import caught, changed, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Modality
from tinyllava_kit.testing import ModalityContract


class Cloud:
    """Points with colours, (P, 3) and (P,); where the scanner saw nothing, a point is NaN or far away."""

    def __init__(self, points: np.ndarray, colours: np.ndarray) -> None:
        self.points, self.colours = points, colours


class Clouds(Modality):
    """Of .npz files, and pairs of arrays."""

    def read(self, source: Any) -> Cloud:
        if isinstance(source, Cloud):
            return source
        name = source if isinstance(source, str) else "cloud"
        try:
            if isinstance(source, str):
                with open(source, "rb") as file, np.load(file, allow_pickle=False) as found:
                    return self.made(found["points"], found["colours"])
            points, colours = source
            return self.made(np.array(points, np.float32), np.array(colours, np.uint8))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
            raise KitError(f"{name}: cannot be read: {' '.join(str(error).split())}") from error

    def made(self, points: np.ndarray, colours: np.ndarray) -> Cloud:
        if points.ndim != 2 or points.shape[1] != 3 or len(points) != len(colours):
            raise ValueError("expected points of three numbers, and a colour for each")
        return Cloud(points, colours)

    def blank(self, item: Cloud) -> Cloud:
        return Cloud(np.zeros_like(item.points), np.zeros_like(item.colours))

    def check_name(self, path: str) -> None:
        if not path.endswith(".npz"):
            raise KitError(f"{path}: give a file that ends in .npz")

    def write(self, item: Cloud, path: str) -> None:
        self.check_name(path)
        try:
            np.savez(path, **vars(self.kept(item)))
        except OSError as error:
            raise KitError(f"{path}: {error.strerror}") from error

    def kept(self, item: Cloud) -> Cloud:
        return item


def cloud(size: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(size)
    points = chance.normal(0, 1, (size, 3)).astype(np.float32)
    points[size // 2] = np.nan
    points[0, 0] = np.inf
    return points, chance.integers(0, 256, size, dtype=np.uint8)


class CloudContract(ModalityContract):
    component = Clouds
    takes_not_finite: ClassVar[str] = "a point that was not seen is NaN or infinite"

    def sources(self, folder: Path) -> Sequence[Any]:
        for number, size in enumerate((9, 14)):
            points, colours = cloud(size)
            np.savez(folder / f"{number}.npz", points=points, colours=colours)
        return [str(folder / "0.npz"), str(folder / "1.npz"), cloud(5)]

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        points, colours = cloud(7)
        np.savez(folder / "equal.npz", points=points, colours=colours)
        return [(str(folder / "equal.npz"), (points, colours))]

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        return {"points without colours": (cloud(5)[0], cloud(4)[1])}

    def expected_measure(self, item: Cloud) -> float:
        return 1.0


def from_files(change: Any) -> type[Modality]:
    def read(self: Clouds, source: Any) -> Cloud:
        right = Clouds.read(self, source)
        return change(right) if isinstance(source, str) else right

    return changed(Clouds, read=read)


def written(change: Any) -> type[Modality]:
    return changed(Clouds, kept=lambda self, item: change(item))


def holes_alone(item: Cloud) -> Cloud:
    return Cloud(np.where(np.isfinite(item.points), 0, item.points), item.colours)


def without_holes(item: Cloud) -> Cloud:
    return Cloud(np.nan_to_num(item.points), item.colours)


CLOUDS: list[tuple[str, type[Modality], str, str]] = [
    (
        "another scale of a second array",
        from_files(lambda c: Cloud(c.points, c.colours // 2)),
        "forms",
        "different items",
    ),
    ("what is missing filled in files", from_files(without_holes), "forms", "gives different items"),
    ("a second array lost when written", written(lambda c: Cloud(c.points, 0 * c.colours)), "write", "is off by"),
    ("what is missing filled when written", written(without_holes), "write", "is off by inf"),
    ("all but what is missing lost when written", written(holes_alone), "write", "is off by"),
    ("a part lost when written", written(lambda c: Cloud(c.points[1:], c.colours[1:])), "write", "is read again with"),
    (
        "a blank with a second array",
        changed(Clouds, blank=lambda s, c: Cloud(c.points, c.colours)),
        "blank",
        "is the item",
    ),
]


def test_a_right_modality_of_several_arrays_with_holes_passes() -> None:
    skipped = passes(CloudContract())
    assert set(skipped) == {"target", "keywords", "options", "draw", "alone"}


@table(CLOUDS)
def test_a_mutant_in_one_part_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(changed(CloudContract, component=mutant)(), check, message)


class Notes(Modality):
    """Texts: of files, or what an item already is."""

    def read(self, source: Any) -> list[str]:
        if isinstance(source, list):
            return source
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, TypeError, ValueError) as error:
            raise KitError(f"{source}: cannot be read") from error
        if not text.strip():
            raise KitError(f"{source}: is empty")
        return text.split()

    def blank(self, item: list[str]) -> list[str]:
        return ["-"] * len(item)


class NotesContract(ModalityContract):
    component = Notes
    takes_any_text: ClassVar[str] = "a note is a text"
    takes_cut_files: ClassVar[str] = "half of a text is one"

    def sources(self, folder: Path) -> Sequence[Any]:
        texts = ("one two", "three", "four five six")
        for number, text in enumerate(texts):
            (folder / f"{number}.txt").write_text(text)
        return [str(folder / f"{number}.txt") for number in range(len(texts))]


def test_a_right_modality_of_any_text_passes_when_it_says_so() -> None:
    passes(NotesContract())
    contract = NotesContract()
    contract.takes_any_text = ""
    caught(contract, "refused", "read of a file of something else: not refused")
