"""What reaches a terminal, a pipe, a full disk or nobody."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from tests.cli.running import ATTACK, SHOWN
from tests.fakes import FakeSite, offering
from tinyllava_kit_cli import app
from tinyllava_kit_cli.printing import say, say_table

CLI = Path(app.__file__).parent


def test_only_one_module_prints() -> None:
    for file in CLI.rglob("*.py"):
        used = re.findall(r"\bclick\.s?echo\(|\bprint\(|sys\.stdout\.write", file.read_text(encoding="utf-8"))
        assert bool(used) == (file.name == "printing.py"), file


@pytest.fixture
def attacked(site: FakeSite) -> None:
    """Plugins whose every text is an attack."""
    site.distribution("tinyllava-kit", version="0.1.0")
    option = f"Option(name='depth', help={ATTACK!r})"
    spec = f"LanguageModelSpec(name='tiny', target='a:b', summary={ATTACK!r}, options=({option},))"
    site.plugin("odd", offering("tinyllava_llms", spec))
    site.plugin("bad", f"raise ValueError({ATTACK!r})")
    command = f"CommandSpec(name='dance', target='a:b', summary={ATTACK!r})"
    site.plugin("adds", offering("tinyllava_commands", command))


@pytest.mark.usefixtures("attacked")
@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["info", "tiny"],
        pytest.param(["doctor"], marks=pytest.mark.slow),  # imports torch in a process of its own
        ["--help"],
        ["info", ATTACK],
        [ATTACK],
        ["list", ATTACK],
    ],
    ids=range(7),
)
def test_what_plugins_say_is_escaped(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(words)
    said = "".join(capsys.readouterr())
    assert "pwned" in said
    assert not re.search("[\x07\x1b\u202e]", said)


@pytest.mark.usefixtures("attacked")
def test_json_has_what_plugins_say(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(["list", "llm", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["summary"] == ATTACK


def test_a_style_is_ours_and_the_text_in_it_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(f"{ATTACK}\n\tx", bold=True)
    assert capsys.readouterr().out == f"{SHOWN}\n\tx\n"
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        say("a\x1b[2Jb", bold=True)
        assert os.read(ours, 1000) == b"\x1b[1ma\\x1b[2Jb\x1b[0m\r\n"


def test_a_table_is_as_wide_as_a_terminal_and_of_whole_lines_elsewhere(monkeypatch):
    rows = [["PART", "WORDS"], ["[b]llm[/b]", f"{ATTACK} " + "word " * 30]]
    shown = {}
    for is_terminal in (True, False):
        out = io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(out, "isatty", lambda is_terminal=is_terminal: is_terminal)
        monkeypatch.setenv("COLUMNS", "60")
        say_table(rows)
        shown[is_terminal] = out.getvalue()
    assert shown[False].splitlines()[0].split() == ["PART", "WORDS"]
    assert len(shown[False].splitlines()) == 2
    assert max(map(len, shown[True].splitlines())) <= 60
    for text in shown.values():
        assert "[b]llm[/b]" in text
        assert text.count("word") == 30
        assert "\x1b" not in text
