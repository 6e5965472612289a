"""External checkpoints as models of this kit: each weight under our name, sizes and scales as its program had them."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tests.checkpoints.copies import CASE, change_config, change_weights, copied, logits_of, with_gemma
from tests.golden_models import GOLDEN, largest
from tinyllava_kit.checkpoints.conversion import convert
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.checkpoints.quantization import Quantization
from tinyllava_kit.model.storage.recognition import open_external


@pytest.mark.parametrize("connector", ["linear", "mlp2x_gelu", "resampler"])
def test_gemma_of_transformers_4_scaled_the_rows_of_pictures_too(tmp_path, connector):
    """Then its forward multiplied all embeddings by the root of its width, now its table of tokens does."""
    case = next(path for path in GOLDEN.glob(f"*clip_{connector}"))
    folder, gemma = with_gemma(copied(case, tmp_path / "model"))
    base, _ = load_pretrained(case)
    ours, _ = load_pretrained(folder)
    ids, pixels = torch.tensor([[2, 17, -200, 30, 31]]), torch.randn(1, 3, 28, 28)
    logits, _ = logits_of(ours.eval(), {"in.input_ids": ids, "in.images": pixels})
    with torch.no_grad():
        rows = base.eval().encode("image", {"pixel_values": pixels})[0]  # (P, D), as the Factory's connector makes them
        table = gemma.get_input_embeddings().weight
        embeds = torch.cat([table[[2, 17]], rows, table[[30, 31]]])[None] * 64**0.5
        assert largest(logits, gemma(inputs_embeds=embeds).logits) < 1e-4


def test_dinov2_gets_pictures_of_the_size_that_its_image_processor_makes(tmp_path):
    """Its configuration names the size that it was trained at, which is another."""
    case = GOLDEN / "tinyllama_dinov2_mlp2x_gelu"
    config = json.loads((case / "config.json").read_text())
    folder = tmp_path / "assets" / "dinov2-tiny"
    shutil.copytree(GOLDEN / "assets" / "dinov2-tiny", folder)
    change_config(folder, image_size=56)
    model = change_config(
        copied(case, tmp_path / "m" / "model"), vision_config={**config["vision_config"], "image_size": 56}
    )
    key = "vision_tower._vision_tower.embeddings.position_embeddings"
    change_weights(model, lambda state: state.update({key: torch.randn(1, 17, 32)}))
    model, processor = load_pretrained(model)
    assert processor.preprocessors["image"].size == (28, 28)
    assert model.encode("image", {"pixel_values": torch.randn(1, 3, 28, 28)}).shape[1] == 4


def test_a_foreign_checkpoint_is_quantized_while_it_is_read(tmp_path):
    """With the weights that its converted directory gives, quantized in the same way."""
    external, _ = load_pretrained(CASE, quantization=Quantization(bits=8))
    convert(open_external(CASE), tmp_path / "out")
    ours, _ = load_pretrained(tmp_path / "out", quantization=Quantization(bits=8))
    name = "language_model.model.layers.0.mlp.down_proj"
    assert type(external.get_submodule(name)).__name__ == "Linear8bitLt"
    ids = torch.tensor([[1, 17, 30]])
    with torch.no_grad():
        assert torch.equal(external(ids).logits, ours(ids).logits)
