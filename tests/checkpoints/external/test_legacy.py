"""Checkpoints of the code before TinyLLaVA_Factory."""

from __future__ import annotations

import pytest

from tests.checkpoints.copies import LEGACY
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.checkpoints.parity import compare


@pytest.mark.parametrize("name", ["legacy_llama_clip_mlp2x_gelu", "legacy_phi_siglip_mlp2x_gelu"])
def test_a_legacy_checkpoint_gives_the_outputs_of_the_legacy_code(name):
    """Also with SigLIP, all of whose features the legacy code used; the Factory's converter drops one of them."""
    model, _ = load_pretrained(LEGACY / name)
    compared = compare(model.eval(), LEGACY / name / "legacy_outputs.safetensors")
    assert [row.name for row in compared] == ["image_features", "inputs_embeds", "labels", "logits"]
    assert all(row.equal for row in compared), compared
