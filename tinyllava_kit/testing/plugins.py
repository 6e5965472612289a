"""What holds for a plugin as a whole: it loads, and its module is light."""

from __future__ import annotations

from ..plugin.catalog import Plugin
from ..plugin.child_process import run_trials
from ..plugin.doctor import IMPORT_LIMIT_S, import_plugin
from .contract import CheckFailure


def check_loaded(row: Plugin) -> None:
    """Check that discovery loaded a plugin.

    Raises:
        CheckFailure: discovery could not use it; says why and what to change.
    """
    if row.status != "ok":
        raise CheckFailure(f"plugin {row.name!r} is {row.status}: {row.detail}\nchange: {row.fix}")


def check_light(row: Plugin) -> None:
    """Import its module in a process of its own.

    Raises:
        CheckFailure: that fails, or imports what costs seconds.
    """
    (outcome,) = run_trials(import_plugin, [(row.name, row.target)], limit_s=IMPORT_LIMIT_S)
    if outcome.error:
        raise CheckFailure(f"importing {row.target}: {outcome.error}\nchange: {outcome.fix or row.target}")
    if outcome.heavy:
        raise CheckFailure(
            f"importing {row.target} imports {', '.join(outcome.heavy)}\n"
            "change: import them in the module that the spec's target names"
        )
