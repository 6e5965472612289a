"""Items on a command line: in its order, and what is asked of their files before anything is read."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.fakes import FakeSite, offering
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.errors import KitError
from tinyllava_kit_cli.items import ITEMS, AnswersCommand, answers_of, items_of, need_packages


def test_the_packages_of_a_strangers_modality_are_asked_for(site: FakeSite) -> None:
    spec = "ModalitySpec(name='smell', target='a:b', token=TokenType(placeholder='<smell>'), packages=('sniffer',))"
    site.plugin("noses", offering("tinyllava_modalities", spec))
    need_packages(["taste"])
    with pytest.raises(KitError, match="a file of smell needs sniffer; pip install sniffer"):
        need_packages(["smell"])


@click.command(cls=AnswersCommand)
@click.argument("question")
@click.option("--item", ITEMS, multiple=True, expose_value=False)
@click.option("--write", "writes", multiple=True)
@click.pass_context
def command(ctx: click.Context, question: str, writes: tuple[str, ...]) -> None:
    FOUND[:] = [items_of(ctx), answers_of(ctx, writes), question]


FOUND: list[object] = []
SMELL = "ModalitySpec(name='smell', target='a:b', token=TokenType(placeholder='<smell>'), verb='perfume')"
DEEP = "ModalitySpec(name='deep_taste', target='a:b', token=TokenType(placeholder='<taste>'))"


@pytest.fixture
def given(site: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a command line of files a, b and c gives: its items, its answers and its question."""
    site.plugin("senses", offering("tinyllava_modalities", SMELL, DEEP))
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c", "a=b"):
        (tmp_path / name).touch()

    def run(*words: str) -> list[object]:
        FOUND.clear()
        done = CliRunner().invoke(command, [*words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return FOUND

    return run


@pytest.mark.parametrize(
    "line",
    [
        "--smell a --deep-taste b --smell c what?",
        "--item smell=a --item deep_taste=b --item smell=c what?",
        "--smell a --item deep_taste=b --smell=c what?",
        "--item smell=a --deep-taste=b what? --item=smell=c",
        "what? --smell a --item deep_taste=b --item smell=c",
    ],
)
def test_items_are_in_the_order_of_the_line_however_they_are_given(given, line: str) -> None:
    items, _, question = given(*line.split())
    assert items == [Item("smell", "a"), Item("deep_taste", "b"), Item("smell", "c")]
    assert question == "what?"


def test_a_line_without_items_has_none_and_a_file_may_hold_an_equals_sign(given) -> None:
    assert given("what?") == [[], {}, "what?"]
    assert given("--smell", "a=b", "--item", "smell=a=b", "x")[0] == [Item("smell", "a=b")] * 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--item a x", "--item needs MODALITY=FILE, got 'a'"),
        ("--smell gone x", "cannot open 'gone': No such file or directory"),
        ("--item smell=gone x", "cannot open 'gone': No such file or directory"),
        (
            "--write smell=a --perfume b x",
            "--write names 'smell' twice; an answer's items of one modality",
        ),
        ("--write smell x", "--write needs MODALITY=FILE, got 'smell'"),
        ("--perfume gone/b x", "cannot write 'gone/b': its folder "),
    ],
)
def test_a_wrong_word_is_one_line(given, line: str, message: str) -> None:
    with pytest.raises(KitError, match=message):
        given(*line.split())


def test_answers_are_files_by_modality(given, tmp_path: Path) -> None:
    assert given("--perfume", "new", "x")[1] == given("--write", "smell=new", "x")[1] == {"smell": "new"}
    (tmp_path / "folder").mkdir()
    with pytest.raises(KitError, match="cannot write 'folder': it is a folder; give the name of a file in it"):
        given("--perfume", "folder", "x")


def test_a_flag_that_the_command_has_already_is_the_commands(site: FakeSite) -> None:
    spec = "ModalitySpec(name='write', target='a:b', token=TokenType(placeholder='<write>'))"
    site.plugin("senses", offering("tinyllava_modalities", spec))
    flags = [option for param in command.get_params(click.Context(command)) for option in param.opts]
    assert flags.count("--write") == 1
