"""What the demos share when they run: the command line as a user calls it, and tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def tinyllava(folder: Path, *words: str) -> None:
    """Run the command line in the assets' folder."""
    print("$ tinyllava", *(Path(word).name if Path(word).is_absolute() else word for word in words), flush=True)
    subprocess.run([sys.executable, "-m", "tinyllava_kit_cli", *words], cwd=folder, check=True)


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """A table on the terminal: the first column to the left, the others to the right."""
    for head, *cells in rows:
        print(f"{head:<20}" + "".join(f"{cell:>16}" for cell in cells))
