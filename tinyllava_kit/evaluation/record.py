"""The record of a model's evaluations, in its directory: what its card can quote."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ..files.content import read_as
from ..files.origins import origin, sealed
from ..files.writing import write_json
from ..model.storage.fingerprint import fingerprint as fingerprint
from .figures import Figures

if TYPE_CHECKING:
    from .controls import Control

RECORD_FILE = "evaluations.json"


def record(
    directory: str | os.PathLike[str],
    weights: str,
    data: str,
    scorers: Sequence[str],
    figures: Mapping[Control, Figures],
    line: str,
    *,
    questions: int | None = None,
    limited: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Add an evaluation to ``evaluations.json`` of a model directory; returns why it was not added, or nothing.

    It takes the place of an earlier one of the same data, scorers and settings, but not of one over more rows where
    it was `limited`. What other weights reached is left out.

    Args:
        weights: the `fingerprint` of the directory. `data`: what was asked, by name.
        figures: of every control. `line`: the same for a reader.
        questions: how many rows were asked; None: as many as the figures are of. `limited`: the data may have more.
        settings: what else the figures depend on; the record notes where the same data was asked with others.

    Raises:
        KitError: the directory cannot be written, or its record is none.
    """
    if questions is None:
        questions = max((figure.count for every in figures.values() for figure in every.values()), default=0)
    settings = dict(settings or {})
    entry = {
        "data": sealed(data),
        "scorers": list(scorers),
        "settings": settings,
        "line": f"{origin(data)}: {line}",
        "figures": {c: {name: figure.value for name, figure in every.items()} for c, every in figures.items()},
        "questions": questions,
        "limited": limited,
        "date": date.today().isoformat(),
        "weights": weights,
    }
    others = [other for other in read_record(directory) if other["weights"] == weights]
    earlier = [other for other in others if _is_same(other, entry)]
    more = max((other.get("questions", 0) for other in earlier), default=0)
    if limited and more > questions:
        return f"{data} was evaluated on {more} rows before; these {questions} do not take their place"
    kept = [other for other in others if other not in earlier]
    write_json(Path(directory) / RECORD_FILE, [*kept, entry])
    return ""


def lines_of(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line of each for a card, with the settings where the same data and scorers stand there with others."""
    kinds = Counter((entry["data"], *entry["scorers"]) for entry in entries)
    return [_line(entry, kinds[(entry["data"], *entry["scorers"])] > 1) for entry in entries]


def _line(entry: Mapping[str, Any], with_settings: bool) -> str:
    said = ", ".join(f"{name} {value}" for name, value in entry.get("settings", {}).items() if value is not None)
    return f"{entry['line']} ({said})" if with_settings and said else str(entry["line"])


def _is_same(other: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether two have the same figures, of perhaps other rows; earlier versions wrote no settings down."""
    same = all(other.get(key) == entry[key] for key in ("data", "scorers"))
    return same and other.get("settings", entry["settings"]) == entry["settings"]


def read_record(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The evaluations of a model directory, oldest first; each has a ``line`` for a card.

    Raises:
        KitError: the file is no such record.
    """
    file = Path(directory) / RECORD_FILE
    if not file.exists():
        return []
    entries = read_as(list[_Entry], file, "it is no record of evaluations; remove it")
    return [{**entry.model_dump(exclude_unset=True), "data": sealed(entry.data)} for entry in entries]


class _Entry(BaseModel):
    """The fields that are read of an evaluation; the rest is kept too."""

    model_config = ConfigDict(extra="allow", strict=True)

    data: str
    scorers: list[str]
    line: str
    weights: str
    questions: int = 0
    settings: dict[str, Any] = {}
