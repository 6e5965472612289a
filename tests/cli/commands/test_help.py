"""``tinyllava help COMMAND``."""

from __future__ import annotations

from tests.cli.running import run


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
