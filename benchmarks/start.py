"""How fast the command line starts: the CPU time of ``tinyllava list`` in that of a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .clock import of_children, ratios
from .figure import Figure

LIST = 10.0


def figures(*, rounds: int = 15) -> Iterator[Figure]:
    """`list` of what is installed, and of nothing but help, both as a user calls them."""
    tinyllava = str(Path(sysconfig.get_path("scripts")) / "tinyllava")
    run = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL)
    sides = {"list": partial(run, [tinyllava, "list"]), "help": partial(run, [tinyllava, "--help"])}
    starts = ratios(partial(run, [sys.executable, "-c", "pass"]), sides, rounds=rounds, clock=of_children)
    yield Figure(name="start_list", value=starts["list"], goal=LIST)
    yield Figure(name="start_help", value=starts["help"])
