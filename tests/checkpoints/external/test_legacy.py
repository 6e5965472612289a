"""Checkpoints of the code before TinyLLaVA_Factory."""

from __future__ import annotations

import pytest

from tests.checkpoints.copies import LEGACY, change_config, copied
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.external.legacy import _llm_type
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.checkpoints.parity import compare


@pytest.mark.parametrize("name", ["legacy_llama_clip_mlp2x_gelu", "legacy_phi_siglip_mlp2x_gelu"])
def test_a_legacy_checkpoint_gives_the_outputs_of_the_legacy_code(name):
    """Also with SigLIP, all of whose features the legacy code used; the Factory's converter drops one of them."""
    model, _ = load_pretrained(LEGACY / name)
    compared = compare(model.eval(), LEGACY / name / "legacy_outputs.safetensors")
    assert [row.name for row in compared] == ["image_features", "inputs_embeds", "labels", "logits"]
    assert all(row.equal for row in compared), compared


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"mm_patch_merge_type": "spatial"},
            r"mm_patch_merge_type 'spatial' \(LLaVA-1.6's tiles\) is not read; 'flat' is",
        ),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end adds tokens that are not read"),
        (
            {"architectures": ["LlavaFalconForCausalLM"]},
            "no LLM is known for 'LlavaFalconForCausalLM'; known are StableLM",
        ),
        ({"mm_vision_tower": "nowhere"}, "names the vision model 'nowhere'"),
    ],
)
def test_an_option_without_a_counterpart_is_refused(tmp_path, changes, told):
    folder = change_config(copied(LEGACY / "legacy_llama_clip_mlp2x_gelu", tmp_path / "model"), **changes)
    with pytest.raises(KitError, match=told):
        check(folder)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"architectures": ["TinyLlavaPhiForCausalLM"]}, "phi"),
        ({"architectures": ["LlavaStableLMEpochForCausalLM"]}, "stablelm"),
        ({"architectures": ["LlavaQwen2ForCausalLM"]}, "qwen2"),
        ({"architectures": ["LlavaMistralForCausalLM"]}, "mistral"),
        ({"model_type": "llava_llama"}, "llama"),
    ],
)
def test_the_llm_is_known_by_the_name_of_its_class(tmp_path, config, kind):
    assert _llm_type(tmp_path, config) == kind
