"""Discovery: every plugin in isolation, every fault a row, every conflict with both owners."""

from __future__ import annotations

import itertools
import os
import signal
import textwrap

import pytest

from tests.fakes import PREAMBLE, FakeSite, offering, tower
from tinyllava_kit.errors import PluginError
from tinyllava_kit.plugin.catalog import Catalog, Plugin
from tinyllava_kit.plugin.discovery import DISABLE, MAX_SPECS, _checked, discover, installed_catalog
from tinyllava_kit.plugin.hookspecs import GROUP
from tinyllava_kit.plugin.specs import ConnectorSpec, TowerSpec

BROKEN = {
    "raises-at-import": ("1 / 0", "ZeroDivisionError: division by zero"),
    "calls-sys-exit": ("import sys\nsys.exit('missing CUDA')", "SystemExit: missing CUDA"),
    "exits-without-a-word": ("raise SystemExit", "SystemExit"),
    "needs-something-absent": ("import not_installed_here", "No module named 'not_installed_here'"),
    "hook-raises": ("@hookimpl\ndef tinyllava_towers():\n    raise OSError('no disk')\n", "OSError: no disk"),
    "generator-raises": ("@hookimpl\ndef tinyllava_llms():\n    yield 1 / 0\n", "ZeroDivisionError"),
    "misspells-a-hook": (offering("tinyllava_tower"), "unknown hook 'tinyllava_tower'"),
    "hook-takes-an-argument": (
        "@hookimpl\ndef tinyllava_towers(config):\n    return ()\n",
        "takes config; hooks take no",
    ),
    "forgets-the-mark": ("def tinyllava_towers():\n    return ()\n", "tinyllava_towers has no @hookimpl"),
    "forgets-one-mark-of-two": (
        offering("tinyllava_llms") + "def tinyllava_towers():\n    return ()\n",
        "tinyllava_towers has no @hookimpl, so that it is never called",
    ),
    "forgets-the-mark-and-misspells": ("def tinyllava_tower():\n    return ()\n", "tinyllava_tower has no @hookimpl"),
    "marks-with-another-projects-mark": (
        "import pluggy\n@pluggy.HookimplMarker('tinyllava')\ndef tinyllava_towers():\n    return ()\n",
        "tinyllava_towers has no @hookimpl",
    ),
    "option-of-a-wrong-type": ("SIZE = Option(name='size', type=list)\n", "option 'size': type must be str, int"),
    "returns-another-spec": (
        offering("tinyllava_towers", "LanguageModelSpec(name='x', target='a:b')"),
        "tinyllava_towers must return TowerSpec values, got LanguageModelSpec",
    ),
    "returns-no-iterable": (
        "@hookimpl\ndef tinyllava_llms():\n    return LanguageModelSpec(name='x', target='a:b')\n",
        "tinyllava_llms must return an iterable of LanguageModelSpec, got LanguageModelSpec",
    ),
    "spec-is-invalid": (tower("Upper-Case"), "name must be lower_snake"),
    "is-cancelled": ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    "is-a-closed-generator": ("raise GeneratorExit", "GeneratorExit"),
    "interrupts-itself": ("raise KeyboardInterrupt('me')", "KeyboardInterrupt: me"),
    "raises-a-class-of-its-own": ("class Odd(BaseException): ...\nraise Odd('why')", "Odd: why"),
    "has-no-text": ("class Odd(Exception):\n def __str__(self): raise SystemExit\nraise Odd", "Odd: (its text"),
    "has-text-that-is-none": ("class Odd(Exception):\n def __str__(self): return 7\nraise Odd", "Odd: (its text"),
    "has-a-name-that-raises": (
        "class Meta(type):\n __name__ = property(lambda cls: 1 / 0)\n"
        "class Odd(Exception, metaclass=Meta): ...\nraise Odd('why')",
        "Odd: why",
    ),
    "lies-of-its-class": (
        "class Liar:\n __class__ = TowerSpec\n" + offering("tinyllava_towers", "Liar()"),
        "must return TowerSpec values, got Liar",
    ),
    "raises-where-it-is-read": (
        "class Odd(TowerSpec):\n"
        " def __getattribute__(self, name): raise KeyboardInterrupt(name) if name == 'summary' else TypeError(name)\n"
        "odd = object.__new__(Odd)\n" + offering("tinyllava_towers", "odd"),
        "TypeError: ",
    ),
    "returns-text": ("@hookimpl\ndef tinyllava_llms():\n    return 'x'\n", "LanguageModelSpec values, got str"),
    "returns-a-mapping": ("@hookimpl\ndef tinyllava_llms():\n    return {1: 2}\n", "values, got int"),
    "summary-is-no-text": (
        offering("tinyllava_llms", "LanguageModelSpec(name='x', target='a:b', summary=7)"),
        "summary must be a str, got 7",
    ),
    "options-are-no-options": (
        offering("tinyllava_llms", "LanguageModelSpec(name='x', target='a:b', options=('depth',))"),
        "options must hold Option values, got 'depth'",
    ),
    "suffixes-are-a-text": (
        offering(
            "tinyllava_modalities",
            "ModalitySpec(name='x', target='a:b', token=TokenType(placeholder='<x>'), suffixes='.x')",
        ),
        "suffixes must be a tuple, got '.x' alone; write suffixes=('.x',)",
    ),
    "offers-a-name-twice": (
        offering("tinyllava_llms", *["LanguageModelSpec(name='x', target='a:b')"] * 2),
        "offers llm 'x' twice",
    ),
}


