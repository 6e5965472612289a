"""Plugins whose hooks and specs are wrong in one way each, and the check that says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes import FakeSite, offering
from tests.testing.right import NUMBERS, PATCHES, PatchContract, caught, offered, table
from tinyllava_kit.plugin.catalog import Plugin
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.plugin.specs import TowerSpec
from tinyllava_kit.testing import CheckFailure
from tinyllava_kit.testing.plugins import check_light, check_loaded

NEEDED = {"name": "'fold'", "target": "'mine.fold:Fold'"}


def connector(**fields: str) -> str:
    """The expression of a spec, with other fields."""
    return f"ConnectorSpec({', '.join(f'{key}={value}' for key, value in {**NEEDED, **fields}.items())})"


def offers(*specs: str) -> str:
    return offering("tinyllava_connectors", *specs)


RIGHT = offers(connector())
# What is wrong, the source of the plugin's module, the check that says so, and what it says.
SPECS: list[tuple[str, str, str, str]] = [
    ("a name of two words", offers(connector(name="'my fold'")), "loaded", "name must be lower_snake.*'my fold'"),
    ("a name with a dash", offers(connector(name="'my-fold'")), "loaded", "name must be lower_snake.*'my-fold'"),
    ("a path of a file as target", offers(connector(target="'mine/fold.py'")), "loaded", "target must be 'package.mod"),
    ("a dot before the class", offers(connector(target="'mine.fold.Fold'")), "loaded", "target must be 'package.mod"),
    ("a field of no spec", offers(connector(licence="'MIT'")), "loaded", "unexpected keyword argument 'licence'"),
    ("a field of another type", offers(connector(summary="None")), "loaded", "summary must be a str, got None"),
    ("a tuple without its comma", offers(connector(options="(Option(name='n'))")), "loaded", "with the comma"),
    (
        "a default outside its choices",
        offers(connector(options="(Option(name='mode', default='mean', choices=('max', 'sum')),)")),
        "loaded",
        "default 'mean' is not among its choices",
    ),
    (
        "a default of another type",
        offers(connector(options="(Option(name='factor', type=int, default='2'),)")),
        "loaded",
        "option 'factor': default must be an int or None, got '2'",
    ),
    (
        "an option that is there twice",
        offers(connector(options="(Option(name='n'), Option(name='n'))")),
        "loaded",
        "option 'n' is defined twice",
    ),
    ("a pattern of other names", offers(connector(pattern="r'fold\\d+'")), "loaded", "must match the component's own"),
    ("two components of one name", offers(connector(), connector()), "loaded", "offers connector 'fold' twice"),
    ("a spec of another hook", offering("tinyllava_towers", connector()), "loaded", "must return TowerSpec values"),
    (
        "a spec alone",
        f"@hookimpl\ndef tinyllava_connectors():\n    return {connector()}\n",
        "loaded",
        "must return an iterable of ConnectorSpec",
    ),
    (
        "a hook that returns nothing",
        f"@hookimpl\ndef tinyllava_connectors():\n    {connector()}\n",
        "loaded",
        "nothing",
    ),
    ("a hook without its mark", RIGHT.replace("@hookimpl\n", ""), "loaded", "has no @hookimpl, so that it is never"),
    (
        "a hook of another name",
        RIGHT.replace("connectors", "conectors"),
        "loaded",
        "did you mean 'tinyllava_connectors",
    ),
    ("a hook with an argument", RIGHT.replace("()", "(config)"), "loaded", "takes config; hooks take no argument"),
    ("a module that it imports and nobody has", "import no_such_module\n" + RIGHT, "loaded", "No module named"),
]


# A name that another distribution has, too.
NAMES: list[tuple[str, TowerSpec, str, str]] = [
    (
        "a name that another plugin has",
        replace(PATCHES, target="another.plugin:Tower"),
        "alone",
        "tower 'patches' is offered by it, too",
    ),
    (
        "a family of names that has another's",
        replace(PATCHES, name="patches2", pattern=r"patches\d*", target="another.plugin:Tower"),
        "alone",
        "tower 'patches' is offered by it, too",
    ),
]


def row_of(site: FakeSite, source: str) -> Plugin:
    site.plugin("mine", source)
    (row,) = discover().plugins
    return row


def test_the_right_plugin_passes(site: FakeSite) -> None:
    check_loaded(row_of(site, RIGHT))


@table(SPECS)
def test_a_mutant_of_its_specs_is_caught(mutant: str, check: str, message: str, site: FakeSite) -> None:
    assert check == "loaded"
    with pytest.raises(CheckFailure, match=message) as raised:
        check_loaded(row_of(site, mutant))
    said, change = str(raised.value).split("\nchange: ")
    assert "\n" not in said
    assert "TINYLLAVA_DISABLED_PLUGINS" in change
    assert "line " in change or "pip install what it needs" in change


@table(NAMES)
def test_a_name_of_another_plugin_is_caught(mutant: TowerSpec, check: str, message: str) -> None:
    contract = PatchContract()
    vars(contract)["catalog"] = offered(NUMBERS, PATCHES, mutant)
    caught(contract, check, message)


def test_an_entry_point_that_leads_nowhere_is_caught(site: FakeSite) -> None:
    site.distribution("tinyllava-kit-mine", plugins={"mine": "not_there.plugin"})
    (row,) = discover().plugins
    with pytest.raises(CheckFailure, match=r"No module named 'not_there'\nchange: the target not_there\.plugin is not"):
        check_loaded(row)


@pytest.mark.slow
def test_a_heavy_plugin_is_caught(site: FakeSite) -> None:
    site.plugin("eager", "import numpy\n" + offering("tinyllava_commands", "CommandSpec(name='a', target='b:c')"))
    (row,) = discover().plugins
    check_loaded(row)
    with pytest.raises(CheckFailure, match="imports numpy\nchange: import them in the module that the spec's target"):
        check_light(row)
