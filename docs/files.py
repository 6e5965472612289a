"""The list of files in architecture.md, of the first lines of their docstrings: ``python docs/files.py`` writes it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("tinyllava_kit", "cli/tinyllava_kit_cli")
BEGIN, END = "<!-- files: begin -->\n", "<!-- files: end -->\n"


def main() -> None:
    PAGE.write_text(with_files(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_files(page: str) -> str:
    """The page with the list as it should be, between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{listing()}\n{END}{after}"


def listing() -> str:
    """A heading for each folder, with what its package is for, and a line for each file."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"), key=_place)]
    return "\n".join(_folder(folder, list(its)) for folder, its in groupby(files, lambda file: file.parent))


def _place(file: Path) -> tuple[str, str]:
    return str(file.parent), file.name


def _folder(folder: Path, files: list[Path]) -> str:
    parts = [f"### {folder.relative_to(ROOT).as_posix()}\n"]
    parts += [f"{summary}\n" for file in files if file.name == "__init__.py" and (summary := _summary(file))]
    lines = [line for file in files if file.name not in ("__init__.py", "__main__.py") for line in _entry(file)]
    return "\n".join([*parts, *lines, ""])


def _entry(file: Path) -> Iterator[str]:
    text = f"- `{file.name}`: {_summary(file)}"
    yield from textwrap.wrap(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _summary(file: Path) -> str:
    """The first line of a module's docstring, as Markdown."""
    line = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return re.sub(r"``(.+?)``", r"`\1`", line)


if __name__ == "__main__":
    main()
