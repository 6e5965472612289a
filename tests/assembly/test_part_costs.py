"""What parts cost, counted as those of the built model are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tinyllava_kit.assembly.building import assemble
from tinyllava_kit.assembly.part_costs import cache_bytes, report_parts


def test_parameters_are_those_of_the_model_and_tokens_those_of_an_item(blueprint):
    model, _ = assemble(blueprint)
    found = {cost.part: (cost.component.name, cost.parameters, cost.tokens) for cost in report_parts(blueprint)}
    counted = {
        name: sum(weight.numel() for weight in part.parameters())
        for name, part in {
            "llm": model.language_model,
            "tower image": model.towers["image"],
            "connector image": model.connectors["image"],
        }.items()
    }
    assert found == {
        "llm": ("llama", counted["llm"], None),
        "tower image": ("clip", counted["tower image"], 4),
        "connector image": ("mlp2x_gelu", counted["connector image"], 4),
    }


@pytest.mark.parametrize(
    ("text", "heads", "size"),
    [
        ({"num_key_value_heads": 2, "head_dim": 16}, 2, 16),
        ({"num_key_value_heads": 2}, 2, 8),
        ({"num_key_value_heads": None, "head_dim": None}, 4, 8),
        ({}, 4, 8),
    ],
)
def test_a_cache_holds_keys_and_values_of_every_layer_and_head(text, heads, size):
    known = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32}
    config = SimpleNamespace(text_config=SimpleNamespace(**known, **text))
    assert cache_bytes(config, 100, torch.bfloat16) == 2 * 3 * heads * size * 100 * 2
    assert cache_bytes(config, 0, torch.float32) == 0
