"""``tinyllava merge`` on what is wrong: one line, before a model is read. What it writes is tested with adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinyllava_kit
from tests.cli.running import refusal

pytestmark = pytest.mark.usefixtures("runs")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["runs/joint", "new"], "Missing option '--adapters'"),
        (
            ["runs/jont", "new", "--adapters", "runs/joint"],
            "no model directory 'runs/jont'; did you mean",
        ),
        (["runs/joint", "runs", "--adapters", "runs/joint"], "'runs' exists and is not empty; choose another one"),
        (["runs/joint", "new", "--adapters", "runs/jont"], "no directory 'runs/jont'; did you mean 'runs/joint'?"),
        (["runs/joint", "new", "--adapters", "nowhere"], "no directory 'nowhere'; give one of a stage"),
        (["runs/joint", "new", "--adapters", "empty", "--adapters", "gone"], "no directory 'gone'"),
    ],
)
def test_a_wrong_turn_is_told_before_the_model_is_read(words, match, monkeypatch, capfd):
    monkeypatch.setattr(tinyllava_kit, "load_pretrained", lambda *_: pytest.fail("the model was read"))
    assert match in refusal(capfd, "merge", *words)
    assert not Path("new").exists()
