"""``tinyllava doctor``: what is wrong with the environment and the installed plugins, and what fixes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tinyllava_kit_cli.app import COMMANDS
from tinyllava_kit_cli.printing import say, say_table

if TYPE_CHECKING:
    from tinyllava_kit.plugin.doctor import Finding


@click.command
@click.option("--probe", is_flag=True, help="Also import every component and extra, with a time limit (takes a while).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(probe: bool, as_json: bool) -> None:
    """Check the environment and the installed plugins, with a fix for each fault.

    Faults come first; then Python, torch, transformers, the devices and what works on them, the extras and their
    purposes; then the plugins and their components. Nothing is changed. The exit code is 1 if something needs
    attention.
    """
    from tinyllava_kit.plugin.doctor import examine
    from tinyllava_kit_cli.environment import survey

    findings = [*survey(probe=probe), *examine(probe=probe, reserved=COMMANDS)]
    findings.sort(key=lambda finding: not finding.attention)
    if as_json:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        say_table([_row(finding) for finding in findings])
    faults = sum(finding.attention for finding in findings)
    if faults:
        say(f"{faults} finding(s) need attention", err=True)
        raise SystemExit(1)


def _row(finding: Finding) -> tuple[str, ...]:
    owner = f"{finding.distribution} {finding.version}".strip()
    advice = f"{finding.detail} -> {finding.fix}" if finding.fix else finding.detail
    return finding.status, finding.name, owner, advice
