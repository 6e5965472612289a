"""Text of strangers (rows, answers, names of files, plugins) as a terminal may be given it."""

from __future__ import annotations

import re

# Controls of both sets but for tab and newline, line separators, halves of surrogates, and what turns the order of
# letters around. Marks of direction (U+200E, U+200F, U+061C) and joiners stay: words of Arabic and Persian need them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` without what a terminal takes for a command: each such character as its escape; lines and tabs stay.

    Example:
        >>> printable("red \\x1b[31m, title \\x1b]0;x\\x07, back \\r, \\u202e")
        'red \\\\x1b[31m, title \\\\x1b]0;x\\\\x07, back \\\\r, \\\\u202e'
    """
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """The same in one line: the ends of lines, with the spaces around them, become a space.

    Example:
        >>> one_line("a\\n\\n  b\\x07")
        'a b\\\\x07'
    """
    return printable(re.sub(r"[ \t]*[\r\n]\s*", " ", text.strip("\r\n")))
