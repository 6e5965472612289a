"""The contract of a modality."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ..core.interfaces import Modality, Preprocessor
from ..errors import KitError
from ..plugin.catalog import Offer
from ..plugin.specs import ModalitySpec, TowerSpec
from .changed_items import as_array, numbers_in
from .comparing import check_refused, refusal, same
from .contract import CheckFailure, DoesNotApply, check
from .offered import contract_of
from .specified import SpecifiedContract

# What an item and its probe may both say of their size.
_SIZES = ("shape", "size", "width", "height", "rate_hz", "num_samples", "num_frames", "length")


class ModalityContract(SpecifiedContract):
    """What holds for a modality: what it reads, refuses, measures, and writes.

    An author gives `sources`, and `sized` where items differ in size.
    """

    kind = "modality"
    takes_options: ClassVar[tuple[str, int] | None] = ("__init__", 0)
    # How far an item that is written and read again may be off: the largest difference, relative to the largest value.
    write_tolerance: ClassVar[float] = 0.0

    # Why nobody can tell a truncated file from a whole one, where that is so.
    takes_cut_files: ClassVar[str] = ""
    # Why any text is an item, and a number that is not finite a part of one, where they are.
    takes_any_text: ClassVar[str] = ""
    takes_not_finite: ClassVar[str] = ""

    def sources(self, folder: Path) -> Sequence[Any]:
        """At least three things that `read` takes, of different sizes; paths of files, written to `folder`, first."""
        raise NotImplementedError(f"{type(self).__name__} must give sources(folder)")

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        """Pairs of the same content in two forms: a file and an array, say. Default: none."""
        return ()

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        """Sources that `read` refuses: the fault -> the source. Beside those of every modality."""
        return {}

    def sized(self, number: int) -> Any | None:
        """An item of so many of the smallest steps in which sizes differ, with content; None: sizes do not differ."""
        return None

    def expected_measure(self, item: Any) -> float:
        """What `measure` is for an item, by other code, in the modality's unit."""
        raise DoesNotApply("no expected_measure(item) to compare with; one in a wrong unit would not be seen")

    def items(self) -> list[Any]:
        """What `read` gives of the sources; towers of the modality are checked with them."""
        return [self.build().read(source) for source in self.sources(self.folder)]

    def sized_items(self) -> Iterator[Any]:
        """Items of every size, from the smallest up, without end."""
        number = 1
        while (item := self.sized(number)) is not None:
            yield item
            number += 1

    def build(self, **options: Any) -> Modality:
        """The modality with its options; `options` are others than the contract's."""
        modality: Modality = self.component(**{**self.given_options, **options})
        return modality

    @check("read: the item of a source, each time the same; an item that was read comes back unchanged")
    def test_read(self) -> None:
        """Different sources give different items, in any order; reading an item again changes nothing."""
        modality, sources = self.build(), list(self.sources(self.folder))
        assert len(sources) >= 3, f"sources() gives {len(sources)}, expected three at least"
        items = [modality.read(source) for source in sources]
        for number, source in reversed(list(enumerate(sources))):
            assert same(self.build().read(source), items[number]), f"source {number} gives another item the second time"
            again = modality.read(items[number])
            assert same(again, items[number]), f"source {number}: reading the item again gives another"
        for number, item in enumerate(items[1:]):
            assert not same(item, items[number]), f"sources {number} and {number + 1} give the same item"

    @check("read: give what the file held; no view of it, no memory map, no file that stays open; and write nothing")
    def test_file(self) -> None:
        """A file is as it was after reading, and the item is as it was after the file has changed."""
        modality, found = self.build(), False
        for path in self._files():
            found = True
            before = path.read_bytes()
            item = modality.read(str(path))
            assert path.read_bytes() == before, f"reading changes {path.name}"
            kept = pickle.dumps(item)
            with path.open("r+b") as file:
                file.write(bytes(255 - byte for byte in before))
            assert pickle.dumps(item) == kept, f"the item changes when {path.name} does"
        if not found:
            raise DoesNotApply("none of its sources is a file")

    @check("read: the same content gives the same item, in whatever form it comes")
    def test_forms(self) -> None:
        """Two forms of one content give equal items: scales, orders of axes and colours agree."""
        modality, pairs = self.build(), self.equal_sources(self.folder)
        if not pairs:
            raise DoesNotApply("no equal_sources(folder): a scale or an order of axes that is wrong is not seen")
        for number, (one, other) in enumerate(pairs):
            first, second = (modality.read(source) for source in (one, other))
            numbers = [numbers_in(each) for each in (first, second)]
            equal = same(*numbers) if any(numbers) else same(first, second)  # a sound's name may differ
            assert equal, f"pair {number} of equal sources gives different items"

    @check("probe and expand: a probe has the size of the item, and is cut into as many parts")
    def test_probe(self) -> None:
        """Of a source and of an item: size, parts and counts are those of the item, for each installed tower."""
        modality, preprocessors = self.build(), list(self._preprocessors())
        for number, source in enumerate(self.sources(self.folder)):
            item = modality.read(source)
            for probe in (modality.probe(source), modality.probe(item)):
                for name, (expected, got) in _sizes(item, probe).items():
                    assert got == expected, f"source {number}: {name} of the item is {expected}, of its probe {got}"
                for preprocessor in preprocessors:
                    self._check_parts(modality, preprocessor, item, probe, number)

    @check("measure: a finite number above 0 from the header, in the modality's unit, and more for a longer item")
    def test_measure(self) -> None:
        """The same for a source, its item and its probe, and no less for a larger item."""
        modality = self.build()
        for number, source in enumerate(self.sources(self.folder)):
            item = modality.read(source)
            measured, again = modality.measure(source), modality.measure(item)
            right = isinstance(measured, (int, float)) and math.isfinite(measured) and measured > 0
            assert right, f"source {number} measures {measured!r}, expected a finite number above 0"
            assert math.isclose(measured, again, rel_tol=1e-6), f"source {number} measures {measured}, its item {again}"
            probed = modality.measure(modality.probe(source))
            assert math.isclose(measured, probed, rel_tol=1e-6), (
                f"source {number} measures {measured}, its probe {probed}"
            )
        sized = [item for item, _ in zip(self.sized_items(), range(20), strict=False)]
        grown = [modality.measure(item) for item in sized]
        assert grown == sorted(grown), "a larger item measures less"
        assert isinstance(modality.unit, str), f"unit is {modality.unit!r}, expected the name of what measure counts"
        assert modality.unit, "unit is empty"

    @check("measure: the number of the modality's units in an item")
    def test_measured(self) -> None:
        """What `measure` gives is what the contract's `expected_measure` says."""
        modality = self.build()
        for number, source in enumerate(self.sources(self.folder)):
            item = modality.read(source)
            expected, got = self.expected_measure(item), modality.measure(source)
            assert math.isclose(got, expected, rel_tol=1e-6), f"source {number} measures {got}, expected {expected}"

    @check("blank: an item of the size of the one that is given, without its content")
    def test_blank(self) -> None:
        """The same size, measure and counts; other content, the same each time."""
        modality, preprocessors = self.build(), list(self._preprocessors())
        for number, source in enumerate(self.sources(self.folder)):
            item = modality.read(source)
            try:
                blank = modality.blank(item)
            except KitError as error:
                raise DoesNotApply(f"it has no blank item: {error}") from None
            for name, (expected, got) in _sizes(item, blank).items():
                assert got == expected, f"source {number}: {name} of the item is {expected}, of its blank {got}"
            arrays = [found[0] for found in map(as_array, (item, blank)) if found is not None]
            assert len({array.shape for array in arrays}) <= 1, f"source {number}: a blank item of another shape"
            assert modality.measure(blank) == modality.measure(item), (
                f"source {number}: a blank item measures otherwise"
            )
            assert not same(blank, item), f"source {number}: its blank item is the item"
            assert same(blank, modality.blank(item)), f"source {number}: another blank item the second time"
            for preprocessor in preprocessors:
                expected, got = (_counts(modality, preprocessor, each) for each in (item, blank))
                assert got == expected, f"source {number}: counts {expected}, its blank item {got}"

    @check(
        "read: raise a KitError of one line that names the file, for whatever it cannot read; or say in takes_... why"
    )
    def test_refused(self) -> None:
        """Missing, a folder, empty, cut off, no such file, not finite, no item at all."""
        modality, folder = self.build(), self.folder
        for what, source in self._bad(folder):
            named = Path(source).name if isinstance(source, str) else ""
            check_refused(lambda source=source: modality.read(source), f"read of {what}", named)
            probe = refusal(lambda source=source: modality.probe(source))
            assert "\n" not in probe, f"probe of {what}: more than one line: {probe}"

    @check("write and check_name: a whole file under the name that is given, which read takes, or a KitError")
    def test_write(self) -> None:
        """An item written and read again is the same; no other file appears; a name that it cannot take is refused."""
        if self.component.write is Modality.write:
            raise DoesNotApply("it writes no files")
        modality, folder = self.build(), self.folder
        endings = [each for each in self._suffixes() if not refusal(modality.check_name, f"item{each}")]
        assert endings, "check_name refuses every ending that the spec names"
        for number, item in enumerate(self.items()):
            path = folder / f"item-{number}{endings[0]}"
            modality.write(item, str(path))
            assert path.is_file(), f"write makes no file of the name that is given, {path.name}"
            there = sorted(each.name for each in folder.iterdir())
            assert len(there) == number + 1, f"write leaves other files: {', '.join(there)}"
            self._check_written(item, modality.read(str(path)), number)
        check_refused(lambda: modality.check_name("item.not_a_suffix"), "check_name of 'item.not_a_suffix'", "not_a_")
        gone = str(folder / "gone" / f"item{endings[0]}")
        check_refused(lambda: modality.write(self.items()[0], gone), "write to a folder that is not there", "gone")

    @check("draw: None, or (P, 4) places, left, top, right, bottom, inside the axes")
    def test_draw(self) -> None:
        """The places of an item's features lie inside the drawing."""
        preprocessors = list(self._preprocessors())
        if self.component.draw is Modality.draw:
            raise DoesNotApply("it draws nothing")
        if not preprocessors:
            raise DoesNotApply("no tower of it is installed")
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise DoesNotApply("matplotlib is not installed: pip install 'tinyllava-kit[show]'") from None
        modality = self.build()
        for number, item in enumerate(self.items()):
            axes = Figure().subplots()
            part = next(each for each in modality.expand(item, preprocessors[0]) if not isinstance(each, str))
            count = sum(preprocessors[0].num_features(part))
            side = math.isqrt(count)
            grid = (side, side) if side * side == count else None
            places = modality.draw(axes, part, preprocessors[0], count, grid)
            if places is not None:
                _check_places(np.asarray(places), count, axes, number)

    @check("the attributes of the modality: no open file, lambda or lock; data is loaded by other processes")
    def test_pickled(self) -> None:
        """Other processes read items with it."""
        modality = self.build()
        again = pickle.loads(pickle.dumps(modality))
        for source in self.sources(self.folder):
            assert same(again.read(source), modality.read(source)), "pickled, it reads another item"

    @check("the spec: suffixes as '.npy', and files of each of them are read")
    def test_suffixes(self) -> None:
        """Endings begin with a dot, in small letters; those of the sources are among them."""
        for each in self._suffixes():
            assert each.startswith("."), f"suffix {each!r} has no dot in front"
            assert each == each.lower(), f"suffix {each!r} is not in small letters"
        for path in self._files():
            assert path.suffix in self._suffixes(), (
                f"{path.name} is read, and {path.suffix!r} is not among the suffixes"
            )

    def effect(self, options: Mapping[str, Any]) -> Any:
        """The items, and what they are cut into for the first tower that is installed."""
        modality = self.build(**options)
        items = [modality.read(source) for source in self.sources(self.folder)]
        preprocessors = [next(self._preprocessors(), None)]
        parts = [modality.expand(item, each) for item in items for each in preprocessors if each is not None]
        return [items, parts, [modality.measure(item) for item in items]]

    def _files(self) -> list[Path]:
        sources = self.sources(self.folder)
        return [Path(each) for each in sources if isinstance(each, (str, Path)) and Path(each).is_file()]

    def _suffixes(self) -> tuple[str, ...]:
        return self.spec.suffixes if isinstance(self.spec, ModalitySpec) else tuple({p.suffix for p in self._files()})

    def _bad(self, folder: Path) -> Iterator[tuple[str, Any]]:
        yield "None", None
        yield "an object", object()
        for suffix in self._suffixes()[:1] or ("",):
            yield "a file that is not there", str(folder / f"gone{suffix}")
            (folder / f"folder{suffix}").mkdir()
            yield "a folder", str(folder / f"folder{suffix}")
            (folder / f"empty{suffix}").touch()
            yield "an empty file", str(folder / f"empty{suffix}")
            if not self.takes_any_text:
                (folder / f"text{suffix}").write_text("no item of this modality\n")
                yield "a file of something else", str(folder / f"text{suffix}")
        for path in self._files()[: 0 if self.takes_cut_files else 1]:
            whole = path.read_bytes()
            for share in (0.5, 0.9):
                cut = folder / f"cut-{share}{path.suffix}"
                cut.write_bytes(whole[: int(share * len(whole))])
                yield f"a file cut off after {share:.0%}", str(cut)
        yield from () if self.takes_not_finite else _not_finite(self.sources(folder), folder)
        yield from self.bad_sources(folder).items()

    def _preprocessors(self) -> Iterator[Preprocessor]:
        """Those of the towers of this modality that are installed, with their toy checkpoints."""
        for offer in self._towers():
            try:
                contract: Any = contract_of(offer, self.catalog)()  # type: ignore[arg-type]
                yield contract.build(contract.checkpoint)[1]
            except (CheckFailure, KitError, ImportError):
                continue  # its own checks say so

    def _towers(self) -> Iterator[Offer]:
        if self.catalog is None or self.spec is None:
            return
        for offer in self.catalog.of_kind("tower"):
            read = (self.spec.name, getattr(self.spec, "parts_of", "") or self.spec.name)
            if isinstance(offer.spec, TowerSpec) and offer.spec.modality in read:
                yield offer

    def _check_parts(self, modality: Modality, preprocessor: Preprocessor, item: Any, probe: Any, number: int) -> None:
        whole, probes = (modality.expand(each, preprocessor) for each in (item, probe))
        assert len(probes) == len(whole), f"source {number} is cut into {len(whole)} parts, its probe {len(probes)}"
        for part, probed in zip(whole, probes, strict=True):
            if isinstance(part, str):
                assert probed == part, f"source {number}: {part!r} is between parts, of its probe {probed!r}"
            else:
                expected, got = preprocessor.num_features(part), preprocessor.num_features(probed)
                assert got == expected, f"source {number} counts {expected}, its probe {got}"

    def _check_written(self, item: Any, again: Any, number: int) -> None:
        first, second = numbers_in(item), numbers_in(again)
        if not first:
            assert same(item, again), f"item {number} is another after it was written and read"
        shapes = [[array.shape for array in arrays] for arrays in (first, second)]
        assert shapes[0] == shapes[1], f"item {number} of {_told(shapes[0])} is read again with {_told(shapes[1])}"
        for before, after in zip(first, second, strict=True):
            apart = _apart(before, after)
            assert apart <= self.write_tolerance, f"item {number}, written and read again, is off by {apart:.2g}"


