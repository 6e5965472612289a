"""Functions that a child process tries."""

from __future__ import annotations

import os
import time

from tinyllava_kit.plugin.child_process import Outcome


def tried(how: str) -> Outcome:
    """An outcome, or the end of the process, or none in time."""
    if how == "exit":
        os._exit(7)
    if how == "abort":
        os.abort()
    if how == "hang":
        time.sleep(600)
    print("what a plugin prints")
    heavy = ("numpy",) if how == "heavy" else ()
    return Outcome(error="" if how == "good" else how, fix=f"mend {how}", heavy=heavy, facts={"pid": str(os.getpid())})
