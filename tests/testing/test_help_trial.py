"""A command's help as a child shows it: here in this process."""

from __future__ import annotations

import sys

import pytest

from tests.fakes import FakeSite
from tinyllava_kit.testing import help_trial
from tinyllava_kit.testing.help_trial import show_help

RUDE = """
import click

class Rude(click.Command):
    def get_help(self, ctx):
        raise OSError("no help")

command = Rude("rude")
"""
COMMAND = "import click\n{}\n\n@click.command()\ndef command():\n    '''Dance.'''\n"


def test_a_light_command_has_nothing_to_tell(site: FakeSite) -> None:
    site.module("fake_dance", COMMAND.format(""))
    outcome = show_help("fake_dance:command")
    assert (outcome.error, outcome.heavy) == ("", ())


def test_what_a_command_imports_that_is_heavy_is_told(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.module("fake_weight", "")
    site.module("fake_dance", COMMAND.format("import fake_weight"))
    monkeypatch.setattr(help_trial, "HEAVY", {"fake_weight", "fake_other"})
    assert show_help("fake_dance:command").heavy == ("fake_weight",)
    sys.modules.pop("fake_dance")
    assert show_help("fake_dance:command").heavy == ()  # it was there before


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise ValueError('bad day')", "bad day"),
        ("import not_there", "not_there"),
        ("raise SystemExit(3)", "SystemExit"),
        (RUDE, "no help"),
    ],
)
def test_what_goes_wrong_is_told(site: FakeSite, source: str, error: str) -> None:
    site.module("fake_dance", source)
    assert error in show_help("fake_dance:command").error
