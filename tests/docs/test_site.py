"""The pages as a site: mkdocs builds every one of them, and fails at a link that leads nowhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.test_reference import members, public_names
from tests.house.imports import PACKAGE
from tinyllava_kit.plugin import hookspecs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_every_page_is_built(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    for page in pages:
        folder = page.relative_to(ROOT).with_suffix("")
        html = folder.parent / "index.html" if folder.name == "README" else folder / "index.html"
        assert (tmp_path / "site" / html).exists(), page
    assert 'href="docs/cli/"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "examples" / "easy_vqa" / "recipe.yaml").exists()  # the README links to it
    api = tmp_path / "site" / "docs" / "api"
    places = {
        place for file in api.rglob("index.html") for place in re.findall(r'id="([\w.]+)"', file.read_text("utf-8"))
    }
    assert sorted(promised() - places) == []


def promised() -> set[str]:
    """Where the reference has each hook, field of a spec, and method of an interface or contract."""
    found = {f"{hookspecs.__name__}.{hook}" for hook in hookspecs.HOOKS}
    for room in (f"{PACKAGE}.{name}" for name in ("specs", "interfaces", "testing")):
        for name in public_names(room):
            thing = getattr(import_module(room), name)
            found.add(f"{room}.{name}")
            found |= {f"{room}.{name}.{field.name}" for field in fields(thing)} if is_dataclass(thing) else set()
            found |= {f"{room}.{owner}" for owner, *_ in members(name, thing) if not owner.endswith("__init__")}
    return found


def test_a_link_or_an_anchor_that_leads_nowhere_fails(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "pages.py", tmp_path / "docs")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(settings.partition("\nnav:")[0], encoding="utf-8")
    (tmp_path / "docs" / "other.md").write_text("# Other\n", encoding="utf-8")
    for text, match in (
        ("[here](docs/other.md#other)", ""),
        ("[here](docs/gone.md)", "'docs/gone.md'"),
        ("[here](docs/other.md#gone)", "#gone"),
    ):
        (tmp_path / "README.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
        done = build(tmp_path, tmp_path / "site")
        assert (done.returncode == 0) == (not match), done.stderr
        assert match in done.stderr
