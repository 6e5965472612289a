"""Completion in bash, which takes words apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import FakeSite
from tinyllava_kit_cli.bash import glued

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["--tower", "image", "=", "clip", ":", "di", "-o"], ["--tower", "image=clip:di", "-o"]),
        (["--tower", "=", "image", "=", ""], ["--tower=image="]),
        (["ask", "model", ""], ["ask", "model", ""]),
        ([], []),
    ],
)
def test_words_that_bash_took_apart_are_put_together(pieces: list[str], words: list[str]) -> None:
    assert glued(pieces) == words


BASH = """
eval "$(_TINYLLAVA_COMPLETE=bash_source tinyllava)"
compopt() { local IFS=' '; echo "compopt $*"; }
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _tinyllava_completion tinyllava
    echo "${COMPREPLY[*]}"
}
try tinyllava assemble --tower smell = no
try tinyllava assemble --tower = smell = ""
try tinyllava ask model --item sm
try tinyllava ask model --item smell = mo
try tinyllava assemble --llm tiny : ""
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.slow
def test_bash_replaces_the_last_piece_of_a_word_alone(senses: Path, site: FakeSite, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "tinyllava"
    program.parent.mkdir()
    paths = [str(site.folder), str(ROOT), str(ROOT / "cli")]
    only = f"metadata.DistributionFinder.Context.path = property(lambda _: [{str(site.folder)!r}])"
    code = f"import sys; sys.path[:0] = {paths!r}; from importlib import metadata; {only}"
    program.write_text(f"#!{sys.executable}\n{code}\nfrom tinyllava_kit_cli.app import main\nmain()\n")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", BASH], cwd=senses, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == [
        "nose",
        "nose",
        "compopt -o nospace",
        "smell=",
        "compopt -o default",
        "",
        "compopt -o dirnames",
        "",
    ]
