"""What a stage says of itself: losses by kind of sample, tokens, fill, time left."""

from __future__ import annotations

import io
import json
import re
from types import SimpleNamespace

import pytest
from transformers import TrainerState

from tests.training.runs import run_two_steps
from tinyllava_kit.training.loop.clock import Clock
from tinyllava_kit.training.loop.progress import Progress, progress_line

pytestmark = pytest.mark.slow


def test_a_line_says_where_the_stage_is():
    logs = {"loss": 0.4123, "loss_image": 0.3811, "loss_text": 0.5, "tokens_per_second": 1830.4, "fill": 0.973}
    assert progress_line("align", 20, 480, logs, 192) == (
        "align 20/480  loss 0.4123 (image 0.381, text 0.5)  1830 tokens/s  fill 97 %  0:03:12 left"
    )


def test_a_line_of_skipped_rows_alone_says_so():
    line = progress_line("align", 20, 480, {"learning_rate": 0.1, "tokens_per_second": 3.0, "fill": 1.0}, 192)
    assert line == "align 20/480  nothing to learn  3 tokens/s  fill 100 %  0:03:12 left"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def without_codes(said):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)


def shown(out, steps=4, resumed=0, bf16=False):
    """What a stage of four steps shows, with two logs and what held-out rows said."""
    clock = Clock()
    progress = Progress("s[b]", clock, out, about=" over 6 rows")
    state = TrainerState(max_steps=steps, is_world_process_zero=True, global_step=resumed)
    for callback in (clock, progress):
        callback.on_train_begin(SimpleNamespace(bf16=bf16), state, None)
    for step in (1, 2):
        state.global_step = step
        progress.on_log(None, state, None, logs={"loss": 2.0 + step})
        progress.on_step_end(None, state, None)
    progress.on_log(None, state, None, logs={"eval_loss": 1.5})
    progress.on_train_end(None, state, None)
    return out.getvalue()


def test_the_start_says_what_products_are_made_in():
    first, *_ = shown(io.StringIO(), bf16=True).splitlines()
    assert first == "stage s[b]: 4 steps over 6 rows, products in bfloat16"


def test_a_file_has_a_line_for_the_start_and_for_each_log():
    assert shown(io.StringIO()).splitlines() == [
        "stage s[b]: 4 steps over 6 rows",
        "s[b] 1/4  loss 3  0:00:00 left",
        "s[b] 2/4  loss 4  0:00:00 left",
        "s[b] 2/4  held-out rows: loss 1.5",
    ]


def test_a_run_that_resumes_says_from_where():
    assert shown(io.StringIO(), resumed=1).splitlines()[1] == "stage s[b]: resumes from step 1 of 4"


def test_a_terminal_has_a_bar_and_what_stays_above_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    said = shown(Terminal())
    assert said.startswith("stage s[b]: 4 steps over 6 rows\n")
    plain = without_codes(said)
    last = plain.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("s[b] ")
    assert re.search(r" 2/4 loss 4 0:00:0\d left$", last)
    assert "s[b] 2/4  held-out rows: loss 1.5\n" in plain
    assert said.count("\x1b[?25h") == 1  # the cursor is there again


def test_a_run_prints_and_logs_it(tmp_path, capsys):
    done = run_two_steps(tmp_path)
    out = capsys.readouterr().out.splitlines()
    (start,) = (line for line in out if line.startswith("stage s: "))
    assert re.fullmatch(
        r"stage s: 2 steps over 6 rows; trains connector\.image \(full\), [\d,]+ of [\d,]+ weights; on cpu in float32",
        start,
    )
    first, second = (line for line in out if line.startswith("s "))
    assert first.startswith("s 1/2  loss ")
    assert "(image " in first
    assert "tokens/s  fill " in second
    log = [entry for entry in json.loads((done / "log.json").read_text()) if "loss" in entry]
    assert all({"loss_image", "loss_text", "fill", "tokens_per_second", "grad_norm"} <= entry.keys() for entry in log)
