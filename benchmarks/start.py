"""How fast the command line starts: the CPU time of ``tinyllava list`` in that of a bare interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .clock import of_children, ratios
from .figure import Figure

LIST, HELP = 9.0, 10.0


def figures(*, rounds: int = 15) -> Iterator[Figure]:
    """`tinyllava list` and `tinyllava --help`, both as a user calls them: with modules compiled."""
    tinyllava = str(Path(sysconfig.get_path("scripts")) / "tinyllava")
    with tempfile.TemporaryDirectory() as compiled:
        # a checkout may have nothing compiled, where an installation has; the first round compiles
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        run = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL, env=environment)
        sides = {"list": partial(run, [tinyllava, "list"]), "help": partial(run, [tinyllava, "--help"])}
        for start in sides.values():
            start()
        starts = ratios(partial(run, [sys.executable, "-c", "pass"]), sides, rounds=rounds, clock=of_children)
    yield Figure(name="start_list", value=starts["list"], goal=LIST)
    yield Figure(name="start_help", value=starts["help"], goal=HELP)
