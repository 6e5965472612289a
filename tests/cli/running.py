"""``tinyllava`` in this process, and what a mistake looks like."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from tests import toys
from tests.fakes import offering
from tests.processes import tinyllava
from tinyllava_kit_cli import app

# What writes to a terminal and turns text around, and how the command line shows it.
ATTACK = "\x1b]0;pwned\x07\x1b[2J\u202e"
SHOWN = "\\x1b]0;pwned\\x07\\x1b[2J\\u202e"
# What `assemble` makes a model of, in a folder where `toys.save_llama` has written ``llm``.
PARTS = ["--llm", "llama:llm", "--tower", f"image=clip:{toys.CLIP}", "--connector", "image=mlp2x_gelu"]


def run(*words: str) -> Result:
    """Run ``tinyllava WORDS``; anything but an orderly exit is an error."""
    result = CliRunner().invoke(app.cli, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def in_this_process(*words, capfd):
    """The same as a shell would see it, with what is printed past click."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        app.main([*map(str, words)])
    return subprocess.CompletedProcess(words, ended.value.code or 0, *capfd.readouterr())


def assembled_in(folder: Path) -> Path:
    """The folder, with checkpoints, ``rows.json``, pictures and the ``model`` that `PARTS` make."""
    toys.save_llama(folder / "llm")
    toys.picture_rows(folder)
    made = tinyllava("assemble", *PARTS, "-o", "model", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder


def write_recipe(folder: Path, name: str = "recipe.yaml", **stage: object) -> str:
    """A recipe of two steps of the connector on ``rows.json``; its name."""
    stage = {
        "name": "joint",
        "data": "rows.json",
        "train": {"connector.image": "full"},
        "max_steps": 2,
        "batch_size": 2,
        **stage,
    }
    (folder / name).write_text(yaml.safe_dump({"model": "model", "output": f"runs-{name}", "stages": [stage]}))
    return name


def refused(done, match):
    """One line on stderr, no traceback, exit code 2."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(errors) == 1, done.stderr
    assert match in errors[0]


def command_plugin(name: str, target: str, summary: str = "Does a thing.") -> str:
    """The source of a plugin that offers a command."""
    return offering("tinyllava_commands", f"CommandSpec(name={name!r}, target={target!r}, summary={summary!r})")


def refusal(capfd, *words) -> str:
    """What a command says on standard error, where it ends with 2."""
    done = in_this_process(*words, capfd=capfd)
    said = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert (done.returncode, len(said)) == (2, 1), said
    return said[0]
