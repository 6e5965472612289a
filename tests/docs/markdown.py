"""Pages of documentation, cut into blocks of code and the text between them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"```([\w-]*)\s*")
_NOTE = re.compile(r"<!-- ([a-z ]+): (.+) -->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block. `note` is what the comment directly above it says: ``<!-- key: value -->``."""

    page: Path
    line: int
    language: str
    text: str
    note: tuple[str, str] = ("", "")

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found, open_at, language, above = [], 0, "", ""
    note = ("", "")
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        fence = _FENCE.fullmatch(line)
        if fence and not open_at:
            open_at, language = number, fence[1]
            match = _NOTE.fullmatch(above)
            note = (match[1], match[2]) if match else ("", "")
        elif fence:
            text = "\n".join(lines[open_at : number - 1]) + "\n"
            found.append(Block(page=page, line=open_at, language=language, text=text, note=note))
            open_at = 0
        above = line
    assert not open_at, f"{page.name}:{open_at}: a fence that is not closed"
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def inline_code(page: Path) -> list[str]:
    """What stands between backticks outside of blocks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of each command in a shell block: continued lines joined, prompts and comments taken off."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        if words:
            yield words


def tinyllava_lines(page: Path) -> Iterator[list[str]]:
    """The words of every line of a page that begins with ``tinyllava``, fenced or indented."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^\s*(?:\$ )?(tinyllava .*)$", text, flags=re.MULTILINE):
        yield shlex.split(line, comments=True)


def console_turns(text: str) -> Iterator[tuple[list[str], str]]:
    """Each ``$ command`` of a console block with the output that stands below it."""
    for turn in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, output = turn.partition("\n")
        yield shlex.split(command), output


def anchors(page: Path) -> set[str]:
    """The fragments that the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
