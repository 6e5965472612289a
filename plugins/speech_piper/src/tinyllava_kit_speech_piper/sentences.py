"""Text to sentences of clauses, each with the sign that a voice makes a pause or a melody of. Light."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

ENDS = ".!?"

# Signs of other scripts, and marks of emphasis, code and tables, which are seen and not said.
_SAID_AS = str.maketrans(
    {
        **{sign: f"{ours} " for sign, ours in zip("。！？，、；：…—–", ".!?,,;:,,,", strict=True)},
        **dict.fromkeys("*_`|", " "),
    }
)
_HEADING = re.compile(r"^\s*#+\s")
# Signs behind a clause, with what they close: before a space or the line's end.
_SIGN = re.compile(r"""(?P<signs>[.!?,;:]+)["'”’»)\]]*(?=\s+(?P<next>\S)|\s*$)""")
# "Mr." and its like: a capital and consonants.
_TITLE = re.compile(r"\b([A-Z][b-df-hj-np-tv-xz]{1,2})\.(?=\s)")


class Clause(NamedTuple):
    """Words, and the sign behind them: one of ``.!?,;:``."""

    words: str
    sign: str


def sentences(text: str) -> list[list[Clause]]:
    """The sentences of a text; a line's end is a sentence's end. What has no letter and no digit is left out.

    Example:
        >>> sentences("Hello, Mr. Smith! It is 3.5")
        [[Clause(words='Hello', sign=','), Clause(words='Mr Smith', sign='!')], [Clause(words='It is 3.5', sign='.')]]
    """
    found: list[list[Clause]] = [[]]
    for line in text.translate(_SAID_AS).splitlines():
        for clause in _clauses(_TITLE.sub(r"\1", _HEADING.sub("", line))):
            found[-1].append(clause)
            if clause.sign in ENDS:
                found.append([])
    return found[:-1]


def _clauses(line: str) -> Iterator[Clause]:
    """The last one ends a sentence. A dot before a small letter is one of an abbreviation and ends nothing."""
    pieces: list[Clause] = []
    at = 0
    for match in _SIGN.finditer(line):
        if match["signs"] == "." and (match["next"] or "").islower():
            continue
        pieces.append(Clause(line[at : match.start()], match["signs"][0]))
        at = match.end()
    pieces.append(Clause(line[at:], ENDS[0]))
    said = [Clause(" ".join(piece.words.split()), piece.sign) for piece in pieces if any(map(str.isalnum, piece.words))]
    for number, clause in enumerate(said, 1):
        yield clause if clause.sign in ENDS or number < len(said) else clause._replace(sign=ENDS[0])
