"""Towers whose weights are on the disk answer as they do in place."""

from __future__ import annotations

import pytest
import torch
from accelerate import cpu_offload

from tests import toys
from tests.toys import picture_batch
from tinyllava_kit import TinyLlavaForConditionalGeneration, assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.model.offloading import at_hand


@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2", "dinov2_with_registers"])
def test_an_offloaded_tower_answers_as_it_does_in_place(saved, tmp_path, tower):
    checkpoint = toys.ASSETS / f"{tower.removesuffix('_with_registers')}-tiny"
    if tower == "dinov2_with_registers":
        from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

        config = Dinov2WithRegistersConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14
        )
        Dinov2WithRegistersModel(config).save_pretrained(tmp_path / "tower")
        (tmp_path / "tower" / "preprocessor_config.json").write_text(
            (checkpoint / "preprocessor_config.json").read_text()
        )
        checkpoint = tmp_path / "tower"
    parts = Assembly.from_flags(
        llm=f"llama:{saved.parent}/llm",
        towers=[f"image={tower}:{checkpoint}"],
        connectors=["image=resampler"],
        settings=["connector.image.num_queries=3"],
    )
    model, processor = assemble(parts)
    model.save_pretrained(tmp_path / "model")
    batch = picture_batch(processor)
    with torch.no_grad():
        wanted = model(**batch).logits
    placed = {"towers": "disk", "connectors": "disk", "language_model": "cpu"}
    offloaded = TinyLlavaForConditionalGeneration.from_pretrained(
        tmp_path / "model", device_map=placed, offload_folder=str(tmp_path / "offload")
    )
    with torch.no_grad():
        for _ in range(2):  # what was brought has gone again
            assert torch.allclose(offloaded(**batch).logits, wanted, atol=1e-5)
    assert all(weight.is_meta for weight in offloaded.towers.parameters())


def test_weights_are_there_within_the_block_alone():
    part = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
    before = {name: value.clone() for name, value in part.state_dict().items()}
    with at_hand(part):  # nothing is offloaded
        assert all(torch.equal(value, before[name]) for name, value in part.named_parameters())
    cpu_offload(part, torch.device("cpu"))
    assert all(weight.is_meta for weight in part.parameters())
    with at_hand(part):
        assert all(torch.equal(value, before[name]) for name, value in part.named_parameters())
    assert all(weight.is_meta for weight in part.parameters())
