"""Names of a package are imported when they are first touched."""

from __future__ import annotations

import sys

import pytest

from tinyllava_kit._lazy import lazy


def test_a_name_is_that_of_its_module_and_nothing_is_imported_before(tmp_path, monkeypatch):
    package = tmp_path / "lazy_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from tinyllava_kit._lazy import lazy\n"
        "__getattr__, __dir__ = lazy(__name__, {'two': '.numbers', 'one': '.numbers', 'dumps': 'json'})\n"
    )
    (package / "numbers.py").write_text("one, two = 1, 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    import lazy_package  # type: ignore[import-not-found]

    try:
        assert dir(lazy_package) == ["dumps", "one", "two"]
        assert "lazy_package.numbers" not in sys.modules
        assert (lazy_package.one, lazy_package.two) == (1, 2)
        assert lazy_package.dumps is sys.modules["json"].dumps
        with pytest.raises(AttributeError, match="module 'lazy_package' has no attribute 'three'"):
            _ = lazy_package.three
        assert not hasattr(lazy_package, "__path_of_nothing__")
    finally:
        for name in ("lazy_package", "lazy_package.numbers"):
            sys.modules.pop(name, None)


def test_a_module_that_is_gone_says_so():
    get, names = lazy("tinyllava_kit", {"Thing": ".not_there"})
    assert names() == ["Thing"]
    with pytest.raises(ModuleNotFoundError, match=r"tinyllava_kit\.not_there"):
        get("Thing")
