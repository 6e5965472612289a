"""The files of the page: of one folder alone, under a policy, complete, and without a way for text to become code."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.house.imports import ROOT
from tinyllava_kit.serving import static_files

FILES = sorted(static_files.FOLDER.iterdir())
SCRIPTS = [file for file in FILES if file.suffix == ".js"]
SINKS = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|createContextualFragment"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "index.html").write_text("<p>hello")
    (tmp_path / "static" / "app.js").write_text("1")
    (tmp_path / "secret.html").write_text("secret")
    monkeypatch.setattr(static_files, "FOLDER", tmp_path / "static")


@pytest.mark.usefixtures("folder")
def test_files_of_the_folder_come_with_a_policy(served):
    for path, content, kind in (("/", b"<p>hello", "text/html"), ("/static/app.js", b"1", "text/javascript")):
        status, headers, found = served.send("GET", path)
        assert (status, found) == (200, content)
        assert headers["content-type"].startswith(kind)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "microphone=(self)" in headers["permissions-policy"]


def test_the_policy_lets_nothing_run_but_the_files_of_the_page(served):
    policy = dict(each.split(" ", 1) for each in served.send("GET", "/")[1]["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy.keys().isdisjoint({"script-src", "connect-src", "frame-src", "worker-src"})  # as the default
    for kind in ("object-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[kind] == "'none'"
    for kind in ("img-src", "media-src"):
        assert policy[kind] == "'self' data: blob:"
    assert policy["require-trusted-types-for"] == "'script'"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/]{43}='", policy["style-src"])
    assert not re.search(r"unsafe|\*|https?:", " ".join(policy.values()))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "name", ["nothing.html", "../secret.html", "..%2fsecret.html", "%2e%2e/secret.html", "index", ".html", "a/b.js", ""]
)
def test_nothing_else_is_given(served, name):
    status, _, content = served.send("GET", f"/static/{name}")
    assert status == 404
    assert b'secret"' not in content


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_of_the_page_is_served(served, file):
    status, headers, content = served.send("GET", f"/static/{file.name}")
    assert (status, content) == (200, file.read_bytes())
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert headers["content-type"].startswith(kinds[file.suffix])


def test_each_file_of_the_page_is_used_and_no_other():
    named = {"index.html"}
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        named |= set(re.findall(r'"\./([\w.]+)"', text)) | set(re.findall(r'(?:href|src)="static/([\w.]+)"', text))
        assert not re.findall(r'(?:from |href=|src=|url\()"?https?:', text), f"{file.name} asks another site"
    assert named == {file.name for file in FILES}


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_no_script_makes_code_of_text(file):
    text = file.read_text(encoding="utf-8")
    assert not re.search(SINKS, text)
    assert file.name == "explanation.js" or "srcdoc" not in text


def test_nothing_is_written_into_index_html_that_the_policy_forbids():
    text = (static_files.FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>|javascript:", text)
    symbols = set(re.findall(r'<symbol id="icon-(\w+)"', text))
    used = set(re.findall(r'href="#icon-(\w+)"', text))
    for script in SCRIPTS:
        code = script.read_text(encoding="utf-8")
        used |= set(re.findall(r'(?:icon|button)\("(\w+)"', code)) & symbols
        used |= {word for word in re.findall(r'"(\w+)"', code) if word in symbols}
    assert used == symbols


def test_the_wheel_holds_the_page():
    ignored = subprocess.run(["git", "check-ignore", *FILES], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout == ""  # hatchling takes all of a package but what git ignores
