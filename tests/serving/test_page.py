"""docs/serving.md: its code runs against a server, and its tables are complete."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.docs.markdown import blocks
from tests.serving.conftest import picture
from tinyllava_kit.serving.application import ROUTES
from tinyllava_kit.serving.limits import Limits

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.fixture
def asked(served, tmp_path, monkeypatch):
    """The code of the page in a language, for this server."""
    picture(1).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)

    def of(language):
        found = [block.text for block in blocks(PAGE) if block.language == language]
        return [text.replace("127.0.0.1:8000", f"127.0.0.1:{served.port}").replace('"mine"', '"toy"') for text in found]

    return of


def test_curl_of_the_page_is_answered(asked):
    (code,) = [text for text in asked("bash") if text.startswith("curl")]
    made = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert '"object":"chat.completion"' in made.stdout, made.stdout


def test_python_of_the_page_is_answered(asked, capsys):
    names: dict[str, Any] = {}
    exec("\n".join(asked("python")), names)
    names["client"].close()
    assert re.search(r"(red|blue) 0\.\d+\n$", capsys.readouterr().out)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript_of_the_page_is_answered(asked):
    (code,) = asked("javascript")
    command = ["node", "--input-type=module", "-e", code]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)


def test_every_limit_and_every_path_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    for name, value in Limits().model_dump().items():
        assert f"| `{name}` | {value} |" in page
    for path, method, *_ in ROUTES:
        assert f"`{method} {path.partition('/{')[0]}`" in page
