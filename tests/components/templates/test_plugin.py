"""The chat templates that the kit offers, by name."""

from __future__ import annotations

import pytest

from tinyllava_kit.components.templates.plugin import tinyllava_chat_templates
from tinyllava_kit.core.interfaces import ChatTemplate
from tinyllava_kit.plugin.specs import load

ENDS = {
    "llama": "</s>",
    "gemma": "<eos>",
    "phi": "<|endoftext|>",
    "qwen2_base": "<|endoftext|>",
    "qwen2_instruct": "<|im_end|>",
}
SPECS = {spec.name: spec for spec in tinyllava_chat_templates()}


def test_each_template_is_offered_once_and_by_its_own_class():
    assert [*SPECS] == ["auto", "pretrain", "vicuna", *ENDS]
    assert len(SPECS) == len(tinyllava_chat_templates())
    classes = {name: load(spec) for name, spec in SPECS.items()}
    assert all(issubclass(each, ChatTemplate) for each in classes.values())
    assert len({each.__name__ for each in classes.values()}) == len(classes)


@pytest.mark.parametrize("name", ENDS)
def test_a_variant_of_vicuna_ends_a_turn_as_its_summary_says(name):
    assert SPECS[name].summary == f"vicuna that ends a turn with {ENDS[name]}"
    assert load(SPECS[name]).end == ENDS[name]
