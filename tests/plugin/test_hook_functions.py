"""The hooks of a plugin's module, and each mistake that an author makes with them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import FakeSite, tower
from tinyllava_kit import hookimpl
from tinyllava_kit.errors import PluginError
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.plugin.hook_functions import hooks_of, place_of


def test_a_helper_that_is_named_as_the_kit_is_no_forgotten_hook(site: FakeSite) -> None:
    source = "from tinyllava_kit.plugin.hookspecs import tinyllava_llms\ndef tinyllava_path(): ...\n" + tower("nose")
    site.plugin("good", source)
    (plugin,) = discover().plugins
    assert plugin.status == "ok"


def test_a_mark_may_name_the_hook(site: FakeSite) -> None:
    source = (
        tower("nose")
        .replace("@hookimpl", "@hookimpl(specname='tinyllava_towers')")
        .replace("def tinyllava_towers", "def my_towers")
    )
    site.plugin("good", source)
    assert [offer.spec.name for offer in discover().offers] == ["nose"]


def mine() -> tuple[()]:
    """A hook that a test marks."""
    return ()


def taking(config: Any) -> tuple[()]:
    return ()


async def waiting() -> tuple[()]:
    return ()


def test_hooks_are_known_by_their_names_and_others_are_left_alone() -> None:
    marked = hookimpl(lambda: ())
    plugin = SimpleNamespace(tinyllava_llms=marked, helper=mine, tinyllava_path=mine, NUMBER=3)
    assert hooks_of(plugin) == {"tinyllava_llms": marked}
    named = hookimpl(specname="tinyllava_towers")(lambda: ())
    assert hooks_of(SimpleNamespace(my_towers=named)) == {"tinyllava_towers": named}
    assert hooks_of(SimpleNamespace()) == {}


@pytest.mark.parametrize(
    ("name", "value", "message", "fix"),
    [
        ("tinyllava_llms", mine, "tinyllava_llms has no @hookimpl", "write @hookimpl above line "),
        ("tinyllava_llm", mine, "tinyllava_llm has no @hookimpl", " and call it tinyllava_llms"),
        ("tinyllava_llms", (), "tinyllava_llms is tuple, not a function", "'def tinyllava_llms():', which returns it"),
        (
            "tinyllava_llm",
            hookimpl(lambda: ()),
            "unknown hook 'tinyllava_llm'; did you mean 'tinyllava_llms'",
            "rename",
        ),
        (
            "tinyllava_llms",
            hookimpl(taking),
            "hook 'tinyllava_llms' takes config; hooks take no argument",
            "write 'def",
        ),
        ("tinyllava_llms", hookimpl(waiting), "hook 'tinyllava_llms' is async or a wrapper", "write 'def tinyllava_ll"),
    ],
)
def test_a_mistake_is_told_with_what_to_write(name: str, value: Any, message: str, fix: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        hooks_of(SimpleNamespace(**{name: value}))
    assert fix in caught.value.fix


def test_code_is_found_at_its_line_where_it_has_one() -> None:
    assert place_of(mine).startswith("line ")
    assert place_of(mine).endswith(f" of {__file__}")
    assert place_of(len) == "len"
    assert place_of(3) == "3"
