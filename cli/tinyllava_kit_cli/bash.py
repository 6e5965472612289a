"""Completion in bash, which takes words apart at ``=`` and ``:``; importing this teaches click to put them together."""

from __future__ import annotations

import os
import re
from typing import Any

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

_BREAKS = "=:"


class WholeWords(BashComplete):
    """As click's, for words like ``image=clip:DIR``: bash gives four of it, and replaces the last one alone.

    No space follows a word that is not complete.
    """

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *[=:/] ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The whole words before the one at the cursor, and that one as far as it is typed."""
        at = int(os.environ["COMP_CWORD"])
        pieces = split_arg_string(os.environ["COMP_WORDS"])[: at + 1]
        words = glued([*pieces, *[""] * (at + 1 - len(pieces))])
        return words[1:-1], words[-1]

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """What may stand at the cursor, without what bash leaves as it is."""
        value = re.sub(r"^--[\w-]+=", "", incomplete)
        kept = len(re.sub(rf"[^{_BREAKS}]*$", "", value))
        found = super().get_completions(args, incomplete)
        return [CompletionItem(item.value[kept:] if item.type == "plain" else item.value, item.type) for item in found]


def glued(pieces: list[str]) -> list[str]:
    """Words as they were typed.

    Example:
        >>> glued(["--tower", "image", "=", "clip", ":", "di", "-o"])
        ['--tower', 'image=clip:di', '-o']
    """
    words: list[str] = []
    open_word = False
    for piece in pieces:
        is_break = bool(piece) and set(piece) <= set(_BREAKS)
        if words and (is_break or open_word):
            words[-1] += piece
        else:
            words.append(piece)
        open_word = is_break
    return words


add_completion_class(WholeWords)
