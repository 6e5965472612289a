"""``tinyllava info``: all facts of a component, from its spec."""

from __future__ import annotations

import json

import pytest

from tests.cli.running import run
from tests.fakes import FakeSite, modality, offering, tower

pytestmark = pytest.mark.usefixtures("core")


TOWER = """TowerSpec(
    name='nose', target='fake.nose:Nose', summary='smells things', modality='smell', model_types=('snout', 'beak'),
    checkpoint='kennel/snout-small', options=(
        Option(name='layer', type=int, default=-2, help='which layer to read'),
        Option(name='select', default='patch', choices=('patch', 'all')),
        Option(name='limit', type=float, default=None, help='parts per million'),
    ))"""


def test_info_shows_all_facts_of_a_spec_without_importing_it(site: FakeSite) -> None:
    site.plugin("noses", offering("tinyllava_towers", TOWER))
    assert run("info", "nose").stdout.splitlines() == [
        "tower nose: smells things",
        "  from         tinyllava-kit-noses 0.1.0 (plugin noses)",
        "  target       fake.nose:Nose",
        "  modality     smell",
        "  model types  snout, beak",
        "  checkpoint   kennel/snout-small",
        "  options",
        "    layer   int                default -2     which layer to read",
        "    select  one of patch, all  default patch",
        "    limit   float              default none   parts per million",
    ]


def test_info_as_json_keeps_types(site: FakeSite) -> None:
    site.plugin("noses", offering("tinyllava_towers", TOWER))
    (facts,) = json.loads(run("info", "tinyllava-kit-noses/nose", "--json").stdout)
    assert (facts["kind"], facts["modality"], facts["model_types"]) == ("tower", "smell", ["snout", "beak"])
    assert facts["options"][0] == {
        "name": "layer",
        "type": "int",
        "default": -2,
        "choices": [],
        "required": False,
        "bounds": "",
        "help": "which layer to read",
    }


def test_info_shows_every_kind_of_a_name(site: FakeSite) -> None:
    site.plugin("noses", modality("smell", placeholder="<sniff>") + tower("smell"))
    said = run("info", "smell").stdout
    assert "modality smell\n" in said
    assert "  placeholder  <sniff>\n" in said
    assert "\n\ntower smell\n" in said
    assert said.endswith("  no options\n")


def test_info_shows_both_sides_of_a_conflict(site: FakeSite) -> None:
    site.plugin("left", tower("nose"))
    site.plugin("right", tower("nose"))
    assert run("info", "nose").stdout.count("tower nose") == 2
    assert run("info", "tinyllava-kit-left/nose").stdout.count("tower nose") == 1


def test_info_reads_what_the_name_of_a_family_says(site: FakeSite) -> None:
    family = r"ConnectorSpec(name='mlp2x', target='a:b', pattern=r'mlp(?P<depth>\d+)x')"
    site.plugin("family", offering("tinyllava_connectors", family))
    assert "  name options  depth = 7\n" in run("info", "mlp7x").stdout


def test_info_of_an_unknown_name_gives_the_near_one(site: FakeSite) -> None:
    site.plugin("noses", tower("nose"))
    result = run("info", "nos")
    assert result.exit_code == 2
    assert result.stderr == "error: no component is called 'nos'; did you mean 'nose'? ('tinyllava list' shows all)\n"
