"""What a Trainer's log holds, as charts over its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...pages.chart import LineChart, Point

Lines = dict[str, list[Point]]


def log_charts(log: Sequence[Mapping[str, Any]], *, of: str = "", rates: bool = True) -> list[LineChart]:
    """Losses, figures of held-out rows, learning rate and speed, as far as the log holds them.

    Args:
        log: of the steps that have a loss, and of validation, whose keys begin with ``eval_``; see a stage's log.json.
        of: what their titles begin with, such as the name of a stage. rates: learning rate and speed, too.
    """
    logged = [entry for entry in log if {"loss", "eval_loss"} & entry.keys()]
    keys = sorted({key for entry in logged for key in entry})
    figures = [key for key in keys if key.startswith("eval_") and not key.startswith(("eval_loss", "eval_score"))]
    columns = {
        "loss": [key for key in keys if key in ("loss", "eval_loss") or key.startswith("loss_")],
        "loss by group of ids": [key for key in keys if key.startswith("ids_loss_")],
        "share of ids that were the likeliest": [key for key in keys if key.startswith("ids_right_")],
        **{f"{key.removeprefix('eval_').replace('_', ' ')} of held-out rows": [key] for key in figures},
        **({"learning rate": ["learning_rate"], "speed": ["tokens_per_second"]} if rates else {}),
    }
    charts = []
    for title, wanted in columns.items():
        lines: Lines = {key: [(entry["step"], entry[key]) for entry in logged if key in entry] for key in wanted}
        lines = {key.replace("eval_loss", "loss of held-out rows"): points for key, points in lines.items() if points}
        if lines:
            low = min(y for points in lines.values() for _, y in points)
            unit = "tokens/s" if title == "speed" else ""
            charts.append(LineChart(title=f"{of}{title}", unit=unit, lines=lines, from_zero=low >= 0))
    return charts
