"""A contract itself: its checks in order, what a failure says, its toy and its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.plugin.specs import Option, TowerSpec
from tinyllava_kit.testing import CheckFailure, Contract, DoesNotApply, checks_of
from tinyllava_kit.testing.contract import check, keywords_of

SPEC = TowerSpec(
    name="nose",
    target="a:b",
    modality="smell",
    options=(Option(name="depth", type=int, default=3), Option(name="wide", type=bool, default=False)),
)


class First(Contract):
    kind = "tower"

    @check("the second")
    def test_second(self) -> None:
        assert 1 + 1 == 3, "two is not three"

    @check("the first")
    def test_first(self) -> None:
        raise KitError("no such nose")


class Second(First):
    test_number = 7

    @check("anything")
    def test_alone(self) -> None:
        raise DoesNotApply("nothing to smell")

    def test_first(self) -> None:
        raise CheckFailure("as it is")


def test_checks_come_in_the_order_of_the_text_those_of_bases_first():
    assert [*checks_of(First)] == ["second", "first"]
    assert [*checks_of(Second)] == ["second", "first", "alone"]
    assert [*checks_of(Contract)] == []


def test_a_failure_says_what_is_wrong_and_what_to_change():
    contract = First()
    contract.spec = SPEC
    with pytest.raises(CheckFailure, match=r"^tower 'nose': two is not three\nchange: the second$"):
        contract.test_second()
    with pytest.raises(CheckFailure, match=r"^tower 'nose': raised KitError: no such nose, line \d+ of "):
        contract.test_first()


def test_what_is_a_failure_already_and_what_does_not_apply_pass_through():
    with pytest.raises(DoesNotApply, match=r"^nothing to smell$"):
        Second().test_alone()
    with pytest.raises(CheckFailure, match=r"^as it is$"):
        Second().test_first()


def test_a_component_without_a_spec_is_called_by_its_class():
    contract = First()
    assert contract.owner == "tower"
    contract.component = Path
    assert contract.owner == "Path"


def test_the_toy_is_made_once_for_each_contract_and_a_folder_each_time():
    made = []

    class Toys(First):
        def toy_checkpoint(self, folder: Path) -> str:
            made.append(folder)
            return str(folder)

    assert Toys().checkpoint == Toys().checkpoint
    assert len(made) == 1
    assert First().checkpoint == ""
    one, other = Toys().folder, Toys().folder
    assert one != other
    assert [*one.iterdir()] == [*other.iterdir()] == []


def test_options_that_are_not_given_have_the_defaults_of_the_spec():
    contract = First()
    assert contract.given_options == {}
    contract.spec, contract.options = SPEC, {"wide": True, "more": 1}
    assert contract.given_options == {"depth": 3, "wide": True, "more": 1}


def test_keywords_are_those_behind_the_first():
    def function(self, checkpoint, /, layer, *rest, select="patch"): ...

    class Class:
        def __init__(self, config, *, gain=1.0, **others): ...

    assert keywords_of(function, given=2) == ({"layer", "select"}, False)
    assert keywords_of(Class, given=1) == ({"gain"}, True)
