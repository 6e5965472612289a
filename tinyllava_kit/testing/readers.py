"""The contract of a reader of rows."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from ..data.rows import by_ending
from ..files.absence import present
from .comparing import check_refused, random_state, refusal, same
from .contract import DoesNotApply, check
from .folders import changed_files, check_packages, content_of, open_files
from .specified import SpecifiedContract

FEWEST = 4  # rows of a toy
Read = Callable[[Path], Iterable[Any]]


class ReaderContract(SpecifiedContract):
    """What holds for a reader of rows. An author gives `toy_file`, `expected_rows` and `broken_files`."""

    kind = "reader"
    takes_options: ClassVar[tuple[str, int] | None] = None

    # Why any bytes are a file of rows to it, where they are.
    takes_any_bytes: ClassVar[str] = ""

    def toy_file(self, folder: Path) -> Path:
        """Write a file, or a directory, of at least four rows to `folder`, as it reads them; returns its path."""
        raise NotImplementedError(f"{type(self).__name__} must give toy_file(folder)")

    def expected_rows(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """The rows of the toy at `path`. Default: unknown."""
        raise DoesNotApply("expected_rows gives none to compare with")

    def broken_files(self, folder: Path) -> Mapping[Path, str]:
        """Files in which one row is broken, with what the error must say of its place. Default: none."""
        raise DoesNotApply("broken_files gives none")

    @check("the suffixes of the spec: those of its own files, which no other reader has")
    def test_claimed(self) -> None:
        """A file as the toy's is given to this reader by its ending, and to no other."""
        spec: Any = self._spec()
        if not spec.suffixes:
            raise DoesNotApply("its spec has no suffix; a recipe's `reader` names it")
        offers = [] if self.catalog is None else self.catalog.of_kind(self.kind)
        for name in (self._toy().name, *(f"rows{suffix}" for suffix in spec.suffixes)):
            found = sorted(offer.qualified for offer in by_ending(name.lower(), offers) if offer.spec != spec)
            assert any(name.lower().endswith(suffix) for suffix in spec.suffixes), f"no suffix of it ends {name!r}"
            assert not found, f"{name!r} is also read by {', '.join(found)}"

    @check("the rows: mappings of names to values that can be pickled, for the processes that load data")
    def test_rows(self) -> None:
        """The toy has some rows, each a mapping that goes to another process and comes back."""
        rows = self._rows(self._toy())
        assert len(rows) >= FEWEST, f"its toy has {len(rows)} rows, expected at least {FEWEST}"
        for number, row in enumerate(rows):
            assert isinstance(row, Mapping), f"row {number} is a {type(row).__name__}, expected a mapping"
            odd = [key for key in row if not isinstance(key, str)]
            assert not odd, f"row {number} has the key {odd[0]!r}, expected texts"
            assert same(pickle.loads(pickle.dumps(dict(row))), dict(row)), f"row {number} is pickled to another"

    @check("the reader: every row of the file, in its order, and nothing else")
    def test_expected(self) -> None:
        """The rows are those that the author knows."""
        path = self._toy()
        expected = [present(dict(row)) for row in self.expected_rows(path)]
        got = [present(dict(row)) for row in self._rows(path)]
        assert len(got) == len(expected), f"{len(got)} rows, expected {len(expected)}"
        for number, (mine, known) in enumerate(zip(got, expected, strict=True)):
            assert same(mine, known), f"row {number} is {mine}, expected {known}"

    @check("the reader: no shuffling, and no state outside the iterator that it returns")
    def test_again(self) -> None:
        """Read twice, one after the other and row by row in turn, rows are equal and in one order."""
        path = self._toy()
        first, before = self._rows(path), random_state()
        self._check_rows(self._rows(path), first, "read again")
        assert random_state() == before, "reading draws from the random numbers of the process"
        pairs = list(zip(self._read()(path), self._read()(path), strict=True))
        for one in (0, 1):
            self._check_rows([pair[one] for pair in pairs], first, "read twice at once")

    @check("the reader: a new row each time; keep none, and change none that was given")
    def test_kept(self) -> None:
        """A row stays as it was given while others are read, and what a caller does to it changes no other."""
        path, given, copies = self._toy(), [], []
        for row in self._read()(path):
            given.append(row)
            copies.append(copy.deepcopy(row))
        self._check_rows(given, copies, "after the last row")
        for row in given:
            _spoil(row)
        self._check_rows(self._rows(path), copies, "after a caller changed his rows")

    @check("the reader: whoever stops and begins anew gets the same rows")
    def test_rest(self) -> None:
        """Reading up to a row, and skipping so many in a new reading, gives the rest."""
        path = self._toy()
        rows = self._rows(path)
        for begun in (1, len(rows) // 2, len(rows) - 1):
            reading = iter(self._read()(path))
            head = list(islice(reading, begun))
            _close(reading)
            tail = list(islice(self._read()(path), begun, None))
            self._check_rows([*head, *tail], rows, f"stopped behind row {begun}, and begun anew")

    @check("the reader's result: its length and its places agree with its iteration, or it has neither")
    def test_places(self) -> None:
        """What has a length or places gives the same by them."""
        path = self._toy()
        rows = self._rows(path)
        found: Any = self._read()(path)
        counted, placed = hasattr(found, "__len__"), hasattr(found, "__getitem__")
        if not (counted or placed):
            raise DoesNotApply("it gives rows one after another, and has no length")
        if counted:
            length = len(found)
            assert length == len(rows), f"its length is {length}, it gives {len(rows)} rows"
        if placed:
            order = [len(rows) - 1, 0, *range(len(rows))]
            by_place = [found[number] for number in order]
            self._check_rows(by_place, [rows[number] for number in order], "by their places")

    @check("the reader: open files in a `with`, so that they are closed at the end, at an error and where one stops")
    def test_closed(self) -> None:
        """Behind the last row, where reading stops in front of it, and after an error, no file is open."""
        path = self._toy()
        self._check_closed(path, lambda: self._rows(path), "behind the last row")

        def stop() -> None:
            reading = iter(self._read()(path))
            next(reading)
            _close(reading)

        self._check_closed(path, stop, "where reading stops")
        with suppress(DoesNotApply):
            for broken in self._broken():
                self._check_closed(broken, partial(refusal, self._rows, broken), "after an error")

    @check("the reader: raise a KitError that names the file and the place of a row that cannot be read; skip none")
    def test_broken(self) -> None:
        """A broken row is no row less, but a line with the file and its place."""
        for path, place in self._broken().items():
            what = f"{path.name}, broken at {place!r}"
            check_refused(partial(self._rows, path), what, str(path))
            message = refusal(self._rows, path)
            assert place in message, f"{what}: the message does not name the place: {message}"

    @check("the reader: raise a KitError that names the file where it is not one of rows")
    def test_refused(self) -> None:
        """A missing file, and one of noise, give an error of one line that names it; an empty one has no rows."""
        folder, ending = self.folder, "".join(self._toy().suffixes)
        gone, empty = folder / f"gone{ending}", folder / f"empty{ending}"
        check_refused(lambda: self._rows(gone), "a file that is not there", str(gone))
        empty.touch()
        rows: list[Any] = []
        message = refusal(lambda: rows.extend(self._rows(empty)))
        assert "\n" not in message, f"an empty file: more than one line: {message}"
        assert not rows, f"an empty file has {len(rows)} rows"
        if self.takes_any_bytes:
            return
        noise = folder / f"noise{ending}"
        noise.write_bytes(b"\xff\x00\xfe{" + random.Random(0).randbytes(5000))
        check_refused(lambda: self._rows(noise), "a file of noise", str(noise))

    @check("the reader: write nothing, also no cache beside the file, and stay in the working directory")
    def test_untouched(self) -> None:
        """Reading does not change the files, and adds none."""
        path, here = self._toy(), Path.cwd()
        before = content_of(path.parent)
        self._rows(path)
        changed = changed_files(before, content_of(path.parent))
        assert not changed, f"reading changes {changed}"
        assert Path.cwd() == here, "reading changes the working directory"

    def _toy(self) -> Path:
        check_packages(self.spec)
        return Path(self.toy_file(self.folder))

    def _broken(self) -> Mapping[Path, str]:
        check_packages(self.spec)
        return self.broken_files(self.folder)

    def _read(self) -> Read:
        """The function itself: as an attribute of a class Python would make a method of it."""
        read: Read = vars(self).get("component", type(self).component)
        return read

    def _rows(self, path: Path) -> list[Any]:
        return list(self._read()(path))

    def _check_rows(self, got: Sequence[Any], expected: Sequence[Any], when: str) -> None:
        assert len(got) == len(expected), f"{when}: {len(got)} rows, expected {len(expected)}"
        for number, (mine, known) in enumerate(zip(got, expected, strict=True)):
            assert same(mine, known), f"{when}: row {number} is {mine}, expected {known}"

    def _check_closed(self, path: Path, read: Callable[[], object], when: str) -> None:
        before = open_files(path)
        read()
        gc.collect()
        left = sorted(open_files(path) - before)
        assert not left, f"{when}: {os.path.basename(left[0])} is still open"


def _close(reading: Iterator[Any]) -> None:
    if hasattr(reading, "close"):
        reading.close()


def _spoil(row: Any) -> None:
    """Change all that can be changed of a row."""
    if isinstance(row, dict):
        for value in row.values():
            _spoil(value)
        row.clear()
    elif isinstance(row, list):
        for value in row:
            _spoil(value)
        row.clear()
