"""``tinyllava data``: what a recipe's data hold, before any training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tinyllava_kit_cli.printing import say
from tinyllava_kit_cli.recipes import read_recipe
from tinyllava_kit_cli.table import align

if TYPE_CHECKING:
    from tinyllava_kit.training.checks.data_check import StageReport
    from tinyllava_kit.training.checks.preview import PreviewSpan, ShownRow

WRONG = 2  # the exit code of a check that found something
_BAR = 40  # the widest bar of a histogram
_COLOURS: dict[str, dict[str, Any]] = {
    "learned": {"fg": "green", "bold": True},
    "item": {"fg": "cyan"},
    "made": {"fg": "cyan"},
    "ids": {"fg": "green", "bold": True},
}


@click.group
def command() -> None:
    """Check and show the data of a recipe, before any training."""


@command.command(short_help="Report what is wrong with the data of a recipe.")
@click.argument("recipe", type=click.Path())
@click.option("--stage", help="Check the data of this stage only.")
@click.option("--headers", is_flag=True, help="Read only the headers of items: faster, but finds fewer damaged ones.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, an object for each stage.")
def check(recipe: str, stage: str | None, headers: bool, as_json: bool) -> None:
    """Read all data that RECIPE names, and report what is wrong.

    Print a line for each row that cannot be used, whose answer is cut, or that teaches nothing; then the data and the
    number of steps of each stage. The exit code is 2 if something is wrong.
    """
    checked = read_recipe(recipe, stage)

    from tinyllava_kit.training.checks.data_check import check_data

    reports = check_data(checked, only=stage, decode=not headers, progress=lambda said: say(said, err=True))
    if as_json:
        say(json.dumps([report.to_json() for report in reports], indent=2))
    else:
        for report in reports:
            _show_report(report)
    found = sum(len(report.findings) for report in reports)
    if found:
        say(f"{found} finding(s)", err=True)
        raise SystemExit(WRONG)


def _show_report(report: StageReport) -> None:
    from tinyllava_kit.training.checks.data_check import PROBLEMS

    for finding in report.findings:
        say(f"{finding.row}: {finding.reason}")
    say(f"stage {report.stage}")
    rows = [("rows", f"{report.rows:,}")]
    for kind, meaning in PROBLEMS.items():
        count = sum(finding.kind == kind for finding in report.findings)
        rows += [(meaning, f"{count:,}")] if count else []
    rows += [(f"positions of {name}", f"{count:,}") for name, count in sorted(report.tokens.items())]
    rows.append(("positions that are learned", f"{report.learned:,}"))
    rows += [(f"ids of {name}, made of words", f"{count:,}") for name, count in sorted(report.made.items())]
    if report.steps is not None:
        rows += [("batches, in one process", f"{report.batches:,}"), ("steps", f"{report.steps:,}")]
    if report.fill is not None:
        rows.append(("fill of packed rows", f"{report.fill:.1%}"))
    for line in align(rows):
        say(f"  {line}")
    histogram = report.histogram()
    most = max((count for _, _, count in histogram), default=0)
    bars = [(_range(low, high), f"{count:,}", "#" * -(-_BAR * count // most)) for low, high, count in histogram]
    say("  positions of a row:")
    for line in align(bars):
        say(f"    {line}")


def _range(low: int, high: int) -> str:
    return f"{low}-{high}" if low < high else f"{low}"


@command.command(short_help="Show a batch as the model sees it.")
@click.argument("recipe", type=click.Path())
@click.option("--stage", help="The stage whose data is shown; default: the first.")
@click.option("-n", "--rows", type=click.IntRange(min=1), default=3, show_default=True, help="The number of rows.")
@click.option(
    "--html", type=click.Path(dir_okay=False), help="Write a page, with pictures and sounds, in place of printing."
)
@click.option("--ids", is_flag=True, help="Show the ids that the LLM learns to write for items; loads the model.")
def show(recipe: str, stage: str | None, rows: int, html: str | None, ids: bool) -> None:
    """Show the first rows of a batch of RECIPE as the model sees them.

    Each row is printed with what is learned in colour, the number of positions of each item, the borders between the
    samples of a packed row, and the amount of padding. A page shows the items, too: pictures small, sounds to play.
    """
    checked = read_recipe(recipe, stage)

    from tinyllava_kit.training.checks.preview import first_batch, shown_rows, write_page

    shown = shown_rows(first_batch(checked, count=rows, only=stage, ids=ids))
    if html is not None:
        write_page(shown, html)
        say(f"wrote {html}", err=True)
        return
    for number, row in enumerate(shown):
        _show_row(number, row)


def _show_row(number: int, row: ShownRow) -> None:
    say(f"row {number}: {row.used} positions, {row.padding} of padding", bold=True)
    for sample in row.samples:
        end = sample.start + sample.count - 1
        say(f"-- {sample.name}: {sample.start}-{end}, {sample.learned} learned", dim=True)
        for span in sample.spans:
            _show_span(span)
        say()


def _show_span(span: PreviewSpan) -> None:
    from tinyllava_kit.training.checks.preview import said_of

    shown = said_of(span)
    if span.kind in ("item", "made", "ids"):
        shown = f"[{shown}]"
    if span.kind in ("learned", "ids"):  # also where there are no colours
        shown = f"«{shown}»"
    say(shown, nl=False, **_COLOURS.get(span.kind, {}))
