"""The record of a model's evaluations, in its directory: what its card can quote."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from ..core.errors import KitError
from ..core.files import write_json
from ..core.fingerprint import fingerprint as fingerprint
from .figures import Figures

RECORD_FILE = "evaluations.json"


def record(
    directory: str | os.PathLike[str],
    weights: str,
    data: str,
    scorers: Sequence[str],
    figures: Mapping[str, Figures],
    line: str,
) -> None:
    """Add an evaluation to ``evaluations.json`` of a model directory.

    It takes the place of an earlier one of the same data and scorers, and what other weights reached is left out.

    Args:
        weights: the `fingerprint` of the directory. `data`: what was asked, by name.
        figures: of every control. `line`: the same for a reader.

    Raises:
        KitError: the directory cannot be written, or its record is none.
    """
    entry = {
        "data": data,
        "scorers": list(scorers),
        "line": f"{data}: {line}",
        "figures": {c: {name: figure.value for name, figure in every.items()} for c, every in figures.items()},
        "questions": max((figure.count for every in figures.values() for figure in every.values()), default=0),
        "date": date.today().isoformat(),
        "weights": weights,
    }
    others = [
        other
        for other in read_record(directory)
        if other["weights"] == weights and (other["data"], other["scorers"]) != (data, entry["scorers"])
    ]
    write_json(Path(directory) / RECORD_FILE, [*others, entry])


def read_record(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The evaluations of a model directory, oldest first; each has a ``line`` for a card.

    Raises:
        KitError: the file is no such record.
    """
    file = Path(directory) / RECORD_FILE
    if not file.exists():
        return []
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return [{**entry, "weights": entry["weights"], "data": entry["data"]} for entry in entries]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise KitError(f"{str(file)!r} is no record of evaluations; remove it") from error
