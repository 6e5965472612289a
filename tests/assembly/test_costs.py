"""What a whole model needs, added up of its parts."""

from __future__ import annotations

import json

import torch

from tinyllava_kit.assembly.costs import costs_of
from tinyllava_kit.assembly.part_costs import cache_bytes, report_parts


def test_bytes_to_load_train_and_generate(blueprint):
    costs = costs_of(blueprint, torch.bfloat16)
    json.dumps(costs)
    llm, tower, connector = costs["parts"]
    counts = [cost.parameters for cost in report_parts(blueprint)]
    assert [part["parameters"] for part in (llm, tower, connector)] == counts
    assert [part["bytes"] for part in (llm, tower, connector)] == [2 * count for count in counts]
    assert (tower["part"], tower["component"], tower["dtype"], tower["tokens"]) == (
        "tower image",
        "clip",
        "bfloat16",
        4,
    )
    assert tower["distribution"].startswith("tinyllava-kit-vision-clip ")
    assert llm["licence"] is None
    everything = 2 * sum(counts)
    length = blueprint.config.text_config.max_position_embeddings
    assert costs["positions"] == min(length, 2048)
    assert costs["bytes"] == {
        "load": everything,
        "train_connectors": everything + counts[2] * (2 + 8),
        "train_all": everything + sum(counts) * (2 + 8),
        "generate": everything + cache_bytes(blueprint.config, costs["positions"], torch.bfloat16),
    }
