"""The question of a command line: its argument, or the text of standard input. Light."""

from __future__ import annotations

import sys

from tinyllava_kit.errors import KitError

STDIN = "-"


def asked(word: str) -> str:
    """The question that `word` gives: itself, or for ``-`` all of standard input without the last line's end.

    Raises:
        KitError: standard input holds no text.
    """
    if word != STDIN:
        return word
    try:
        stream = getattr(sys.stdin, "buffer", None)  # the stand-in of a closed one has none
        text = (stream.read() if stream else b"").decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise KitError(f"cannot read the question from standard input: {error}; expected text in UTF-8") from error
    if not text.strip():
        raise KitError("standard input holds no question; write it in place of '-', or pipe one in")
    return text
