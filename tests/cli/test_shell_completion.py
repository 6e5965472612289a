"""What a shell completes, and ``help COMMAND``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fakes import FakeSite, offering, tower
from tinyllava_kit_cli import app
from tinyllava_kit_cli.bash import glued

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def place(site: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a picture and rows; two towers of two senses, a connector, an LLM, a command."""
    connector = "ConnectorSpec(name='linear', target='a:b', summary='one layer')"
    llm = "LanguageModelSpec(name='tiny', target='a:b')"
    senses = [
        f"ModalitySpec(name={name!r}, target='a:b', token=TokenType(placeholder='<{name}>'))"
        for name in ("smell", "taste")
    ]
    site.plugin("senses", offering("tinyllava_modalities", *senses))
    site.plugin("noses", tower("nose") + offering("tinyllava_connectors", connector) + offering("tinyllava_llms", llm))
    site.plugin("tongues", tower("tongue", modality="taste"))
    site.plugin(
        "judges",
        offering(
            "tinyllava_scorers", "ScorerSpec(name='exact', target='a:b')", "ScorerSpec(name='loose', target='a:b')"
        )
        + offering("tinyllava_benchmarks", "BenchmarkSpec(name='task', target='a:b')"),
    )
    site.plugin("adds", offering("tinyllava_commands", "CommandSpec(name='dance', target='gone:it', summary='Moves.')"))
    folder = tmp_path / "here"
    for name in ("model", ".hidden"):
        (folder / name).mkdir(parents=True)
    for name in ("a.png", "rows.json"):
        (folder / name).touch()
    monkeypatch.chdir(folder)
    return folder


def completed(line: str, monkeypatch, capsys, shell: str = "zsh") -> list[str]:
    """What may stand where the line ends, as the function of that shell is told."""
    words = line.split(" ")
    monkeypatch.setenv("_TINYLLAVA_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        app.main([])
    assert ended.value.code == 0
    out = capsys.readouterr().out.splitlines()
    if out == [""]:
        return []
    if shell == "zsh":
        return [
            value.replace("\\:", ":") if kind == "plain" else kind
            for kind, value in zip(out[::3], out[1::3], strict=True)
        ]
    pairs = [each.partition(",")[::2] for each in out]
    return [value.partition("\t")[0] if kind == "plain" else kind for kind, value in pairs]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("tinyllava inf", ["info"]),
        ("tinyllava dan", ["dance"]),
        ("tinyllava list t", ["tower", "template"]),
        ("tinyllava info n", ["nose"]),
        ("tinyllava info ", ["smell", "taste", "nose", "tongue", "linear", "tiny", "exact", "loose", "task", "dance"]),
        ("tinyllava assemble --llm t", ["tiny"]),
        ("tinyllava assemble --llm tiny:", ["tiny:model/"]),
        ("tinyllava assemble --tower ", ["smell=", "taste="]),
        ("tinyllava assemble --tower smell=", ["smell=nose"]),
        ("tinyllava assemble --tower=taste=t", ["taste=tongue"]),
        ("tinyllava assemble --tower taste=tongue:mo", ["taste=tongue:model/"]),
        ("tinyllava assemble --connector taste=", ["taste=linear"]),
        ("tinyllava ask ", ["dir"]),
        ("tinyllava ask model --item sm", ["smell="]),
        ("tinyllava ask model --item smell=", ["smell=a.png", "smell=model/", "smell=rows.json"]),
        ("tinyllava ask model --item smell=.h", ["smell=.hidden/"]),
        ("tinyllava ask model --smell ", ["file"]),
        ("tinyllava ask model --sm", ["--smell"]),
        ("tinyllava ask model --device c", ["cpu", "cuda"]),
        ("tinyllava eval model --scorer exact", ["exact"]),
        ("tinyllava eval model --scorer ", ["exact", "loose"]),
        ("tinyllava eval model ", ["task", "a.png", "model/", "rows.json"]),
        ("tinyllava train ", ["file"]),
        ("tinyllava help ex", ["export"]),
        ("tinyllava ask nowhere/at/all --item smell=gone/", []),
    ],
)
def test_a_word_is_completed(line: str, wanted: list[str], shell: str, monkeypatch, capsys) -> None:
    assert completed(line, monkeypatch, capsys, shell) == wanted


def test_a_command_that_is_none_or_is_broken_gives_nothing_and_no_error(monkeypatch, capsys) -> None:
    for line in ("tinyllava nonsense --x", "tinyllava dance --x"):
        assert completed(line, monkeypatch, capsys) == []
        assert capsys.readouterr().err == ""


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
def test_bash_replaces_the_last_piece_of_a_word_alone(place: Path, site: FakeSite, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "tinyllava"
    program.parent.mkdir()
    paths = [str(site.folder), str(ROOT), str(ROOT / "cli")]
    only = f"metadata.DistributionFinder.Context.path = property(lambda _: [{str(site.folder)!r}])"
    code = f"import sys; sys.path[:0] = {paths!r}; from importlib import metadata; {only}"
    program.write_text(f"#!{sys.executable}\n{code}\nfrom tinyllava_kit_cli.app import main\nmain()\n")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", BASH], cwd=place, env=environment, capture_output=True, text=True, timeout=120)
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


# help


def run(*words: str):
    return CliRunner().invoke(app.cli, [*words])


def test_help_of_a_command_is_what_its_option_shows() -> None:
    for words in (["train"], ["ask"], ["data"], ["data", "check"], ["help"]):
        assert run("help", *words).output == run(*words, "--help").output
    assert run("help").output == run("--help").output


def test_help_of_what_is_no_command_gets_the_near_one() -> None:
    for words, match in (
        (["trian"], "no command is called 'trian'; did you mean 'train'?"),
        (["data", "chek"], "'cli data' has no command 'chek'; did you mean 'check'?"),
        (["list", "tower"], "'cli list' has no commands of its own, got 'tower'"),
    ):
        done = run("help", *words)
        assert done.exit_code == 2
        assert done.stderr == f"error: {match}\n"
