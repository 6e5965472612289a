"""The files of the page: of one folder alone, and under a policy."""

from __future__ import annotations

import pytest

from tinyllava_kit.serving import static_files


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
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "name", ["nothing.html", "../secret.html", "..%2fsecret.html", "%2e%2e/secret.html", "index", ".html", "a/b.js", ""]
)
def test_nothing_else_is_given(served, name):
    status, _, content = served.send("GET", f"/static/{name}")
    assert status == 404
    assert b'secret"' not in content
