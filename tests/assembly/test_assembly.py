"""An assembly from flags and files, and its parts found among what is installed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import FakeSite, modality, offering, tower
from tinyllava_kit import KitError
from tinyllava_kit.assembly.assembly import Assembly, Part
from tinyllava_kit.plugin.catalog import Catalog
from tinyllava_kit.plugin.discovery import discover


def connector(options: str = "()") -> str:
    return offering("tinyllava_connectors", f"ConnectorSpec(name='linear', target='a:b', options={options})")


@pytest.fixture
def catalog(site: FakeSite) -> Catalog:
    """A tower, a connector, a template, a decoder and LLMs with and without a checkpoint of their own."""
    depth = "(Option(name='depth', type=int, default=2),)"
    site.plugin("noses", tower("nose") + modality("smell"))
    site.plugin("connectors", connector(depth))
    llm = (
        "LanguageModelSpec(name='llama', target='a:b')",
        "LanguageModelSpec(name='own', target='a:b', checkpoint='d')",
    )
    site.plugin("llms", offering("tinyllava_llms", *llm))
    site.plugin("templates", offering("tinyllava_chat_templates", "ChatTemplateSpec(name='auto', target='a:b')"))
    scent = "DecoderSpec(name='scent', target='a:b', modality='smell', reads='tokens')"
    site.plugin("decoders", offering("tinyllava_decoders", scent))
    return discover()


def flags(**others: Any) -> Assembly:
    known: dict[str, Any] = {"llm": "llama:dir", "towers": ["smell=nose"], "connectors": ["smell=linear"]}
    return Assembly.from_flags(**{**known, **others})


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("clip", Part(name="clip")),
        ("clip:a/b:c", Part(name="clip", checkpoint="a/b:c")),
        ({"name": "clip", "checkpoint": "a", "options": {"b": 1}}, Part(name="clip", checkpoint="a", options={"b": 1})),
        ({"name": "clip", "checkpoint": None, "options": None}, Part(name="clip")),
    ],
)
def test_a_part_is_a_name_or_a_mapping(value, part):
    assert Part.parse(value, "here") == part


@pytest.mark.parametrize(
    "value", ["", ":dir", 7, None, [], {}, {"name": 7}, {"name": "a", "options": []}, {"name": ""}]
)
def test_what_is_no_part_is_refused(value):
    with pytest.raises(KitError, match=r"^here: needs NAME or NAME:CHECKPOINT, or a mapping of name, checkpoint"):
        Part.parse(value, "here")


def test_an_unknown_key_of_a_part_gets_the_near_one():
    with pytest.raises(KitError, match="here: unknown key 'chekpoint'; did you mean 'checkpoint'"):
        Part.parse({"name": "a", "chekpoint": "b"}, "here")


def test_flags_and_a_file_say_the_same(tmp_path):
    settings = ["tower.smell.layer=-1", "modality.smell.aspect=pad", "llm.depth=3", "template.a=b=c", "tower.smell.n=2"]
    from_flags = flags(decoders=["smell=scent"], settings=settings)
    file = tmp_path / "assembly.yaml"
    file.write_text(
        "llm: {name: llama, checkpoint: dir, options: {depth: '3'}}\n"
        "towers: {smell: {name: nose, options: {layer: '-1', n: '2'}}}\n"
        "connectors: {smell: linear}\n"
        "modalities: {smell: {options: {aspect: pad}}}\n"
        "decoders: {smell: scent}\n"
        "template: {name: auto, options: {a: b=c}}\n"
    )
    assert Assembly.from_yaml(file) == from_flags


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"towers": ["smell"]}, "--tower needs MODALITY=NAME or MODALITY=NAME:CHECKPOINT, got 'smell'"),
        ({"towers": ["smell=a", "smell=b"]}, "--tower names 'smell' twice; a modality has one"),
        ({"connectors": ["smell=:x"]}, "--connector smell: needs NAME"),
        ({"llm": ":x"}, "--llm: needs NAME"),
        (
            {"settings": ["tower.smell.layer"]},
            r"--set needs tower\.MODALITY\.OPTION=VALUE or llm\.OPTION=VALUE, got",
        ),
        ({"settings": ["tower.layer=1"]}, "--set needs"),
        ({"settings": ["llm.a.b=1"]}, "--set needs"),
        ({"settings": ["nose.smell.layer=1"]}, "--set needs"),
        ({"settings": ["tower.smel.layer=1"]}, "the assembly has no tower for 'smel'; did you mean 'smell'"),
        ({"settings": ["modality.sound.rate=1"]}, "the assembly has no modality for 'sound'"),
    ],
)
def test_words_of_another_form_are_refused(how, message):
    with pytest.raises(KitError, match=message):
        flags(**how)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("towers: {}\n", "assembly.yaml: names no llm; write 'llm: NAME:CHECKPOINT'"),
        ("llm: a\ntower: {}\n", "assembly.yaml: unknown key 'tower'; did you mean 'towers'"),
        ("llm: a\ntowers: [a]\n", "assembly.yaml: towers needs a mapping from modality to component"),
        ("llm: a\ntowers: {image: 3}\n", r"assembly.yaml: towers\.image: needs NAME"),
        ("llm: a\nmodalities: {image: {aspect: pad}}\n", r"modalities\.image: unknown key 'aspect'"),
        ("- a\n", "assembly.yaml"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content, message):
    (tmp_path / "assembly.yaml").write_text(content)
    with pytest.raises(KitError, match=message):
        Assembly.from_yaml(tmp_path / "assembly.yaml")


def test_parts_are_found_with_their_options_complete(catalog):
    found = flags(settings=["connector.smell.depth=5"], llm="own", decoders=["smell=scent"]).resolve(catalog)
    assert found.connectors["smell"].options == {"depth": 5}
    assert (found.llm.checkpoint, found.towers["smell"].checkpoint, found.towers["smell"].part.name) == (
        "d",
        "",
        "nose",
    )
    assert found.modalities["smell"].offer.plugin == "noses"
    assert found.decoders["smell"].offer.spec.name == "scent"
    qualified = flags(towers=["smell=tinyllava-kit-noses/nose"]).resolve(catalog)
    assert qualified.towers["smell"].part.name == "nose"
    assert flags().resolve(catalog).connectors["smell"].options == {"depth": 2}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"connectors": []}, "modality 'smell' has a tower but no connector; add --connector smell=NAME"),
        ({"towers": []}, r"connectors\.smell: no tower reads 'smell'; none is installed"),
        ({"towers": ["smel=nose"], "connectors": ["smel=linear"]}, "no modality is called 'smel'"),
        ({"towers": ["smell=nos"]}, "no tower is called 'nos'; did you mean 'nose'"),
        ({"llm": "llama"}, "llm: llm 'llama' needs a checkpoint: write llama:DIR or llama:ORG/NAME"),
        ({"settings": ["connector.smell.dept=1"]}, r"connectors\.smell: .*no option 'dept'; did you mean 'depth'"),
        ({"settings": ["connector.smell.depth=x"]}, r"connectors\.smell: .*option 'depth' needs int, got 'x'"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(catalog, how, message):
    with pytest.raises(KitError, match=message):
        flags(**how).resolve(catalog)


def test_a_part_stands_under_its_own_modality(site: FakeSite):
    site.plugin("noses", tower("nose") + modality("smell"))
    site.plugin("ears", modality("sound", placeholder="<sound>") + connector())
    catalog = discover()
    with pytest.raises(KitError, match=r"towers\.sound: tower 'nose' reads 'smell', not 'sound'"):
        flags(towers=["sound=nose"], connectors=["sound=linear"]).resolve(catalog)
    mapping = {"llm": "llama:d", "modalities": {"sound": {}}}
    with pytest.raises(KitError, match=r"modalities\.sound: no tower or decoder is of 'sound'"):
        Assembly.from_mapping(mapping, "here").resolve(catalog)
