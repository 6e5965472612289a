"""``tinyllava serve``: what is wrong is one line before anything is loaded; and it serves."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request

import pytest
from click.testing import CliRunner

from tests import toys
from tests.processes import start
from tinyllava_kit.plugin import extras
from tinyllava_kit.serving.limits import Limits
from tinyllava_kit_cli.app import cli
from tinyllava_kit_cli.commands import serve


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return str(toys.save_picture_model(tmp_path_factory.mktemp("served")))


def run(*words, **environment):
    return CliRunner(env=environment).invoke(cli, ["serve", *words])


def refused(result, message):
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().split("\n")
    assert message in line


def test_a_directory_that_is_no_model_and_a_wrong_option_are_one_line(directory, tmp_path):
    (tmp_path / "limits.yaml").write_text("items: many")
    refused(run(str(tmp_path)), "is not a model directory: it has no config.json")
    refused(run(str(tmp_path / "nothing")), "nothing")
    refused(run(directory, "--api-key", "short"), "the key has 5 characters; 16 are the least")
    refused(run(directory, TINYLLAVA_API_KEY=""), "the key has 0 characters; 16 are the least")
    refused(run(directory, "--api-key", "k" * 20 + "é"), "the key holds characters that no header can")
    refused(run(directory, "--limit", "items"), "--limit 'items': expected NAME=VALUE")
    refused(run(directory, "--limit", "itms=3"), "no limit is called 'itms'; did you mean 'items'?")
    refused(run(directory, "--limit", "items=-1"), "limit items: Input should be greater than or equal to 1, got '-1'")
    refused(run(directory, "--limits", str(tmp_path / "limits.yaml")), "limit items: Input should be a valid integer")
    refused(run(directory, "--host", "256.0.0.1"), "--host 256.0.0.1")
    refused(run(directory, "--port", "99999"), "99999")
    for engine in ("vllm", "sglang=http://127.0.0.1:1", "vllm=127.0.0.1:1"):
        refused(run(directory, "--engine", engine), f"--engine {engine!r}: expected vllm=URL, such as vllm=http://")


def test_a_port_in_use_is_one_line(directory):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(run(directory, "--port", str(port)), f"cannot listen on 127.0.0.1:{port}: Address already in use")


def test_a_missing_package_names_the_extra(directory, monkeypatch):
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "python_multipart" else found(name))
    refused(run(directory), "serve needs python_multipart; pip install 'tinyllava-kit[serve]'")


def test_limits_come_from_a_file_and_from_options(tmp_path):
    (tmp_path / "limits.yaml").write_text("items: 3\nseconds: 1.5")
    made = serve._limits(("items=5",), str(tmp_path / "limits.yaml"))
    assert made == Limits(items=5, seconds=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(directory, told):
    words = ["-m", "tinyllava_kit_cli", "serve", directory, "--port", "0", "--name", "mine"]
    key = "a-key-of-many-letters"
    with start(words, env={"TINYLLAVA_API_KEY": key}) as process:
        process.until(lambda: "Ctrl-C ends\n" in process.errors)
        address = re.search(r"^(http://127\.0\.0\.1:\d+/v1); Ctrl-C ends$", process.errors, flags=re.MULTILINE)[1]
        request = urllib.request.Request(f"{address}/models", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            (card,) = json.load(answer)["data"]
        process.send(told)
        code, _, errors = process.end(60)
    assert code in (0, 128 + told, -told)
    assert (card["id"], card["reads"]) == ("mine", ["text", "image"])
    assert key not in errors
    assert "Traceback" not in errors
