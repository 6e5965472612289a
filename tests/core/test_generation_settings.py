"""What is taken of a generation_config.json: those that published models have, and what is not set."""

from __future__ import annotations

import pytest
from transformers import GenerationConfig

from tinyllava_kit import KitError
from tinyllava_kit.core.generation_settings import taken

# As published: Llama-3.2-Instruct, Qwen2.5-Instruct, an old Phi, BART's search, and what transformers writes itself.
PUBLISHED = [
    {"bos_token_id": 128000, "do_sample": True, "eos_token_id": [128001, 128008], "temperature": 0.6, "top_p": 0.9},
    {"pad_token_id": 151643, "do_sample": True, "eos_token_id": [1, 2], "repetition_penalty": 1.1, "top_k": 20},
    {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": -1, "transformers_version": "4"},
    {"early_stopping": "never", "num_beams": 4, "length_penalty": 2, "no_repeat_ngram_size": 3, "do_sample": None},
    {"temperature": 0, "do_sample": False, "max_length": 4096, "suppress_tokens": [], "bad_words_ids": [[3]]},
    {},
    GenerationConfig().to_dict(),
    GenerationConfig(eos_token_id=2).to_diff_dict(),
]


@pytest.mark.parametrize("content", PUBLISHED)
def test_published_settings_are_taken(content):
    settings = taken(content, "here")
    for name in ("eos_token_id", "top_k", "top_p", "num_beams", "repetition_penalty"):
        if content.get(name) is not None:
            assert getattr(settings, name) == content[name]


def test_what_is_null_is_not_set():
    names = GenerationConfig().to_dict()
    assert taken(dict.fromkeys(names), "here").to_diff_dict() == taken({}, "here").to_diff_dict()


@pytest.mark.parametrize("change", [{"top_p": "0.9"}, {"num_beams": True}, {"eos_token_id": [None]}, {"top_k": -3}])
def test_a_setting_of_another_type_is_named(change):
    (name,) = change
    with pytest.raises(KitError, match=f"here: {name}"):
        taken(change, "here")
