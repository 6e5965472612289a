"""The catalog: a name means one offer, an unknown one gets the near one, a conflict names both owners."""

from __future__ import annotations

import pytest

from tests.fakes import FakeSite, offering, tower
from tinyllava_kit.errors import KitError, MissingPluginError
from tinyllava_kit.plugin.catalog import Catalog, Offer, Plugin
from tinyllava_kit.plugin.discovery import DISABLE, discover
from tinyllava_kit.plugin.specs import LanguageModelSpec, TowerSpec


@pytest.fixture
def conflict(site: FakeSite) -> Catalog:
    site.plugin("left", tower("same"))
    site.plugin("right", tower("same"))
    return discover()


def test_a_conflict_names_both_owners(conflict: Catalog) -> None:
    (found,) = conflict.conflicts()
    assert (found.kind, found.name, found.owners) == ("tower", "same", "tinyllava-kit-left, tinyllava-kit-right")


def test_nobody_wins_a_conflict_by_accident(conflict: Catalog) -> None:
    with pytest.raises(KitError, match="write 'tinyllava-kit-left/same' or 'tinyllava-kit-right/same'"):
        conflict.find("tower", "same")
    assert conflict.find("tower", "tinyllava-kit-right/same").plugin == "right"


def test_a_conflict_inside_one_distribution_names_its_plugins(site: FakeSite) -> None:
    for module in ("fake_in_one_a", "fake_in_one_b"):
        site.module(
            module, "from tinyllava_kit import hookimpl\nfrom tinyllava_kit.plugin.specs import *\n" + tower("x")
        )
    site.distribution("tinyllava-kit-two", plugins={"a": "fake_in_one_a", "b": "fake_in_one_b"})
    with pytest.raises(KitError, match="by plugins 'a' and 'b' of tinyllava-kit-two: disable one"):
        discover().find("tower", "tinyllava-kit-two/x")


def test_the_same_name_of_another_kind_is_no_conflict(site: FakeSite) -> None:
    site.plugin("one", tower("same"))
    site.plugin("two", offering("tinyllava_llms", "LanguageModelSpec(name='same', target='a:b')"))
    assert list(discover().conflicts()) == []


def test_names_are_exact_and_an_unknown_one_gets_the_near_one(site: FakeSite) -> None:
    site.plugin("one", tower("nose"))
    site.plugin("bad", "1 / 0")
    catalog = discover()
    with pytest.raises(MissingPluginError, match=r"no tower is called 'nos'; did you mean 'nose'.*bad did not load"):
        catalog.find("tower", "nos")
    with pytest.raises(MissingPluginError, match="did you mean 'tinyllava-kit-one/nose'"):
        catalog.find("tower", "tinyllava-kit-on/nose")
    with pytest.raises(KitError, match="no kind of component is called 'towers'; did you mean 'tower'"):
        catalog.of_kind("towers")


def test_an_exact_name_goes_before_a_family(site: FakeSite) -> None:
    specs = ("ConnectorSpec(name='mlp2x', target='a:b', pattern=r'mlp(?P<depth>\\d+)x')",)
    site.plugin("family", offering("tinyllava_connectors", *specs))
    site.plugin("exact", offering("tinyllava_connectors", "ConnectorSpec(name='mlp3x', target='a:b')"))
    catalog = discover()
    assert catalog.find("connector", "mlp3x").plugin == "exact"
    assert catalog.find("connector", "mlp7x").plugin == "family"


def test_a_component_of_a_disabled_plugin_is_said_to_be_of_one(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.plugin("noses", tower("nose"))
    monkeypatch.setenv(DISABLE, "noses")
    with pytest.raises(MissingPluginError, match=r"no tower is called 'nose'.*; disabled: noses\)"):
        discover().find("tower", "nose")


def offer(name: str, plugin: str, kind: type = TowerSpec) -> Offer:
    spec = TowerSpec(name=name, target="a:b", modality="smell") if kind is TowerSpec else kind(name=name, target="a:b")
    return Offer(spec=spec, plugin=plugin, distribution=f"d-{plugin}", version="1")


def test_offers_are_by_name_and_names_in_the_order_of_offers() -> None:
    offers = (offer("nose", "two"), offer("ear", "one"), offer("nose", "one"), offer("eye", "one", LanguageModelSpec))
    catalog = Catalog(offers=offers)
    assert [each.qualified for each in catalog.of_kind("tower")] == ["d-one/ear", "d-one/nose", "d-two/nose"]
    assert catalog.names("tower") == ["nose", "ear"]
    assert catalog.names("decoder") == []
    assert catalog.find("llm", "eye") == catalog.find("llm", "d-one/eye") == offers[3]
    with pytest.raises(MissingPluginError, match="no decoder is called 'eye'; none is installed"):
        catalog.find("decoder", "eye")
    with pytest.raises(MissingPluginError, match="no llm is called 'd-two/eye'; did you mean 'd-one/eye'"):
        catalog.find("llm", "d-two/eye")


@pytest.mark.parametrize(
    ("status", "attention"),
    [("ok", False), ("disabled", False), ("duplicate", True), ("incompatible", True), ("broken", True)],
)
def test_what_somebody_should_look_at(status: str, attention: bool) -> None:
    assert Plugin(name="x", distribution="d", version="1", target="a", status=status).attention == attention
