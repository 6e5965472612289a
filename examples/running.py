"""What the demos share when they run: the command line as a user calls it, tables, kept results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tinyllava_kit.core.saving import whole_directory
from tinyllava_kit.evaluation.answers import Judged


def tinyllava(folder: Path, *words: str) -> None:
    """Run the command line in the assets' folder."""
    print("$ tinyllava", *(Path(word).name if Path(word).is_absolute() else word for word in words), flush=True)
    subprocess.run([sys.executable, "-m", "tinyllava_kit_cli", *words], cwd=folder, check=True)


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """A table on the terminal: the first column to the left, the others to the right."""
    for head, *cells in rows:
        print(f"{head:<20}" + "".join(f"{cell:>16}" for cell in cells))


def row_id(judged: Judged) -> str:
    """The id of the row that was asked about.

    Example:
        >>> row_id(Judged("data/it's/test.json[12] 'test-3-7'", "question?", "truth", "said"))
        'test-3-7'
    """
    return judged.name.rsplit("'", 2)[1]


def keep(folder: Path, answers: dict[str, list[Judged]], **more: object) -> None:
    """Write results as ``judged.json`` into a new directory."""
    kept = {control: [asdict(judged) for judged in rows] for control, rows in answers.items()}
    with whole_directory(folder) as stage:
        (stage / "judged.json").write_text(json.dumps({"answers": kept, **more}, indent=1), encoding="utf-8")


def kept(folder: Path) -> tuple[dict[str, list[Judged]], dict[str, object]]:
    """What `keep` wrote: the answers, and the rest."""
    results = json.loads((folder / "judged.json").read_text(encoding="utf-8"))
    answers = {control: [Judged(**row) for row in rows] for control, rows in results.pop("answers").items()}
    return answers, results
