"""A file that ends too early is a bug with a traceback, where nothing has made it a mistake: it is no Ctrl-D."""

from __future__ import annotations

import click
import pytest

from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow


def test_a_file_that_ends_too_early_does_not_end_the_command_without_a_word(monkeypatch):
    @click.command()
    def command():
        raise EOFError("Ran out of input")

    monkeypatch.setattr(app.Commands, "get_command", lambda *_: command)
    with pytest.raises(RuntimeError, match="a file has ended too early: Ran out of input"):
        app.main(["list"])
