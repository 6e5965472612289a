"""What libraries print while a command runs."""

from __future__ import annotations

from huggingface_hub import utils as hub
from transformers.utils import logging

from tinyllava_kit_cli.messages import printable_messages


def test_bars_of_transformers_are_gone_and_those_of_downloads_stay() -> None:
    logging.enable_progress_bar()
    with printable_messages():
        assert not logging.is_progress_bar_enabled()
        assert not hub.are_progress_bars_disabled()
    logging.enable_progress_bar()
