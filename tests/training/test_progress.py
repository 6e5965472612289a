"""What a stage says of itself: losses by kind of sample, tokens, fill, time left."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import types
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from transformers import TrainerState

from tests import toys
from tinyllava_kit import KitError, load_pretrained
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import ItemSpan, TextSpan
from tinyllava_kit.terminal import counting
from tinyllava_kit.training.loop.clock import Clock
from tinyllava_kit.training.loop.meter import Meter, kinds_of
from tinyllava_kit.training.loop.progress import Progress, progress_line
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow

LEARNED = TextSpan([1, 2], labels=[-100, 2])
SAMPLES = [
    [LEARNED],
    [ItemSpan("image", 3), LEARNED, LEARNED],
    [ItemSpan("image", 1), ItemSpan("audio", 1), LEARNED],
    [LEARNED],
]


def test_losses_are_averaged_by_what_their_sample_holds():
    _, layout = plan(SAMPLES, packs=[2, 2])
    assert kinds_of(layout) == ["text", "image", "audio+image", "text"]
    meter = Meter()
    for _ in range(2):
        meter.add(layout, torch.tensor([1.0, 2.0, 4.0, 5.0, 7.0]))
    taken = meter.take()
    assert {key: taken[key] for key in taken if key.startswith("loss")} == {
        "loss_text": 4.0,
        "loss_image": 3.0,
        "loss_audio+image": 5.0,
    }
    assert taken["fill"] == pytest.approx((2 + 7 + 4 + 2) / (2 * 9))
    assert taken["tokens_per_second"] > 0
    assert meter.take() == {}


def test_a_step_counts_by_its_targets_and_an_empty_one_nothing():
    meter = Meter()
    for count, batches in ((4, [1.0, 0.5]), (0, [0.0]), (12, [3.0])):
        targets = torch.tensor(count)
        meter.add_step(targets)
        for loss in batches:  # each what it adds to the mean of its step
            meter.add_loss(torch.tensor(loss), targets)
    assert meter.take() == {"loss": pytest.approx((1.5 * 4 + 3.0 * 12) / 16)}
    meter.add_step(torch.tensor(0))
    meter.add_loss(torch.tensor(0.0), torch.tensor(0))
    assert meter.take() == {}
    for loss in (1.0, 2.0):
        meter.add_step(None)
        meter.add_loss(torch.tensor(loss), None)
    assert meter.take() == {"loss": 1.5}
    assert meter.loss_of_run() == {"loss": pytest.approx((1.5 * 4 + 3.0 * 12 + 1.0 + 2.0) / 18)}


def test_a_kind_of_which_nothing_is_learned_has_no_loss():
    skipped = [TextSpan([0], labels=[-100])]
    meter = Meter()
    meter.add(plan([SAMPLES[1], skipped])[1], torch.tensor([1.0, 2.0]))
    meter.add(plan([skipped])[1], torch.tensor([]))
    assert not [key for key in meter.take() if key.startswith("loss")]
    meter.add(plan([SAMPLES[1], SAMPLES[2], skipped])[1], torch.tensor([1.0, 2.0, 4.0]))
    taken = meter.take()
    assert {key: taken[key] for key in taken if "loss" in key} == {"loss_image": 1.5, "loss_audio+image": 4.0}


def test_groups_are_averaged_over_the_batches_that_have_them():
    meter = Meter({"text": 1.0, "drawing": 0.5, "never": 2.0})
    none = torch.tensor([])
    for text, drawing in (([1.0, 3.0], [8.0]), ([5.0], []), ([], [2.0, 2.0])):
        losses = {"text": torch.tensor(text), "drawing": torch.tensor(drawing), "never": none}
        targets = torch.tensor([len(each) for each in losses.values()])
        meter.add_step(targets)
        meter.add_loss(torch.tensor(1.0), targets)
        meter.add_groups({name: (each, each > 2) for name, each in losses.items()})
    assert meter.take() == {
        "loss": pytest.approx(3.0 + 0.5 * 4.0),
        "ids_loss_text": pytest.approx(3.0),
        "ids_right_text": pytest.approx(2 / 3),
        "ids_loss_drawing": pytest.approx(4.0),
        "ids_right_drawing": pytest.approx(1 / 3),
    }


def test_one_kind_of_sample_has_no_line_of_its_own():
    meter = Meter()
    meter.add(plan(SAMPLES[:1])[1], torch.tensor([1.0]))
    assert set(meter.take()) == {"tokens_per_second", "fill"}


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


def test_long_work_is_counted_in_lines_and_short_work_is_silent(monkeypatch):
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr(counting, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    with counting.counting("encoding", 100, "items", done=10, out=out) as advance:
        for _ in range(9):
            now[0] += 20
            advance(10)
    assert out.getvalue().splitlines() == [
        "encoding 30/100 items  0:02:20 left",
        "encoding 50/100 items  0:01:40 left",
        "encoding 70/100 items  0:01:00 left",
        "encoding 90/100 items  0:00:20 left",
    ]
    with counting.counting("encoding", 10, "items", done=10, out=out) as advance:
        advance(0)
    assert len(out.getvalue().splitlines()) == 4


def test_a_terminal_has_a_bar_that_goes_when_the_work_is_done(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with counting.counting("encoding [b]", 3, "items", out=out) as advance:
        for _ in range(3):
            advance(1)
    assert "encoding [b]" in out.getvalue()
    assert "3/3 items" in without_codes(out.getvalue())
    assert out.getvalue().endswith("\x1b[2K")  # the line is empty again


def _run(folder, **settings):
    toys.save_picture_model(folder)
    stage = {"name": "s", "data": str(toys.picture_rows(folder)), "train": {"connector.image": "full"}}
    stage |= {"batch_size": 6, "logging_steps": 1, "max_steps": 2}
    recipe = {"model": str(folder / "model"), "output": str(folder / "out"), "stages": [stage], **settings}
    return run_recipe(Recipe.model_validate(recipe))


def test_a_run_prints_and_logs_it(tmp_path, capsys):
    done = _run(tmp_path)
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


def test_tensorboard_gets_the_same_figures(tmp_path):
    """In a folder beside the checkpoints, as the Trainer does it."""
    done = _run(tmp_path, report_to=["tensorboard"])
    (events,) = (done / "checkpoints").rglob("events.out.*")
    read = event_accumulator.EventAccumulator(str(events.parent))
    read.Reload()
    log = [entry for entry in json.loads((done / "log.json").read_text()) if "loss" in entry]
    assert [event.value for event in read.Scalars("train/loss_image")] == pytest.approx([e["loss_image"] for e in log])


def _damaged(folder):
    """Seven rows, four of them with a picture that is cut, which only reading it shows; losses of the others."""
    whole, cut = folder / "0.png", folder / "cut.png"
    Image.effect_noise((40, 40), 90).convert("RGB").save(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    said = ["a", "a longer answer", "no"]
    rows = [
        {
            "id": str(n),
            "image": str(whole if n % 2 else cut),
            "conversations": [{"from": "human", "value": "<image>what?"}, {"from": "gpt", "value": said[n // 2 % 3]}],
        }
        for n in range(7)
    ]
    (folder / "damaged.json").write_text(json.dumps(rows))
    return str(folder / "damaged.json"), rows[1::2]


@pytest.mark.parametrize("how", [{"logging_steps": 7}, {"logging_steps": 1}, {"gradient_accumulation": 2}])
def test_a_skipped_row_counts_in_no_mean(tmp_path, capsys, how):
    """Each sample alone, at a rate that changes nothing: the mean over target tokens, whatever was skipped between."""
    toys.save_picture_model(tmp_path)
    path, good = _damaged(tmp_path)
    stage = {"name": "s", "data": {"path": path, "on_error": "skip"}, "batch_size": 1, "epochs": 1, "warmup_ratio": 0}
    stage |= {"train": {"connector.image": {"mode": "full", "learning_rate": 1e-12}}, "logging_steps": 1, **how}
    recipe = {"model": str(tmp_path / "model"), "output": str(tmp_path / "out"), "stages": [stage]}
    done = run_recipe(Recipe.model_validate({**recipe, "report_to": ["tensorboard"]}))
    model, processor = load_pretrained(tmp_path / "model")
    alone = [model(**processor(row, labels=True)) for row in good]
    whole = torch.cat([each.target_losses for each in alone]).mean().item()
    log = json.loads((done / "log.json").read_text())
    logged = [entry["loss"] for entry in log if "loss" in entry]
    if how == {"logging_steps": 7}:
        assert logged == pytest.approx([whole], rel=1e-3)
    if how == {"logging_steps": 1}:
        assert sorted(logged) == pytest.approx(sorted(each.loss.item() for each in alone), rel=1e-3)
        assert capsys.readouterr().out.count("nothing to learn") == 4
    assert log[-1]["train_loss"] == pytest.approx(whole, rel=1e-3)
    for file in ("log.json", "training.json", "run.html", "README.md"):
        assert "nan" not in (done / file).read_text().lower()
    (events,) = (done / "checkpoints").rglob("events.out.*")
    read = event_accumulator.EventAccumulator(str(events.parent))
    read.Reload()
    assert [event.value for event in read.Scalars("train/loss")] == pytest.approx(logged)


def test_what_is_not_installed_cannot_be_reported_to(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a))
    with pytest.raises(KitError, match="report_to: wandb is not installed; pip install wandb"):
        _run(tmp_path, report_to=["wandb"])


def test_the_time_left_is_that_of_this_runs_speed_and_of_the_whole_limit():
    clock = Clock(minutes=2)
    state = TrainerState(max_steps=40, global_step=10)
    state.stateful_callbacks = {"Clock": {"attributes": {"seconds": 50.0}}}
    clock.on_train_begin(None, state, None)
    clock.start -= 10  # seconds of this run
    state.global_step = 20
    assert clock.seconds_left(state) == pytest.approx(20, abs=1)  # a second a step, and not the 50 before
    state.max_steps = 400
    assert clock.seconds_left(state) == pytest.approx(60, abs=1)  # two minutes, of which one has gone
