"""Work in a child process that is killed at one of its changes of the file system."""

from __future__ import annotations

import os
import sys

CHANGES = {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "open"}


def killed_at(number, work):
    """Run `work` in a child that ends at its so-manieth change of the file system; whether it got to the end."""
    child = os.fork()
    if child == 0:
        left = iter(range(number))

        def count(event, _):
            if event in CHANGES and next(left, None) is None:
                os._exit(9)

        sys.addaudithook(count)
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
