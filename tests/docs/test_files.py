"""The list of files in docs/architecture.md is what the modules say of themselves."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest

from tests.house.imports import ROOT

PAGE = ROOT / "docs" / "architecture.md"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "files.py"))


def test_the_list_is_up_to_date(script: dict[str, Any]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == script["with_files"](page), "run: python docs/files.py"


def test_every_module_says_in_a_line_what_it_is_for(script: dict[str, Any]) -> None:
    listing = script["listing"]()
    entries = [line for line in listing.replace("\n  ", " ").split("\n") if line.startswith("- ")]
    assert len(entries) > 200
    assert [line for line in entries if not re.fullmatch(r"- `\w+\.py`: .+[.?]", line)] == []
    assert re.findall(r"^### .+\n\n- ", listing, flags=re.MULTILINE) == []  # a folder says it, too


def test_only_what_stands_between_the_marks_is_written(script: dict[str, Any]) -> None:
    page = f"# Title\n\nBefore.\n\n{script['BEGIN']}STALE\n{script['END']}\n## After\n"
    written = script["with_files"](page)
    assert written.startswith(f"# Title\n\nBefore.\n\n{script['BEGIN']}")
    assert written.endswith(f"{script['END']}\n## After\n")
    assert "STALE" not in written
