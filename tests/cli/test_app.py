"""The frame around every command: help, commands of plugins, exit codes, and mistakes in one line."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.running import command_plugin, run
from tests.fakes import FakeSite
from tinyllava_kit_cli import app

pytestmark = pytest.mark.usefixtures("core")


ROOT = Path(__file__).parents[2]


def test_help_names_every_command_with_its_summary(site: FakeSite) -> None:
    said = run("--help").stdout
    for name in app.COMMANDS:
        assert f"\n  {name} " in said
    assert "List the installed components." in said
    assert run("-h").stdout == said


def test_help_shows_the_commands_of_plugins_and_imports_none(site: FakeSite) -> None:
    site.plugin("adds", command_plugin("dance", "not_there:command", "Moves about."))
    site.plugin("bad", "1 / 0")
    assert "Commands of plugins:\n  dance  Moves about.\n" in run("--help").stdout


DANCE = """
import click

@click.command
@click.argument("partner")
def command(partner):
    click.echo(f"with {partner}")
"""


def test_the_command_of_a_plugin_runs(site: FakeSite) -> None:
    site.module("fake_dance", DANCE)
    site.plugin("adds", command_plugin("dance", "fake_dance:command"))
    assert run("dance", "Ada").stdout == "with Ada\n"


def test_a_command_in_conflict_or_of_the_kits_own_name_runs_by_its_whole_name(site: FakeSite) -> None:
    site.module("fake_dance", DANCE)
    site.plugin("left", command_plugin("dance", "fake_dance:command"))
    site.plugin("right", command_plugin("dance", "fake_dance:command"))
    site.plugin("greedy", command_plugin("list", "fake_dance:command"))
    result = run("dance", "Ada")
    assert result.exit_code == 2
    assert "write 'tinyllava-kit-left/dance' or 'tinyllava-kit-right/dance'" in result.stderr
    assert run("tinyllava-kit-right/dance", "Ada").stdout == "with Ada\n"
    assert run("list", "command").stdout.startswith("command")
    assert run("tinyllava-kit-greedy/list", "Ada").stdout == "with Ada\n"
    said = run("--help").stdout
    assert "  tinyllava-kit-greedy/list " in said
    assert "  tinyllava-kit-left/dance " in said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('bad day')", "cannot import fake_dance:command: ValueError: bad day; run"),
        ("raise SystemExit(0)", "cannot import fake_dance:command: SystemExit: 0"),
        ("raise KeyboardInterrupt", "cannot import fake_dance:command: KeyboardInterrupt; "),
        ("import not_there", "command 'dance': cannot import fake_dance:command: ModuleNotFoundError: No module"),
        ("1 / 0", "; it is of tinyllava-kit-adds 0.1.0\n"),
        ("command = 7", "fake_dance:command must be a click command, got int"),
    ],
)
def test_a_command_that_cannot_be_imported_is_one_line(site: FakeSite, source: str, message: str) -> None:
    site.module("fake_dance", source)
    site.plugin("adds", command_plugin("dance", "fake_dance:command"))
    result = run("dance", "Ada")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_an_unknown_command_gets_the_near_one(site: FakeSite) -> None:
    site.plugin("adds", command_plugin("dance", "a:b"))
    result = run("lits")
    assert (result.exit_code, result.stderr) == (2, "error: no command is called 'lits'; did you mean 'list'?\n")
    assert "did you mean 'dance'?" in run("dnce").stderr


def test_version_is_the_kits() -> None:
    assert run("--version").stdout == "tinyllava, version 0.1.0\n"


def end(monkeypatch: pytest.MonkeyPatch, site: FakeSite, body: str) -> int:
    """The exit code of `main` for a command of that body."""
    lines = "\n    ".join(body.splitlines())
    site.module("fake_end", f"import click\n\n@click.command\ndef command():\n    {lines}\n")
    site.plugin("ends", command_plugin("finish", "fake_end:command"))
    with pytest.raises(SystemExit) as ended:
        app.main(["finish"])
    return ended.value.code or 0


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("click.echo('done')", 0, ""),
        ("return 7", 0, ""),
        ("click.get_current_context().exit(1)", 1, ""),
        ("from tinyllava_kit import KitError\nraise KitError('two\\nlines')", 2, "error: two lines\n"),
        ("raise KeyboardInterrupt", 130, "\n"),
        ("raise click.Abort", 130, ""),
    ],
)
def test_the_exit_code_tells_how_it_ended(
    site: FakeSite,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    body: str,
    code: int,
    said: str,
) -> None:
    assert end(monkeypatch, site, body) == code
    assert capsys.readouterr().err == said


def test_a_bug_keeps_its_traceback(site: FakeSite) -> None:
    site.module("fake_bug", "import click\n\n@click.command\ndef command():\n    1 / 0\n")
    site.plugin("bugs", command_plugin("crash", "fake_bug:command"))
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        app.main(["crash"])


def test_a_usage_error_is_clicks_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app.main(["list", "--jsn"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "No such option" in said
    assert said.endswith(" Did you mean '--json'?; see 'tinyllava list --help'\n")
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--vers"], "No such option '--vers'. Did you mean '--version'?; see 'cli --help'"),
        (["ask"], "Missing argument 'DIRECTORY'; see 'cli ask --help'"),
        (["ask", "model"], "Missing argument 'QUESTION'; see 'cli ask --help'"),
        (["ask", "a", "b", "--seed"], "Option '--seed' requires an argument; see 'cli ask --help'"),
        (
            ["assemble", "--dtype", "flot"],
            "Invalid value for '--dtype': 'flot' is not one of 'float32', 'bfloat16', 'float16'; "
            "see 'cli assemble --help'",
        ),
        (
            ["assemble"],
            "give either a YAML FILE or --llm with --tower and --connector, or --decoder; see 'cli assemble --help'",
        ),
        (["info", "a", "b"], "Got unexpected extra argument (b); see 'cli info --help'"),
    ],
)
def test_a_usage_error_is_one_line_that_names_the_help(words: list[str], said: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: {said}\n"


def test_the_usage_error_of_a_plugins_command_is_one_line(site: FakeSite) -> None:
    choice = "click.Choice(['waltz',\n'tango'])"
    site.module(
        "fake_dance", f"import click\n\n@click.command\n@click.argument('d', type={choice})\ndef command(d): 0\n"
    )
    site.plugin("adds", command_plugin("dance", "fake_dance:command"))
    assert (
        run("dance").stderr
        == "error: Missing argument '{waltz|tango}'. Choose from: waltz, tango; see 'cli dance --help'\n"
    )


def test_the_name_alone_shows_the_help() -> None:
    result = run()
    assert result.exit_code == 2
    assert "Usage: cli [OPTIONS] COMMAND" in result.output
    assert "error:" not in result.output


def spawn(*args: str, setup: str = "") -> subprocess.Popen[str]:
    """``tinyllava ARGS`` in a process of its own."""
    paths = f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'cli')!r}]"
    code = f"import sys; {paths}\n{setup}\nfrom tinyllava_kit_cli.app import main\nmain({list(args)!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background job ignores Ctrl-C, and so would all that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error() -> None:
    with spawn("list", "--json") as process:
        process.stdout.close()
        said = process.stderr.read()
    assert "Traceback" not in said
    assert "Exception" not in said
    assert process.returncode == 141


@pytest.mark.slow
def test_ctrl_c_ends_quietly_with_130() -> None:
    waits = "import tinyllava_kit_cli.commands.list as it, time, sys\n"
    waits += "it.installed_catalog = lambda: (print('here', flush=True), time.sleep(60))"
    with spawn("list", setup=waits) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "\n"
    assert process.returncode == 130


def test_a_file_that_ends_too_early_does_not_end_the_command_without_a_word(monkeypatch):
    @click.command()
    def command():
        raise EOFError("Ran out of input")

    monkeypatch.setattr(app.Commands, "get_command", lambda *_: command)
    with pytest.raises(RuntimeError, match="a file has ended too early: Ran out of input"):
        app.main(["list"])
