"""Conversion: the written model is the one that was read, shard by shard, whole or not at all."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.golden_models import GOLDEN
from tests.limits import FULL_DISK, run_limited
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints import conversion
from tinyllava_kit.checkpoints.conversion import convert, table_of
from tinyllava_kit.checkpoints.external.mapping import WeightRow
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.model.storage.recognition import open_external

CASE = GOLDEN / "tinyllama_clip_qformer"


@pytest.fixture(scope="module")
def external():
    return open_external(CASE)


@pytest.mark.parametrize("shard_bytes", [100_000, conversion.SHARD_BYTES])
def test_what_is_written_is_what_load_pretrained_gives(external, tmp_path, shard_bytes):
    convert(external, tmp_path / "out", shard_bytes=shard_bytes)
    written, ours = load_pretrained(tmp_path / "out")
    read, theirs = load_pretrained(CASE)
    assert written.state_dict().keys() == read.state_dict().keys()
    assert all(torch.equal(v, read.state_dict()[k]) for k, v in written.state_dict().items())
    assert ours.preprocessors["image"].settings() == theirs.preprocessors["image"].settings()
    assert written.generation_config.eos_token_id == read.generation_config.eos_token_id == 2
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) == (1 if shard_bytes > 10**6 else 12)
    assert all(sum(t.nbytes for t in load_file(f).values()) <= shard_bytes for f in files)
    assert not list((tmp_path / "out").glob("*.bin"))


def test_one_shard_is_in_memory_at_a_time(external, tmp_path, monkeypatch):
    """Every tensor is read once, between the writing of the shard before its own and that of its own."""
    events = []
    save = conversion.save_file
    monkeypatch.setattr(
        conversion, "save_file", lambda state, *a, **k: (events.append(len(state)), save(state, *a, **k))
    )
    read = conversion._read
    monkeypatch.setattr(conversion, "_read", lambda *args: (events.append("read"), read(*args))[1])
    convert(external, tmp_path / "out", shard_bytes=100_000)
    counts, waiting = [], 0
    for event in events:
        if event == "read":
            waiting += 1
        else:
            assert waiting == event
            counts.append(event)
            waiting = 0
    assert sum(counts) == len(external.tensors)


def test_weights_are_written_in_the_dtype_that_is_asked_for(external, tmp_path):
    convert(external, tmp_path / "out", dtype=torch.bfloat16)
    written, _ = load_pretrained(tmp_path / "out")
    read, _ = load_pretrained(CASE, dtype=torch.bfloat16)
    assert written.dtype == read.dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(written.parameters(), read.parameters(), strict=True))


def test_every_key_of_the_checkpoint_and_of_the_model_is_in_the_table(external):
    theirs = load_file(CASE / "model.safetensors").keys()
    keys = [row.external_key for row in external.rows if row.external_key]
    assert sorted(keys) == sorted(theirs)
    model, _ = load_pretrained(CASE)
    assert sorted(row.key for row in external.rows if row.key) == sorted(model.state_dict())
    head, *rows = table_of(external.rows)
    assert head == ["CHECKPOINT", "HERE", "KEYS", "NOTE"]
    assert sum(int(row[2]) for row in rows) == len(external.rows)


def test_keys_that_differ_in_the_layer_alone_share_a_line():
    rows = [WeightRow(f"a.{n}.w", f"b.{n}.w") for n in range(12)] + [WeightRow("a.3.v", "", "left out")]
    assert table_of(rows)[1:] == [["a.*.w", "b.*.w", "12", ""], ["a.*.v", "-", "1", "left out"]]


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(tmp_path):
    """In a process that may write no more than 200 KB to a file."""
    done = run_limited("convert", str(CASE), str(tmp_path / "out"), file_bytes=200_000)
    assert done.returncode == 2
    assert re.search(rf"error: cannot save '.*out': .*{FULL_DISK}", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_stays_when_the_disk_is_full(external, tmp_path, monkeypatch):
    convert(external, tmp_path / "out")
    before = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "save_file", full)
    with pytest.raises(KitError, match=r"cannot save '.*out': .*No space left.*; the earlier content is unchanged"):
        convert(external, tmp_path / "out")
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()} == before


def test_a_configuration_says_the_dtype(external, tmp_path):
    convert(external, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"


def test_the_licence_of_a_model_card_is_that_of_every_part(tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(CASE, folder, ignore=shutil.ignore_patterns("scenarios"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    external = open_external(folder, names_from=str(GOLDEN))
    assert external.notes[-1] == "its model card says: licence apache-2.0"
    convert(external, tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    parts = (config["llm"], config["towers"]["image"], config["connectors"]["image"])
    assert [part["licence"] for part in parts] == ["apache-2.0"] * 3
