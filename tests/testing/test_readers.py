"""Readers of rows that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.testing.right import caught, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.plugin.specs import Option, ReaderSpec
from tinyllava_kit.testing import ReaderContract

ROWS = [{"asked": f"question {number}", "tags": [number, "x"]} for number in range(5)]
OPENED: list[Any] = []  # files that a mutant forgets


def written(path: Path, rows: Sequence[Any], *more: str) -> Path:
    path.write_text("\n".join([*(f"{row['asked']}|{json.dumps(row['tags'])}" for row in rows), *more]))
    return path


def row_of(path: Path, number: int, line: str) -> dict[str, Any]:
    asked, bar, tags = line.strip().partition("|")
    if not bar:
        raise KitError(f"{path} line {number}: needs QUESTION|TAGS")
    return {"asked": asked, "tags": json.loads(tags)}


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of lines."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield row_of(path, number, line)
    except (OSError, UnicodeError) as error:
        raise KitError(f"cannot read {path}: {error.__class__.__name__}") from error


BARRED = ReaderSpec(name="barred", target=f"{__name__}:read", suffixes=(".bar", ".bars"))


class BarredContract(ReaderContract):
    spec = BARRED
    component = read
    catalog = offered(BARRED)

    def toy_file(self, folder: Path) -> Path:
        return written(folder / "toy.bar", ROWS)

    def expected_rows(self, path: Path) -> Sequence[Mapping[str, Any]]:
        return ROWS

    def broken_files(self, folder: Path) -> Mapping[Path, str]:
        return {written(folder / "broken.bar", ROWS, "no bar", "last|[]"): "line 6"}


def contract_of(reader: Callable[[Path], Iterable[Any]], **known: Any) -> BarredContract:
    contract = BarredContract()
    vars(contract).update(component=reader, **known)
    return contract


def shuffled(path: Path) -> Iterator[Any]:
    rows = list(read(path))
    return iter(random.sample(rows, len(rows)))


def drawing(path: Path) -> Iterator[Any]:
    random.random()
    return read(path)


def backwards(path: Path) -> Iterator[Any]:
    return iter(list(read(path))[::-1])


def without_the_last(path: Path) -> Iterator[Any]:
    return iter(list(read(path))[:-1])


def one_dict(path: Path) -> Iterator[Any]:
    row: dict[str, Any] = {}
    for each in read(path):
        row.clear()
        row.update(each)
        yield row


CACHE: dict[Path, list[Any]] = {}


def cached(path: Path) -> Iterator[Any]:
    CACHE.setdefault(path, list(read(path)))
    return iter(CACHE[path])


PLACES: dict[Path, int] = {}


def goes_on(path: Path) -> Iterator[Any]:
    """Begin where the last reading stopped."""
    rows = list(read(path))
    for number in range(PLACES.get(path, 0), len(rows)):
        PLACES[path] = number + 1
        yield rows[number]
    PLACES[path] = 0


def skipping(path: Path) -> Iterator[Any]:
    lines = path.read_text().splitlines() if path.is_file() and b"\xff" not in path.read_bytes() else list(read(path))
    for number, line in enumerate(lines, 1):
        try:
            yield row_of(path, number, line)
        except KitError:
            continue


def raw(path: Path) -> Iterator[Any]:
    for line in path.read_text().splitlines():
        asked, tags = line.split("|")
        yield {"asked": asked, "tags": json.loads(tags)}


def without_place(path: Path) -> Iterator[Any]:
    try:
        yield from read(path)
    except KitError as error:
        raise KitError(f"{path}: a row is broken") from error


def without_file(path: Path) -> Iterator[Any]:
    try:
        yield from read(path)
    except KitError as error:
        raise KitError(str(error).replace(str(path), "the file")) from error


def left_open(path: Path) -> Iterator[Any]:
    OPENED.append(path.open())
    return read(path)


def left_open_where_one_stops(path: Path) -> Iterator[Any]:
    OPENED.append(path.open())
    yield from read(path)
    OPENED.pop().close()


def left_open_after_an_error(path: Path) -> Iterator[Any]:
    file = path.open()
    try:
        yield from read(path)
    except KitError:
        OPENED.append(file)
        raise
    finally:
        if file not in OPENED:
            file.close()


def lenient(path: Path) -> Iterator[Any]:
    try:
        yield from read(path)
    except KitError as error:
        if "cannot read" not in str(error):
            raise


def from_an_empty_file(path: Path) -> Iterator[Any]:
    yield from read(path)
    if not path.stat().st_size:
        yield {}


def beside_it(path: Path) -> Iterator[Any]:
    path.with_suffix(".index").write_text("5")
    return read(path)


def moves_there(path: Path) -> Iterator[Any]:
    here = Path.cwd()
    try:
        os.chdir(path.parent)
        yield from read(path)
    finally:
        if path.name != "toy.bar":
            os.chdir(here)


def of_lists(path: Path) -> Iterator[Any]:
    return (list(row.values()) for row in read(path))


def with_numbers_as_names(path: Path) -> Iterator[Any]:
    return (dict(enumerate(row.values())) for row in read(path))


def with_functions(path: Path) -> Iterator[Any]:
    return ({**row, "open": lambda: None} for row in read(path))


class Rows:
    """Rows in a list, with one too many."""

    def __init__(self, path: Path) -> None:
        self.rows = list(read(path))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Any:
        return self.rows[number]


class OneMore(Rows):
    def __len__(self) -> int:
        return len(self.rows) + 1


class FromOne(Rows):
    def __getitem__(self, number: int) -> Any:
        return self.rows[number - 1]


MUTANTS: list[tuple[str, Callable[[Path], Iterable[Any]], str, str]] = [
    ("rows in another order each time", shuffled, "again", "row [0-4] is"),
    ("random numbers are drawn", drawing, "again", "draws from the random numbers"),
    ("rows backwards", backwards, "expected", "row 0 is {'asked': 'question 4'"),
    ("the last row is lost", without_the_last, "expected", "4 rows, expected 5"),
    ("one mapping for all rows", one_dict, "kept", "after the last row: row 0 is"),
    ("rows are kept and given again", cached, "kept", "after a caller changed his rows"),
    ("begins where the last reading stopped", goes_on, "rest", "stopped behind row 1, and begun anew"),
    ("a broken row is left out", skipping, "broken", "not refused"),
    ("a broken row raises what Python raises", raw, "broken", "raised ValueError"),
    ("a broken row without its place", without_place, "broken", "does not name the place"),
    ("an error without the file", without_file, "broken", "does not name /"),
    ("a file is left open", left_open, "closed", "behind the last row: toy.bar is still open"),
    ("left open where one stops", left_open_where_one_stops, "closed", "where reading stops: toy.bar is still open"),
    ("left open after an error", left_open_after_an_error, "closed", "after an error: broken.bar is still open"),
    ("what it cannot read has no rows", lenient, "refused", "a file that is not there: not refused"),
    ("a missing file raises what Python raises", raw, "refused", "raised FileNotFoundError"),
    ("a row of an empty file", from_an_empty_file, "refused", "an empty file has 1 rows"),
    ("an index is written beside the file", beside_it, "untouched", "reading changes toy.index"),
    ("the working directory is changed", moves_there, "untouched", "changes the working directory"),
    ("rows that are lists", of_lists, "rows", "row 0 is a list, expected a mapping"),
    ("names that are numbers", with_numbers_as_names, "rows", "row 0 has the key 0"),
    ("values that cannot be pickled", with_functions, "rows", "raised .*pickle"),
    ("a length that is one more", OneMore, "places", "its length is 6, it gives 5 rows"),
    ("places that begin at one", FromOne, "places", "by their places: row 0 is"),
]
SPECS: list[tuple[str, ReaderSpec, str, str]] = [
    (
        "an option, which never arrives",
        ReaderSpec(name="barred", target=f"{__name__}:read", options=(Option(name="mark", default="|"),)),
        "keywords",
        "nothing gives a reader its options: mark",
    ),
    (
        "the suffix of another reader",
        ReaderSpec(name="barred", target=f"{__name__}:read", suffixes=(".bar", ".txt")),
        "claimed",
        "'rows.txt' is also read by it/plain",
    ),
    (
        "a suffix that its files do not have",
        ReaderSpec(name="barred", target=f"{__name__}:read", suffixes=(".bars",)),
        "claimed",
        "no suffix of it ends 'toy.bar'",
    ),
]


def test_the_right_reader_passes_every_check() -> None:
    no_option = dict.fromkeys(("keywords", "options"), "its spec has no option")
    in_turn = {"places": "it gives rows one after another, and has no length"}
    assert passes(contract_of(read)) == no_option | in_turn
    assert passes(contract_of(Rows)) == no_option


@table(MUTANTS)
def test_a_mutant_of_the_reader_is_caught(mutant: Any, check: str, message: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(Path.cwd())
    caught(contract_of(mutant), check, message)
    while OPENED:
        OPENED.pop().close()


@table(SPECS)
def test_a_mutant_of_its_spec_is_caught(mutant: ReaderSpec, check: str, message: str) -> None:
    plain = ReaderSpec(name="plain", target=f"{__name__}:read", suffixes=(".txt",))
    caught(contract_of(read, spec=mutant, catalog=offered(mutant, plain)), check, message)


def test_a_package_that_is_missing_is_the_reason_of_each_check_that_reads() -> None:
    of_none = ReaderSpec(name="barred", target=f"{__name__}:read", packages=("no_such_package",))
    reasons = passes(contract_of(read, spec=of_none))
    told = {name for name, reason in reasons.items() if reason == "it needs no_such_package, which is not installed"}
    assert told == {"rows", "expected", "again", "kept", "rest", "places", "closed", "broken", "refused", "untouched"}
