"""``list``, ``info``, ``doctor`` and the frame around every command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.fakes import FakeSite, modality, offering, tower
from tinyllava_kit.plugin.doctor import Finding
from tinyllava_kit_cli import app, environment, printing
from tinyllava_kit_cli.table import fit

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def core(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core is installed; of the machine the doctor has one thing to say."""
    site.distribution("tinyllava-kit", version="0.1.0")
    python = Finding(status="ok", name="python", version="3.11.7", detail="/usr/bin/python")
    monkeypatch.setattr(environment, "survey", lambda probe: [python])


def run(*args: str) -> Result:
    """Run ``tinyllava ARGS``; anything but an orderly exit is an error."""
    result = CliRunner().invoke(app.cli, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def command_plugin(name: str, target: str, summary: str = "Does a thing.") -> str:
    return offering("tinyllava_commands", f"CommandSpec(name={name!r}, target={target!r}, summary={summary!r})")


# list


def test_list_is_a_table_of_kind_name_owner_and_summary(site: FakeSite) -> None:
    llm = "LanguageModelSpec(name='tiny', target='a:b', summary='a small one')"
    site.plugin("noses", tower("nose") + modality("smell") + offering("tinyllava_llms", llm))
    assert run("list").stdout.splitlines() == [
        "modality  smell  tinyllava-kit-noses 0.1.0",
        "tower     nose   tinyllava-kit-noses 0.1.0",
        "llm       tiny   tinyllava-kit-noses 0.1.0  a small one",
    ]
    assert run("list", "llm").stdout == "llm  tiny  tinyllava-kit-noses 0.1.0  a small one\n"
    assert run("list").stderr == ""


def test_list_says_how_many_plugins_need_attention_and_where_to_look(site: FakeSite) -> None:
    site.plugin("good", tower("nose"))
    site.plugin("bad", "1 / 0")
    site.plugin("future", "", group="tinyllava_kit.plugins.v2")
    result = run("list")
    assert result.exit_code == 0
    assert result.stdout == "tower  nose  tinyllava-kit-good 0.1.0\n"
    assert result.stderr == "2 plugin(s) need attention; run 'tinyllava doctor'\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_list_fits_the_terminal_and_loses_nothing(site: FakeSite, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    summary = "looks at each of the patches of what it is given, and at no other, " * 2
    llm = f"LanguageModelSpec(name='a_long_name_of_a_model', target='a:b', summary={summary.strip()!r})"
    site.plugin("noses", tower("nose") + offering("tinyllava_llms", llm))
    whole = run("list").stdout
    monkeypatch.setattr(printing, "terminal_width", lambda: width)
    said = run("list").stdout
    assert max(map(len, said.splitlines())) <= width
    assert sorted(said.split()) == sorted(whole.split())
    assert (said == whole) == (width == 200)


def test_a_row_is_wrapped_at_words_and_a_long_word_stays_whole() -> None:
    rows = [("ok", "a", "short"), ("broken", "b", "pip install 'tinyllava-kit[evaluate]' and go on")]
    assert list(fit(rows, 30)) == [
        "ok      a  short",
        "broken  b",
        "    pip install",
        "    'tinyllava-kit[evaluate]'",
        "    and go on",
    ]
    assert list(fit(rows, 7)) == [
        "ok",
        "    a",
        "    short",
        "broken",
        "    b",
        "    pip",
        "    install",
        "    'tinyllava-kit[evaluate]'",
        "    and",
        "    go",
        "    on",
    ]
    assert list(fit([], 80)) == []


def test_a_conflict_is_one_row_with_both_owners(site: FakeSite) -> None:
    site.plugin("left", tower("nose"))
    site.plugin("right", tower("nose"))
    result = run("list")
    assert result.stdout == (
        "tower  nose  CONFLICT  offered by tinyllava-kit-left, tinyllava-kit-right: write DISTRIBUTION/nose\n"
    )
    assert result.stderr.startswith("2 plugin(s) need attention")


def test_list_as_json_has_a_row_for_each_offer(site: FakeSite) -> None:
    site.plugin("left", tower("nose"))
    site.plugin("right", tower("nose"))
    rows = json.loads(run("list", "tower", "--json").stdout)
    both = ["tinyllava-kit-left", "tinyllava-kit-right"]
    assert rows[0] == {
        "kind": "tower",
        "name": "nose",
        "distribution": "tinyllava-kit-left",
        "version": "0.1.0",
        "plugin": "left",
        "summary": "",
        "conflict": both,
    }
    assert [row["distribution"] for row in rows] == both


def test_an_empty_list_says_so_on_stderr() -> None:
    result = run("list", "decoder")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr == "no decoder is installed; add a plugin with pip install\n"
    assert run("list", "decoder", "--json").stdout == "[]\n"


def test_an_unknown_kind_gets_the_near_one() -> None:
    result = run("list", "towers")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: no kind of component is called 'towers'; did you mean 'tower'?\n"


# info


TOWER = """TowerSpec(
    name='nose', target='fake.nose:Nose', summary='smells things', modality='smell', model_types=('snout', 'beak'),
    checkpoint='kennel/snout-small', options=(
        Option(name='layer', type=int, default=-2, help='which layer to read'),
        Option(name='select', default='patch', choices=('patch', 'all')),
        Option(name='limit', type=float, default=None, help='parts per million'),
    ))"""


def test_info_shows_all_facts_of_a_spec_without_importing_it(site: FakeSite) -> None:
    site.plugin("noses", offering("tinyllava_towers", TOWER))
    assert run("info", "nose").stdout.splitlines() == [
        "tower nose: smells things",
        "  from         tinyllava-kit-noses 0.1.0 (plugin noses)",
        "  target       fake.nose:Nose",
        "  modality     smell",
        "  model types  snout, beak",
        "  checkpoint   kennel/snout-small",
        "  options",
        "    layer   int                default -2     which layer to read",
        "    select  one of patch, all  default patch",
        "    limit   float              default none   parts per million",
    ]


def test_info_as_json_keeps_types(site: FakeSite) -> None:
    site.plugin("noses", offering("tinyllava_towers", TOWER))
    (facts,) = json.loads(run("info", "tinyllava-kit-noses/nose", "--json").stdout)
    assert (facts["kind"], facts["modality"], facts["model_types"]) == ("tower", "smell", ["snout", "beak"])
    assert facts["options"][0] == {
        "name": "layer",
        "type": "int",
        "default": -2,
        "choices": [],
        "required": False,
        "bounds": "",
        "help": "which layer to read",
    }


def test_info_shows_every_kind_of_a_name(site: FakeSite) -> None:
    site.plugin("noses", modality("smell", placeholder="<sniff>") + tower("smell"))
    said = run("info", "smell").stdout
    assert "modality smell\n" in said
    assert "  placeholder  <sniff>\n" in said
    assert "\n\ntower smell\n" in said
    assert said.endswith("  no options\n")


def test_info_shows_both_sides_of_a_conflict(site: FakeSite) -> None:
    site.plugin("left", tower("nose"))
    site.plugin("right", tower("nose"))
    assert run("info", "nose").stdout.count("tower nose") == 2
    assert run("info", "tinyllava-kit-left/nose").stdout.count("tower nose") == 1


def test_info_reads_what_the_name_of_a_family_says(site: FakeSite) -> None:
    family = r"ConnectorSpec(name='mlp2x', target='a:b', pattern=r'mlp(?P<depth>\d+)x')"
    site.plugin("family", offering("tinyllava_connectors", family))
    assert "  name options  depth = 7\n" in run("info", "mlp7x").stdout


def test_info_of_an_unknown_name_gives_the_near_one(site: FakeSite) -> None:
    site.plugin("noses", tower("nose"))
    result = run("info", "nos")
    assert result.exit_code == 2
    assert result.stderr == "error: no component is called 'nos'; did you mean 'nose'? ('tinyllava list' shows all)\n"


# doctor


def test_doctor_of_a_healthy_installation_exits_with_0(site: FakeSite) -> None:
    site.plugin("noses", tower("nose") + modality("smell"))
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "ok  python  3.11.7                     /usr/bin/python",
        "ok  noses   tinyllava-kit-noses 0.1.0  modality smell; tower nose",
    ]


