"""What ``config.json`` may hold, whose components it names, and how each mistake in it is told."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig

from tests.fakes import FakeSite, tower
from tinyllava_kit import KitError
from tinyllava_kit.errors import MissingPluginError
from tinyllava_kit.model.configuration import Component, TinyLlavaConfig, as_json
from tinyllava_kit.model.configuration import saved as checked_content
from tinyllava_kit.plugin.discovery import discover

TEXT: dict[str, Any] = {"model_type": "llama", "hidden_size": 24, "num_attention_heads": 4, "num_hidden_layers": 2}
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


def test_a_component_is_written_without_what_it_does_not_have_and_read_again():
    whole = Component(name="clip", distribution="d", version="1", checkpoint="a/b", licence="mit", options={"layer": 1})
    assert as_json(Component(name="linear")) == {"name": "linear"}
    assert as_json(whole).keys() == {"name", "distribution", "version", "checkpoint", "licence", "options"}
    for each in (whole, Component(name="linear")):
        assert Component.of(as_json(each), "here") == each


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("clip", r"config\.json: towers\.image needs \{'name': \.\.\., 'options': \{\.\.\.\}\}, got 'clip'"),
        ({"options": {}}, r"config\.json: towers\.image needs .*, got \{'options': \{\}\}"),
        ({"name": 3}, r"config\.json: towers\.image needs"),
        ({"name": "clip", "tower": 1}, r"config\.json: towers\.image needs"),
        ({"name": "clip", "version": 1}, r"config\.json: towers\.image\.version: expected a valid string, got 1"),
        ({"name": "clip", "options": []}, r"config\.json: towers\.image\.options: expected"),
    ],
)
def test_what_is_no_component_is_refused(value, message):
    with pytest.raises(KitError, match=message):
        Component.of(value, "towers.image")


def test_a_component_is_found_with_its_own_plugin_and_else_by_its_name(site: FakeSite):
    for stem in ("one", "two"):
        site.plugin(stem, tower("nose"))
    site.plugin("three", tower("ear"))
    catalog = discover()
    found = Component(name="nose", distribution="tinyllava-kit-two", version="0.0.1").offer("tower", catalog)
    assert found.distribution == "tinyllava-kit-two"
    assert Component(name="ear", distribution="gone").offer("tower", catalog).distribution == "tinyllava-kit-three"
    with pytest.raises(KitError, match="'nose' is offered by more than one distribution"):
        Component(name="nose").offer("tower", catalog)


def test_a_component_that_nobody_offers_says_what_to_install(site: FakeSite, monkeypatch):
    site.plugin("one", tower("nose"))
    site.plugin("broken", "raise RuntimeError('x')")
    catalog = discover()
    with pytest.raises(MissingPluginError, match="no tower is called 'nos'; did you mean 'nose'"):
        Component(name="nos").offer("tower", catalog)
    with pytest.raises(MissingPluginError, match=r"this model's tower 'ear' comes .*: pip install 'far-away==2\.1'"):
        Component(name="ear", distribution="far-away", version="2.1").offer("tower", catalog)
    with pytest.raises(MissingPluginError, match=r"'ear' comes with plugin 'broken', .* is broken: .*RuntimeError"):
        Component(name="ear", distribution="tinyllava-kit-broken", version="2.1").offer("tower", catalog)


def test_what_is_no_configuration_of_a_model_is_not_read():
    kept = checked_content(
        {"model_type": "tinyllava", "auto_map": {"AutoModel": "evil.py"}, "towers": None, "dtype": "bfloat16"}
    )
    assert kept == {"towers": None, "dtype": "bfloat16"}
    text = checked_content({"text_config": {**TEXT, "auto_map": {"AutoModel": "evil.py"}}})["text_config"]
    assert text == TEXT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"config\.json: expected .*, got \[\]"),
        ({"towers": []}, r"config\.json: towers: expected"),
        ({"towers": {"Image": {}}}, r"config\.json: towers\.Image.*: expected"),
        ({"towers": {"image": "clip"}}, r"config\.json: towers\.image: expected"),
        ({"token_ranges": {"it": [["a", 1]]}}, r"config\.json: token_ranges\.it\.0"),
        ({"packs_apart": "sdpa"}, r"config\.json: packs_apart: expected"),
        ({"text_config": {}}, r"config\.json: text_config\.model_type"),
        ({"text_config": {"model_type": "lama"}}, r"model_type: transformers knows no 'lama'; did you mean"),
        ({"text_config": {**TEXT, "num_hidden_layers": 5000}}, r"num_hidden_layers: expected at most 1000"),
        ({"dtype": "float7"}, r"config\.json: dtype\.dtype: expected the name of a dtype of torch, got 'float7'"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"only bitsandbytes' is read, got 'gptq'"),
        ({"quantization_config": {**NF4, "bnb_4bit_quant_type": "nf5"}}, r"quant_type: expected 'fp4' or 'nf4'"),
        ({"quantization_config": {**NF4, "load_in_4bit": "yes"}}, r"quantization_config\.load_in_4bit: expected"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_with_its_key(content, message):
    with pytest.raises(KitError, match=message):
        checked_content(content)
    with pytest.raises(KitError, match=message):
        TinyLlavaConfig.from_dict(content)


def test_of_a_quantization_what_is_known_is_read():
    assert checked_content({"quantization_config": {**NF4, "other": 1}}) == {"quantization_config": NF4}


def test_parts_are_asked_for_by_kind_and_modality():
    config = TinyLlavaConfig(
        text_config=TEXT, llm={"name": "llama"}, towers={"image": {"name": "clip", "options": {"layer": -2}}}
    )
    assert config.component("llm").name == "llama"
    assert config.component("tower", "image").options == {"layer": -2}
    assert (config.connectors, config.decoders, config.packs_apart, config.tie_word_embeddings) == ({}, {}, [], False)
    for kind, modality, name in (("template", "", "template"), ("connector", "image", r"connectors\.image")):
        with pytest.raises(KitError, match=f"the model has no {name}$"):
            config.component(kind, modality)
    with pytest.raises(
        KitError, match="the model has no llm; another project's checkpoint is opened by load_pretrained"
    ):
        TinyLlavaConfig(text_config=TEXT).component("llm")


def test_an_items_id_lies_behind_all_others():
    modalities = {"image": {"name": "image"}, "audio": {"name": "audio"}}
    config = TinyLlavaConfig(text_config={**TEXT, "vocab_size": 320}, modalities=modalities)
    assert (config.audio_token_id, config.image_token_id) == (320, 321)
    config.token_ranges = {"audio": [["begin", 330, 1], ["code", 332, 9]]}
    assert (config.audio_token_id, config.image_token_id) == (341, 342)
    for name in ("sensor_token_id", "image_token", "bos_token_idx"):
        with pytest.raises(AttributeError, match=f"'TinyLlavaConfig' object has no attribute '{name}'"):
            getattr(config, name)


def test_weights_are_tied_as_those_of_the_llm_are():
    assert TinyLlavaConfig(text_config=LlamaConfig(tie_word_embeddings=True)).tie_word_embeddings is True
    assert TinyLlavaConfig(text_config=TEXT, tie_word_embeddings=True).tie_word_embeddings is True


def test_what_is_saved_names_no_place_of_this_machine(tmp_path):
    towers = {"image": {"name": "clip", "checkpoint": str(tmp_path / "clip")}}
    TinyLlavaConfig(text_config=TEXT, llm={"name": "llama", "checkpoint": "org/llm"}, towers=towers).save_pretrained(
        tmp_path
    )
    text = (tmp_path / "config.json").read_text()
    assert str(tmp_path) not in text
    again = TinyLlavaConfig.from_pretrained(tmp_path)
    assert (again.component("tower", "image").checkpoint, again.component("llm").checkpoint) == ("clip", "org/llm")
    assert again.text_config.hidden_size == 24


@pytest.mark.parametrize("content", [None, "", "[]", "{", "{}"])
def test_a_directory_without_a_configuration_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(KitError, match=r"config\.json"):
        TinyLlavaConfig.from_pretrained(tmp_path)
