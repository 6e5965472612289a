"""``tinyllava convert`` on what is wrong: one line, exit code 2, nothing written."""

from __future__ import annotations

import pytest

from tests.cli.running import refusal
from tests.golden_models import GOLDEN

CASE = GOLDEN / "tinyllama_clip_mlp2x_gelu"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--reference", "gone"], "'gone' does not exist"),
        (["--reference", CASE / "model.safetensors"], "not a reference: it has no in.input_ids"),
        (["--names-from", "gone"], "'gone' does not exist"),
        (["--from", "llava_hf"], "its config.json is of 'factory'"),
        (["--from", "others"], "no checkpoint is called 'others'; known: factory, llava_hf, llava_legacy"),
        (["--template", "nothing"], "no template is called 'nothing'"),
    ],
)
def test_a_conversion_that_cannot_be_is_refused_before_anything_is_written(tmp_path, monkeypatch, words, match, capfd):
    monkeypatch.chdir(tmp_path)
    assert match in refusal(capfd, "convert", CASE, "out", *words)
    assert list(tmp_path.iterdir()) == []
