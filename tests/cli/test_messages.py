"""What libraries print while a command runs."""

from __future__ import annotations

import sys

import pytest
from huggingface_hub import utils as hub
from transformers.utils import logging

from tests.cli.running import ATTACK, SHOWN
from tests.fakes import FakeSite, offering
from tinyllava_kit_cli import app
from tinyllava_kit_cli.messages import printable_messages


def test_bars_of_transformers_are_gone_and_those_of_downloads_stay() -> None:
    logging.enable_progress_bar()
    with printable_messages():
        assert not logging.is_progress_bar_enabled()
        assert not hub.are_progress_bars_disabled()
    logging.enable_progress_bar()


def test_warnings_logs_and_tracebacks_are_escaped(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"""
        import logging, sys, warnings, click
        @click.command
        def command():
            sys.stderr.write(warnings.formatwarning({ATTACK!r}, UserWarning, "file", 1))
            log = logging.getLogger("odd")
            log.propagate = False
            log.addHandler(logging.StreamHandler())
            log.warning("of %s", {ATTACK!r})
    """
    site.module("fake_odd", source)
    site.plugin("adds", offering("tinyllava_commands", "CommandSpec(name='dance', target='fake_odd:command')"))
    with pytest.raises(SystemExit):
        app.main(["dance"])
    said = capsys.readouterr().err
    assert f"UserWarning: {SHOWN}" in said
    assert f"of {SHOWN}\n" in said
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    sys.excepthook(ValueError, ValueError(ATTACK), None)
    assert capsys.readouterr().out == f"ValueError: {SHOWN}\n"