def _counts(modality: Modality, preprocessor: Preprocessor, item: Any) -> list[list[int]]:
    """How many features each part of an item has."""
    parts = modality.expand(item, preprocessor)
    return [preprocessor.num_features(part) for part in parts if not isinstance(part, str)]


def _told(shapes: Sequence[tuple[int, ...]]) -> str:
    return f"shape {shapes[0]}" if len(shapes) == 1 else f"{len(shapes)} arrays, {', '.join(map(str, shapes[:5]))}"


def _apart(before: np.ndarray, after: np.ndarray) -> float:
    """The largest difference, relative to the largest value; infinities and NaN are equal, or infinitely far apart."""
    wide = np.complex128 if before.dtype.kind == "c" else np.float64
    one, other = before.astype(wide), after.astype(wide)
    real = np.isfinite(one)
    if not np.array_equal(one[~real], other[~real], equal_nan=True) or not np.isfinite(other[real]).all():
        return math.inf
    largest = np.abs(one[real]).max(initial=1e-9)
    return float(np.abs(other[real] - one[real]).max(initial=0) / largest)


def _sizes(item: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """What both say of their size."""
    found = {}
    for name in _SIZES:
        one, two = (getattr(each, name, None) for each in (item, other))
        if one is not None and two is not None and not callable(one):
            found[name] = (one, two)
    if isinstance(item, (np.ndarray, Tensor)) and type(item) is type(other):  # others keep sizes in whatever way
        found["the shape"] = (tuple(item.shape), tuple(other.shape))
    return found


def _not_finite(sources: Sequence[Any], folder: Path) -> Iterator[tuple[str, Any]]:
    """Each source that is an array of numbers, or a file of one, with one that is not finite."""
    for value in (np.nan, np.inf):
        for source in sources:
            array = source.numpy() if isinstance(source, Tensor) else source
            if isinstance(source, (str, Path)) and str(source).endswith(".npy"):
                array = np.load(source)
            if isinstance(array, np.ndarray) and np.issubdtype(array.dtype, np.floating):
                poisoned = array.copy()
                poisoned.flat[poisoned.size // 2] = value
                if isinstance(source, (str, Path)):
                    np.save(folder / f"{value}.npy", poisoned)
                    yield f"a file with {value}", str(folder / f"{value}.npy")
                else:
                    yield f"an array with {value}", poisoned


def _check_places(places: np.ndarray, count: int, axes: Any, number: int) -> None:
    """Check the places of features in a drawing, (features, 4): left, top, right, bottom.

    Raises:
        AssertionError: not one place for each feature, or one outside the drawing, or inside out.
    """
    assert places.shape == (count, 4), f"item {number}: places have shape {places.shape}, expected {(count, 4)}"
    for name, columns, limits in (("across", (0, 2), axes.get_xlim()), ("down", (1, 3), axes.get_ylim())):
        low, high = sorted(limits)
        slack = 1e-6 * max(1.0, high - low)
        outside = (places[:, columns] < low - slack) | (places[:, columns] > high + slack)
        assert not outside.any(), f"item {number}: a place lies outside the drawing, {name}: {low:g} to {high:g}"
        assert (places[:, columns[0]] != places[:, columns[1]]).all(), f"item {number}: a place has no extent {name}"
