"""The hooks of a plugin: one for each kind of component."""

from __future__ import annotations

from tinyllava_kit.plugin import hookspecs, specs
from tinyllava_kit.plugin.specs import KINDS


def test_every_kind_has_a_hook_and_every_hook_a_kind() -> None:
    assert sorted(hookspecs.HOOKS.values()) == sorted(KINDS)
    assert all(callable(getattr(hookspecs, hook)) for hook in hookspecs.HOOKS)
    assert set(KINDS.values()) == {each for each in vars(specs).values() if getattr(each, "kind", None)}


def test_no_hook_of_this_version_takes_an_argument_or_warns() -> None:
    for hook in hookspecs.HOOKS:
        assert hookspecs.arguments_of(hook) == ()
        assert getattr(hookspecs.SPECIFICATIONS, hook) is getattr(hookspecs, hook)


def test_hooks_return_nothing_by_themselves_and_can_be_given_to_pluggy_in_part() -> None:
    assert all(getattr(hookspecs, hook)() == () for hook in hookspecs.HOOKS)
    some = hookspecs.specifications(["tinyllava_llms", "tinyllava_towers"])
    assert {name for name in vars(some) if name.startswith("tinyllava")} == {"tinyllava_llms", "tinyllava_towers"}
    assert some.tinyllava_llms is hookspecs.tinyllava_llms
    assert vars(hookspecs.specifications([])).keys() == vars(type(some)("hooks")).keys()