def test_doctor_of_a_faulty_installation_exits_with_1_and_ends_rows_with_the_fix(site: FakeSite) -> None:
    site.plugin("noses", tower("nose") + modality("smell"))
    site.plugin("needy", "import not_installed_here", requires=["nowhere>=3"])
    result = run("doctor")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "broken  needy                tinyllava-kit-needy 0.1.0  ModuleNotFoundError: No module named "
        "'not_installed_here' -> pip install what it needs (module 'not_installed_here'); or set "
        "TINYLLAVA_DISABLED_PLUGINS=needy",
        "unmet   tinyllava-kit-needy  tinyllava-kit-needy 0.1.0  requires nowhere>=3, not installed "
        "-> pip install 'nowhere>=3'",
        "ok      python               3.11.7                     /usr/bin/python",
        "ok      noses                tinyllava-kit-noses 0.1.0  modality smell; tower nose",
    ]
    assert result.stderr == "2 finding(s) need attention\n"


def test_doctor_as_json(site: FakeSite) -> None:
    site.plugin("bad", "1 / 0")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    row, about_python = json.loads(result.stdout)
    assert set(row) == set(about_python)
    assert set(row) == {"status", "name", "distribution", "version", "detail", "fix"}
    assert row["status"] == "broken"


def test_doctor_probe_imports_the_targets(site: FakeSite) -> None:
    site.plugin("adds", command_plugin("dance", "not_there:command"))
    assert run("doctor").exit_code == 0
    result = run("doctor", "--probe")
    assert result.exit_code == 1
    assert " ".join(result.stdout.split()).startswith(
        "failed dance tinyllava-kit-adds 0.1.0 command 'dance' (not_there:command): "
    )


# the frame


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
