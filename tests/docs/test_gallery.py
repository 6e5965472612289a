"""The gallery is what the specs say."""

from __future__ import annotations

import pytest

from docs import gallery

pytestmark = pytest.mark.slow


def test_the_gallery_is_that_of_the_installed_specs() -> None:
    missing = [n for n in gallery._licences() if f"`{n}`" not in gallery.page() and n != "tinyllava-kit-eval-lmms"]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert gallery.PAGE.read_text(encoding="utf-8") == gallery.page(), "run 'python docs/gallery.py'"
