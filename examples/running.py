"""What the demos share when they run: the command line as a user calls it, and tables."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinyllava_kit.evaluation import Figure


def demo_parser(described: str | None, *, assets: str = "the folder that prepare.py filled") -> argparse.ArgumentParser:
    """Of a demo: its docstring, and ``--assets``, which is a folder of what `assets` says."""
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=lambda name: Path(name).resolve(), required=True, help=assets)
    return parser


def assemble_once(folder: Path, assembly: Path, model: str) -> None:
    """Assemble a model in the assets' folder, where it is not there yet."""
    if not (folder / model / "config.json").exists():
        tinyllava(folder, "assemble", str(assembly), "-o", model, "--force")


def tinyllava(folder: Path, *words: str) -> None:
    """Run the command line in the assets' folder."""
    print("$ tinyllava", *(Path(word).name if Path(word).is_absolute() else word for word in words), flush=True)
    subprocess.run([sys.executable, "-m", "tinyllava_kit_cli", *words], cwd=folder, check=True)


def verdict(given: Mapping[str, Figure], goals: Mapping[str, float]) -> str:
    """One line: every figure that has a goal, and whether it is reached; of an error rate, less is better."""
    said = []
    for name in (name for name in goals if name in given):
        value, goal = given[name].value, goals[name]
        is_reached = value <= goal if name == "WER" else value >= goal
        said.append(f"{name} {value:.3f} (goal {goal}{'' if is_reached else ' not reached'})")
    return ", ".join(said)


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """A table on the terminal: the first column to the left, the others to the right."""
    for head, *cells in rows:
        print(f"{head:<20}" + "".join(f"{cell:>16}" for cell in cells))
