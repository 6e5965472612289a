"""A command's help, shown in a process of its own. Light: only the command itself may be heavy."""

from __future__ import annotations

import sys

from ..plugin.child_process import Outcome
from ..plugin.doctor import HEAVY
from ..plugin.isolation import PluginFault, isolated
from ..plugin.specs import import_target


def show_help(target: str) -> Outcome:
    """Run in a child: import a command, ask for its help, and tell which heavy packages that took."""
    from click import Context

    before = set(sys.modules)
    try:
        command = isolated(lambda: import_target(target))
        isolated(lambda: command.get_help(Context(command)))
    except PluginFault as fault:
        return Outcome(error=str(fault))
    return Outcome(heavy=tuple(sorted(HEAVY & (set(sys.modules) - before))))
