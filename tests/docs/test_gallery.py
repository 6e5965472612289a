"""The gallery is what the specs say, and the table of mutants what the tests plant."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NO_COMPONENT = {"tinyllava-kit-eval-lmms"}


def test_the_gallery_is_that_of_the_installed_specs() -> None:
    script: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "gallery.py"))
    page = script["page"]()
    if missing := [name for name in script["_licences"]() if f"`{name}`" not in page and name not in NO_COMPONENT]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert script["PAGE"].read_text(encoding="utf-8") == page, "run: python docs/gallery.py"


@pytest.mark.slow
def test_the_table_of_mutants_is_that_of_the_tests() -> None:
    script: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "mutants.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert page == script["with_table"](page), "run: python docs/mutants.py"