def row(catalog: Catalog, name: str) -> Plugin:
    (plugin,) = [plugin for plugin in catalog.plugins if plugin.name == name]
    return plugin


@pytest.mark.parametrize(("source", "detail"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_a_row_and_the_others_work(site: FakeSite, source: str, detail: str) -> None:
    site.plugin("aaa", tower("first"))
    site.plugin("bad", source, distribution="tinyllava-kit-bad-one")
    site.plugin("zzz", tower("last"))
    catalog = discover()
    bad = row(catalog, "bad")
    assert (bad.status, bad.distribution, bad.version) == ("broken", "tinyllava-kit-bad-one", "0.1.0")
    assert detail in bad.detail
    assert "\n" not in bad.detail
    assert bad.fix.endswith(f"set {DISABLE}=bad")
    assert [offer.spec.name for offer in catalog.offers] == ["first", "last"]


def test_what_a_plugin_hands_over_becomes_plain_values(site: FakeSite) -> None:
    source = textwrap.dedent("""
    class Name(str):
        def __eq__(self, other): raise ValueError
        def __hash__(self): raise ValueError

    class Own(TowerSpec):
        def __eq__(self, other): raise ValueError
        def matches(self, name): raise ValueError

    """) + offering("tinyllava_towers", "Own(name=Name('nose'), target='a:b', modality='smell', model_types=['n'])")
    site.plugin("own", source)
    site.plugin("other", tower("ear"))
    catalog = discover()
    offer = catalog.find("tower", "nose")
    assert type(offer.spec) is TowerSpec
    assert type(offer.spec.name) is str
    assert offer.spec == TowerSpec(name="nose", target="a:b", modality="smell", model_types=("n",))
    assert list(catalog.conflicts()) == []


def test_an_object_that_is_a_plugin_disturbs_no_other(site: FakeSite) -> None:
    site.module("odd_object", "class Odd:\n def __eq__(self, other): raise ValueError\n __hash__ = None\nodd = Odd()")
    site.distribution("tinyllava-kit-odd", plugins={"aaa": "odd_object:odd"})
    site.plugin("good", tower("nose"))
    assert [plugin.status for plugin in discover().plugins] == ["ok", "ok"]


def test_the_users_interrupt_ends_discovery(site: FakeSite) -> None:
    press = "import signal\nsignal.raise_signal(signal.SIGINT)"
    site.plugin("slow", press)
    with pytest.raises(KeyboardInterrupt):
        discover()
    site.plugin("deaf", "try:\n    import signal; signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    pass")
    with pytest.raises(KeyboardInterrupt):
        discover(disabled=["slow"])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_broken_plugin_offers_nothing_of_what_it_began(site: FakeSite) -> None:
    site.plugin("half", tower("good") + offering("tinyllava_llms", "1 / 0"))
    assert discover().offers == ()


def test_a_plugin_whose_entry_point_names_no_module_is_a_row(site: FakeSite) -> None:
    site.distribution("tinyllava-kit-hollow", plugins={"hollow": "not_there.plugin"})
    hollow = row(discover(), "hollow")
    assert hollow.status == "broken"
    assert "pip install --force-reinstall tinyllava-kit-hollow" in hollow.fix


def test_a_module_that_the_plugin_lacks_is_named_in_the_fix(site: FakeSite) -> None:
    site.plugin("needy", "import not_installed_here")
    assert row(discover(), "needy").fix.startswith("pip install what it needs (module 'not_installed_here')")


def test_the_fix_of_a_misspelled_hook_names_the_hooks(site: FakeSite) -> None:
    site.plugin("typo", offering("tinyllava_tower"))
    assert "are called tinyllava_modalities, tinyllava_towers," in row(discover(), "typo").fix
    assert "did you mean 'tinyllava_towers'?" in row(discover(), "typo").detail


@pytest.mark.parametrize(
    ("source", "line", "fix"),
    [
        ("def tinyllava_towers():\n    return ()\n", 4, "write @hookimpl above line 4 of {file}; or set"),
        (
            "def tinyllava_tower():\n    return ()\n",
            4,
            "write @hookimpl above line 4 of {file} and call it tinyllava_tow",
        ),
        (offering("tinyllava_tower"), 4, "rename it in line 4 of {file}; hooks are called"),
        ("@hookimpl\ndef tinyllava_llms(a):\n    return ()\n", 4, "write 'def tinyllava_llms():' in line 4 of {file};"),
        (
            "A = 1\nSIZE = Option(name='size', type=list)\n",
            5,
            "change line 5 of {file}, or report it to the authors of",
        ),
        ("A = 1\n\n1 / 0\n", 6, "change line 6 of {file}"),
        (tower("Upper"), 6, "change line 6 of {file}"),
        ("def broken(:\n", 4, "change line 4 of {file}"),
        ("@hookimpl\ndef tinyllava_llms():\n    pass\n", 4, "write 'return (...)' at the end of line 4 of {file}, or"),
        ("A = 1\n@hookimpl\ndef tinyllava_llms():\n    return 1\n", 5, "change what line 5 of {file} returns; or set"),
        (offering("tinyllava_llms", "1"), 4, "change what line 4 of {file} returns; or set"),
        ("@hookimpl\nasync def tinyllava_llms():\n    return ()\n", 4, "write 'def tinyllava_llms():' in line 4 of"),
        ("@hookimpl(wrapper=True)\ndef tinyllava_llms():\n    yield\n", 4, "write 'def tinyllava_llms():' in line 4"),
        ("tinyllava_llms = ()\n", 4, "write '@hookimpl' and 'def tinyllava_llms():', which returns it, in the plugin"),
    ],
)
def test_an_authors_mistake_is_mended_at_its_line_and_never_by_a_new_installation(
    site: FakeSite, source: str, line: int, fix: str
) -> None:
    site.plugin("bad", source)
    said = row(discover(), "bad").fix
    assert said.startswith(fix.format(file=site.folder / "fake_bad.py"))
    assert "install" not in said


def test_the_line_is_the_plugins_own_and_not_that_of_what_it_calls(site: FakeSite) -> None:
    site.module("somebody", "def fail():\n    raise OSError('no disk')\n")
    site.plugin("bad", "import somebody\nsomebody.fail()\n")
    assert row(discover(), "bad").fix.startswith(f"change line 5 of {site.folder / 'fake_bad.py'}, or report it")


def test_a_plugin_for_another_api_version_is_not_imported(site: FakeSite) -> None:
    site.plugin("future", "raise AssertionError('was imported')", group="tinyllava_kit.plugins.v2")
    future = row(discover(), "future")
    assert (future.status, future.detail) == ("incompatible", "speaks hook API 2, this core speaks 1")


def test_the_second_plugin_of_an_entry_point_name_is_reported(site: FakeSite) -> None:
    site.plugin("same", tower("one"), distribution="tinyllava-kit-a")
    site.plugin("same", tower("two"), distribution="tinyllava-kit-b")
    catalog = discover()
    first, second = catalog.plugins
    assert (first.status, second.status) == ("ok", "duplicate")
    assert second.detail == "entry point 'same' is already provided by tinyllava-kit-a"
    assert [offer.spec.name for offer in catalog.offers] == ["one"]


def test_a_disabled_plugin_is_not_imported(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.plugin("off", "raise AssertionError('was imported')")
    site.plugin("also-off", "raise AssertionError('was imported')")
    site.plugin("on", tower("one"))
    monkeypatch.setenv(DISABLE, "off, nobody")
    catalog = discover(disabled=["also-off"])
    assert {plugin.name: plugin.status for plugin in catalog.plugins} == {
        "off": "disabled",
        "also-off": "disabled",
        "on": "ok",
    }


def test_what_a_plugin_prints_does_not_reach_stdout(site: FakeSite, capsys: pytest.CaptureFixture[str]) -> None:
    site.plugin("chatty", "print('hello')")
    assert row(discover(), "chatty").status == "ok"
    assert capsys.readouterr().out == ""


def test_one_unreadable_distribution_hides_no_other(site: FakeSite) -> None:
    site.plugin("good", tower("one"))
    info = site.distribution("unrelated")
    (info / "entry_points.txt").write_text("[console_scripts]\nno equals sign\n", encoding="utf-8")
    assert row(discover(), "good").status == "ok"


def test_a_half_removed_distribution_still_has_a_row(site: FakeSite) -> None:
    info = site.distribution("tinyllava-kit-ghost", plugins={"ghost": "not_there"})
    (info / "METADATA").unlink()
    ghost = row(discover(), "ghost")
    assert (ghost.status, ghost.distribution) == ("broken", "?")


def test_the_order_is_that_of_names_and_not_of_the_file_system(site: FakeSite) -> None:
    for stem in ("cherry", "apple", "banana"):
        site.plugin(stem, tower(stem))
    assert [plugin.name for plugin in discover().plugins] == ["apple", "banana", "cherry"]


def test_a_catalog_can_be_built_twice(site: FakeSite) -> None:
    site.plugin("one", tower("one"))
    assert discover() == discover()


def test_what_is_installed_is_found_once(site: FakeSite) -> None:
    site.plugin("one", tower("nose"))
    installed_catalog()  # Python may keep what it compiles in the folder, which changes it
    assert installed_catalog() is installed_catalog()
    assert installed_catalog() == discover()


def test_a_plugin_that_is_installed_or_disabled_while_the_process_runs_is_seen(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.plugin("one", tower("nose"))
    before = installed_catalog()
    site.module("fake_two", PREAMBLE + tower("ear"))
    again = installed_catalog()
    info = site.folder / "two-1.dist-info"
    info.mkdir()  # as pip does it, with no word to this process
    (info / "METADATA").write_text("Name: two\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\ntwo = fake_two\n")
    os.utime(site.folder, (2e9, 2e9))  # the clock of a file system may be coarse
    assert [o.spec.name for o in installed_catalog().of_kind("tower")] == ["ear", "nose"]
    assert before == again
    monkeypatch.setenv(DISABLE, "one")
    assert [o.spec.name for o in installed_catalog().of_kind("tower")] == ["ear"]


def test_a_hook_that_offers_specs_without_an_end_is_stopped():
    def endless():
        for number in itertools.count():
            yield ConnectorSpec(name=f"mine_{number}", summary="s", target="m:C")

    with pytest.raises(PluginError, match=f"tinyllava_connectors offers more than {MAX_SPECS}"):
        _checked("tinyllava_connectors", ConnectorSpec, endless(), "a hook")
