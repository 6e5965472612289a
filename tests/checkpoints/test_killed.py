"""A process that is killed while it saves leaves what was there before."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch

from tests.golden_models import GOLDEN
from tests.processes import start
from tinyllava_kit import load_pretrained

pytestmark = pytest.mark.slow

CASE = GOLDEN / "tinyllama_clip_linear"
# Saves, and stops for good before the file of weights is there, or behind it.
SAVE = """
import sys, time
from tinyllava_kit import load_pretrained
import tinyllava_kit.checkpoints.conversion as conversion
from tinyllava_kit.model.storage.recognition import open_external
source, target, when = sys.argv[1:]
save = conversion.save_file
def stop(*args, **kwargs):
    if when == "behind":
        save(*args, **kwargs)
    print("here", flush=True)
    time.sleep(600)
conversion.save_file = stop
conversion.convert(open_external(source), target)
"""


@pytest.mark.parametrize("when", ["before", "behind"])
@pytest.mark.parametrize("there", [False, True])
def test_a_kill_in_the_middle_of_a_conversion_changes_nothing(tmp_path, when, there):
    target = tmp_path / "out"
    if there:
        for part in load_pretrained(GOLDEN / "tinyllama_clip_mlp2x_gelu"):
            part.save_pretrained(target)
    before = {f.name: f.read_bytes() for f in target.iterdir()} if there else None
    process = start(["-c", SAVE, str(CASE), str(target), when])
    process.until(lambda: process.said == "here\n")
    process.send(signal.SIGKILL)
    assert process.end()[0] == -signal.SIGKILL
    if not there:
        assert not target.exists()
        return
    assert {f.name: f.read_bytes() for f in target.iterdir()} == before
    model, _ = load_pretrained(target)
    assert isinstance(model.connectors["image"].layers[2], torch.nn.Linear)


def test_what_a_killed_process_left_beside_is_removed_by_the_next(tmp_path):
    left = tmp_path / ".out.unfinished-abcdefgh"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    old = time.time() - 3 * 24 * 3600
    os.utime(left, (old, old))
    young = tmp_path / ".out.unfinished-12345678"  # another process may be at work there
    young.mkdir()
    for part in load_pretrained(CASE):
        part.save_pretrained(tmp_path / "out")
    assert sorted(f.name for f in tmp_path.iterdir()) == [young.name, "out"]
