"""The contract of what is offered: that of the kind, or the plugin's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes import FakeSite
from tests.testing.right import NUMBERS, PATCHES, NumbersModality, PatchContract, PatchTower, offered
from tinyllava_kit.plugin.specs import KINDS, ConnectorSpec, DecoderSpec
from tinyllava_kit.testing import CheckFailure, TowerContract, contract_of
from tinyllava_kit.testing.offered import CONTRACTS, key_of, modality_of


def contract_of_spec(spec):
    catalog = offered(spec)
    return contract_of(catalog.offers[0], catalog), catalog


def test_there_is_a_contract_for_every_kind():
    assert {key.partition(".")[0] for key in CONTRACTS} == {*KINDS}


def test_a_decoder_is_of_the_contract_of_what_it_reads():
    decoder = DecoderSpec(name="it", target="a:b", modality="audio", reads="hidden")
    assert [key_of(replace(decoder, reads=reads)) for reads in ("tokens", "hidden", "text")] == [
        "decoder.tokens",
        "decoder.hidden",
        "decoder.text",
    ]
    assert key_of(PATCHES) == "tower"


def test_a_contract_knows_its_component_and_where_it_is_offered():
    made, catalog = contract_of_spec(PATCHES)
    assert issubclass(made, TowerContract)
    assert (made.kind, made.spec, made.component, made.catalog) == ("tower", PATCHES, PatchTower, catalog)
    assert made.__name__ == "tower:patches"
    assert contract_of(catalog.offers[0], catalog) is made


def test_a_plugins_own_contract_is_taken():
    made, _ = contract_of_spec(replace(PATCHES, contract="tests.testing.right:PatchContract"))
    assert issubclass(made, PatchContract)


def test_a_component_that_cannot_be_imported_is_none_and_its_check_says_why():
    made, _ = contract_of_spec(replace(PATCHES, target="tests.testing.right:Gone"))
    assert made.component is None


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (
            "tests.testing.right:Gone",
            "^tower 'patches': contract='tests.testing.right:Gone' cannot be imported: ",
        ),
        ("tests.testing.right:PatchTower", "is no TowerContract\nchange: let the class extend TowerContract"),
        ("tests.testing.right:numbers", "is no TowerContract"),
    ],
)
def test_a_contract_that_is_none_is_told(contract, message):
    with pytest.raises(CheckFailure, match=message):
        contract_of_spec(replace(PATCHES, contract=contract))


def test_one_that_ends_the_process_is_told(site: FakeSite) -> None:
    site.module("fake_contract", "raise SystemExit(3)")
    with pytest.raises(CheckFailure, match=r"cannot be imported: .*SystemExit.*\nchange: the contract of the spec"):
        contract_of_spec(replace(PATCHES, contract="fake_contract:Contract"))


def test_the_modality_of_a_tower_has_the_defaults_of_its_options():
    assert isinstance(modality_of(PATCHES, offered(NUMBERS, PATCHES)), NumbersModality)


def test_a_connector_is_of_the_contract_of_connectors():
    made, _ = contract_of_spec(ConnectorSpec(name="it", target="tests.testing.right:Patches"))
    assert [base.__name__ for base in made.__bases__] == ["ConnectorContract"]
