"""Commands that generate put the model where it is fast."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from tinyllava_kit.checkpoints import loading
from tinyllava_kit.errors import KitError
from tinyllava_kit_cli import app
from tinyllava_kit_cli.commands import ask, chat, eval, show
from tinyllava_kit_cli.generation import load_to_run, placed


@pytest.mark.parametrize(("has_gpu", "device_map"), [(True, "cuda"), (False, None)])
def test_a_model_is_loaded_onto_the_gpu_where_there_is_one(monkeypatch, has_gpu, device_map):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(has_gpu))
    monkeypatch.setattr(loading, "load_model", lambda opened, **how: (opened, how))
    assert load_to_run("opened") == ("opened", {"device_map": device_map})


def test_every_command_that_generates_loads_so():
    assert all(each.load_to_run is load_to_run for each in (ask, chat, eval, show))


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("device", "device_map"), [("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cpu", None)]
)
def test_a_device_is_taken_by_its_name(two_gpus, device, device_map):
    assert placed(device) == {"device_map": device_map}


def test_mps_is_taken_where_it_is_there_and_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KitError, match=r"--device mps is not there; torch .* finds cpu$"):
        placed("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert placed("mps") == {"device_map": "mps"}
    assert placed() == {"device_map": None}


def test_a_device_that_is_not_there_is_refused_with_those_that_are(two_gpus):
    with pytest.raises(KitError, match=r"--device cuda:2 is not there; torch .* finds cpu, cuda:0, cuda:1"):
        placed("cuda:2")


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_dtype_is_torchs(name):
    assert placed("cpu", name) == {"device_map": None, "dtype": getattr(torch, name)}


@pytest.mark.parametrize(
    "line",
    [["ask", "{}", "x"], ["chat", "{}"], ["show", "{}", "x", "-o", "out"], ["eval", "{}", "rows.json", "-o", "out"]],
)
def test_every_command_that_generates_takes_them_and_refuses_alike(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "rows.json").write_text("[]")
    words = [*(word.format("model") for word in line), *(["--scorer", "vqa"] if line[0] == "eval" else [])]
    done = CliRunner().invoke(app.cli, [*words, "--device", "cuda:1"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --device cuda:1 is not there; torch ")
    wrong = CliRunner().invoke(app.cli, [*words, "--device", "gpu"])
    assert wrong.exit_code == 2
    assert "'gpu' is not one of 'auto', 'cpu', 'cuda', 'cuda:N', 'mps'" in wrong.stderr
    wrong = CliRunner().invoke(app.cli, [*words, "--dtype", "float64"])
    assert "'float64' is not one of 'auto', 'float32', 'bfloat16', 'float16'" in wrong.stderr


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_a_temperature_that_is_no_number_is_one_line(value):
    done = CliRunner().invoke(app.cli, ["ask", "model", "what?", "--temperature", value])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Invalid value for '--temperature'")
    assert done.stderr.count("\n") == 1
