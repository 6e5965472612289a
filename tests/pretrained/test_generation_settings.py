"""What is taken of a generation_config.json: those that published models have, and what is not set."""

from __future__ import annotations

import json

import pytest
from transformers import GenerationConfig

from tinyllava_kit import KitError
from tinyllava_kit.pretrained.generation_settings import read_generation, taken

# As published: Llama-3.2-Instruct, Qwen2.5-Instruct, an old Phi, BART's search, and what transformers writes itself.
PUBLISHED = [
    {"bos_token_id": 128000, "do_sample": True, "eos_token_id": [128001, 128008], "temperature": 0.6, "top_p": 0.9},
    {"pad_token_id": 151643, "do_sample": True, "eos_token_id": [1, 2], "repetition_penalty": 1.1, "top_k": 20},
    {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": -1, "transformers_version": "4"},
    {"early_stopping": "never", "num_beams": 4, "length_penalty": 2, "no_repeat_ngram_size": 3, "do_sample": None},
    {"temperature": 0, "do_sample": False, "max_length": 4096, "suppress_tokens": [], "bad_words_ids": [[3]]},
    {"bos_token_id": 1, "eos_token_id": 2, "max_length": 4096, "pad_token_id": 0, "temperature": 0.9, "top_p": 0.6},
    {"do_sample": False, "temperature": 0.9, "top_p": 0.6, "early_stopping": True, "length_penalty": 2.0},
    {"do_sample": True, "temperature": 0.0, "top_p": 0.9, "top_k": -1, "bad_words_ids": [], "eos_token_id": -1},
    {},
    GenerationConfig().to_dict(),
    GenerationConfig(eos_token_id=2).to_diff_dict(),
]


@pytest.mark.parametrize("content", PUBLISHED)
def test_published_settings_are_taken_and_can_be_saved(content, tmp_path):
    settings = taken(content, "here")
    samples = bool(content.get("do_sample") and content.get("temperature", 1.0))
    assert bool(settings.do_sample) == samples
    for name in ("eos_token_id", "num_beams", "repetition_penalty", *(("top_k", "top_p", "temperature") * samples)):
        if content.get(name) not in (None, -1):
            assert getattr(settings, name) == content[name]
    settings.save_pretrained(tmp_path)  # refuses what contradicts itself
    again = taken(GenerationConfig.from_pretrained(tmp_path).to_dict(), "again")
    assert again.to_diff_dict() == settings.to_diff_dict()


def test_what_is_null_is_not_set():
    names = GenerationConfig().to_dict()
    assert taken(dict.fromkeys(names), "here").to_diff_dict() == taken({}, "here").to_diff_dict()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"suppress_tokens": [-1]}, {"suppress_tokens": None}),
        ({"suppress_tokens": [5, -1], "begin_suppress_tokens": [220, 7]}, {"suppress_tokens": [5]}),
        ({"bos_token_id": [1]}, {"bos_token_id": [1]}),
        ({"eos_token_id": [2, -1]}, {"eos_token_id": [2]}),
        ({"max_new_tokens": 20.0, "eos_token_id": [2.0, 3]}, {"max_new_tokens": 20, "eos_token_id": [2, 3]}),
        ({"num_beams": 2.0, "no_repeat_ngram_size": 3.0}, {"num_beams": 2, "no_repeat_ngram_size": 3}),
        ({"do_sample": True, "top_k": 50.0, "temperature": 1}, {"top_k": 50, "temperature": 1.0}),
    ],
)
def test_what_programs_write_in_another_form_is_taken(content, expected, tmp_path):
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    settings = read_generation(tmp_path / "generation_config.json")
    for name, value in expected.items():
        assert repr(getattr(settings, name)) == repr(value)  # a whole number, not one with a point
    settings.save_pretrained(tmp_path)
    assert read_generation(tmp_path / "generation_config.json").to_diff_dict() == settings.to_diff_dict()


@pytest.mark.parametrize("change", [{"max_new_tokens": 20.5}, {"suppress_tokens": [-2]}, {"bos_token_id": ["1"]}])
def test_what_is_no_number_of_things_is_refused(change):
    (name,) = change
    with pytest.raises(KitError, match=f"here: {name}"):
        taken(change, "here")


@pytest.mark.parametrize("change", [{"top_p": "0.9"}, {"num_beams": True}, {"eos_token_id": [None]}, {"top_k": -3}])
def test_a_setting_of_another_type_is_named(change):
    (name,) = change
    with pytest.raises(KitError, match=f"here: {name}"):
        taken(change, "here")
