"""TinyLLaVA_Factory's layouts: parts in folders, adapters, a mixture of two towers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModel, Dinov2Model

from tests.checkpoints.copies import CASE, PARTS, change_config, change_weights, copied, logits_of, with_gemma
from tests.golden_models import GOLDEN, largest
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.conversion import convert
from tinyllava_kit.checkpoints.external.factory import _scale
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.model.storage.recognition import open_external


def test_a_directory_for_each_part_is_one_model():
    """What the Factory itself cannot open (PEER.md 2.4); the numbers are those of its parts, loaded one by one."""
    stored = load_file(PARTS / "load.safetensors")
    model, _ = load_pretrained(PARTS / "tiny-pretrain")
    logits, real = logits_of(model.eval(), stored)
    assert largest(logits[real], stored["component_dir_via_load_llm.logits"][real]) < 1e-4


def test_an_adapter_is_added_to_the_weights_it_stands_on():
    """The Factory merges in float16, so its numbers are rougher than ours."""
    stored = load_file(PARTS / "load.safetensors")
    model, _ = load_pretrained(PARTS / "tiny-finetune-lora")
    logits, real = logits_of(model.eval(), stored)
    reference = stored["lora_dir.logits"].float()
    assert largest(logits[real], reference[real]) < 0.06
    base, _ = load_pretrained(PARTS / "tiny-pretrain")
    assert largest(logits_of(base.eval(), stored)[0][real], reference[real]) > 0.1


def test_a_merged_weight_is_base_plus_scale_times_b_a():
    folder = PARTS / "tiny-finetune-lora"
    model, _ = load_pretrained(folder)
    adapter = load_file(folder / "adapter_model.safetensors")
    base = torch.load(folder / "language_model" / "pytorch_model.bin", weights_only=True)
    name = "model.layers.1.mlp.down_proj"
    low, high = (adapter[f"base_model.model.language_model.{name}.lora_{x}.weight"] for x in "AB")
    expected = base[f"{name}.base_layer.weight"] + 8 / 4 * high @ low
    torch.testing.assert_close(model.state_dict()[f"language_model.{name}.weight"], expected)


def test_the_name_of_a_directory_decides_nothing(tmp_path):
    for source, name in (
        (PARTS / "tiny-pretrain", "finetune-lora"),
        (PARTS / "tiny-finetune-lora", "x"),
        (CASE, "lora"),
    ):
        ours, _ = load_pretrained(copied(source, tmp_path / name))
        theirs, _ = load_pretrained(source)
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """A checkpoint of the Factory with two towers, whose configuration describes the first, in names of transformers 4.

    Beside it lies DINOv2, under the name by which the configuration calls it.
    """
    folder = copied(CASE, tmp_path_factory.mktemp("mof") / "models" / "model")
    shutil.copytree(GOLDEN / "assets" / "dinov2-tiny", folder.parent / "dinov2-tiny")
    shutil.copytree(GOLDEN / "assets" / "clip-tiny", folder.parent / "clip-tiny")
    config = json.loads((folder / "config.json").read_text())
    names = {"vision_model_name_or_path": "mof:clip-tiny", "vision_model_name_or_path2": "mof:dinov2-tiny"}
    bare = {"model_name_or_path": "clip-tiny", "model_name_or_path2": "dinov2-tiny"}
    change_config(folder, connector_type="mof_mlp", vision_config={**config["vision_config"], **bare}, **names)
    dinov2 = load_file(GOLDEN / "tinyllama_dinov2_mlp2x_gelu" / "model.safetensors")
    prefix = "vision_tower._vision_tower."

    def with_both(state):
        for key in [k for k in state if k.startswith(prefix)]:
            state[f"{prefix}clip.{key.removeprefix(prefix)}"] = state.pop(key)
        theirs = {k.removeprefix(prefix): v for k, v in dinov2.items() if k.startswith(prefix)}
        state.update({f"{prefix}dinov2.{k}": v for k, v in theirs.items()})
        for key in [k for k in state if k.startswith("connector.")]:
            value = state.pop(key)
            for half in ("clip", "dinov2"):
                state[key.replace("_connector.", f"_connector.{half}.")] = torch.randn_like(value)

    return change_weights(folder, with_both)


@torch.no_grad()
def mixed_rows(folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    """What the Factory's mixture makes of pictures, by transformers' classes and a loop: (N, 2 P, D)."""
    state = load_file(folder / "model.safetensors")
    rows = {}
    for name, kind in (("clip", CLIPVisionModel), ("dinov2", Dinov2Model)):
        tower = kind.from_pretrained(GOLDEN / "assets" / f"{name}-tiny").eval()
        features = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]  # (N, P, E)
        first, second = (
            (state[f"connector._connector.{name}.{n}.weight"], state[f"connector._connector.{name}.{n}.bias"])
            for n in (0, 2)
        )
        hidden = torch.nn.functional.gelu(features @ first[0].T + first[1])
        rows[name] = hidden @ second[0].T + second[1]  # (N, P, D)
    count = rows["clip"].shape[1]
    return torch.stack([rows[name][:, at] for at in range(count) for name in ("clip", "dinov2")], dim=1)


def test_a_mixture_of_two_towers_gives_the_rows_of_clip_and_dinov2_in_turn(mixture, tmp_path):
    assert check(mixture).config.component("tower", "image").name == "mof"
    pixels = torch.randn(2, 3, 28, 28)
    expected = mixed_rows(mixture, pixels)
    convert(open_external(mixture), tmp_path / "out")
    for folder in (mixture, tmp_path / "out"):
        model, processor = load_pretrained(folder)
        with torch.no_grad():
            assert largest(model.eval().encode("image", {"pixel_values": pixels}), expected) < 1e-4
        own = json.loads((GOLDEN / "assets" / "clip-tiny" / "preprocessor_config.json").read_text())
        assert list(processor.preprocessors["image"].mean) == pytest.approx(own["image_mean"])


def test_a_mixture_says_which_configuration_it_needs(mixture, tmp_path):
    folder = copied(mixture, tmp_path / "alone" / "model")
    with pytest.raises(KitError, match=r"names the vision model 'dinov2-tiny' .* with --names-from DIR$"):
        check(folder)
    assert check(folder, names_from=str(mixture.parent)).config.component("tower", "image").name == "mof"
    change_config(folder, vision_model_name_or_path2="")
    with pytest.raises(KitError, match="weights are of CLIP and DINOv2; vision_model_name_or_path2 must name the latt"):
        check(folder)


def test_gemma_of_transformers_4_scaled_the_rows_of_a_mixture_too(mixture, tmp_path):
    folder, _ = with_gemma(copied(mixture, tmp_path / "model"))
    model, _ = load_pretrained(folder, names_from=str(mixture.parent))
    pixels = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        rows = model.eval().encode("image", {"pixel_values": pixels})
    assert largest(rows / 64**0.5, mixed_rows(mixture, pixels)) < 1e-4


def without_high(state):
    state.pop(next(key for key in state if ".lora_B." in key))


def of_another_width(state):
    key = next(key for key in state if ".lora_A." in key)
    state[key] = torch.zeros(state[key].shape[0], 3)


def of_another_rank(state):
    key = next(key for key in state if ".lora_B." in key)
    state[key] = torch.zeros(state[key].shape[0], 3)


def of_no_shape(state):
    key = next(key for key in state if ".lora_A." in key)
    state[key] = state[key].sum()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_high, r"adapter_model\.safetensors: .*lora_A\.weight' has no lora_B beside it"),
        (of_another_width, r"adapter_model\.safetensors: .* does not fit the weight .* of shape"),
        (of_no_shape, r"adapter_model\.safetensors: .* does not fit the weight .* of shape"),
        (of_another_rank, r"adapter_model\.safetensors: .* does not fit the weight .* of shape"),
        (lambda state: state.update({"base_model.model.x.bias": torch.zeros(1)}), "'.*x.bias' is no weight of a LoRA"),
        (
            lambda state: state.update({f"base_model.model.x.lora_{n}.weight": torch.zeros(1, 1) for n in "AB"}),
            "adapts 'x', which the checkpoint does not have",
        ),
    ],
    ids=["half of it", "width", "no shape", "rank", "no adapter", "of nothing"],
)
def test_an_adapter_that_does_not_fit_is_refused_before_it_is_read(tmp_path, change, told):
    shutil.copytree(PARTS, tmp_path / "parts")
    folder = tmp_path / "parts" / "tiny-finetune-lora"
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(KitError, match=told):
        check(folder, names_from=str(GOLDEN))


def test_a_folder_of_a_part_that_is_missing_is_named(tmp_path):
    folder = copied(PARTS / "tiny-pretrain", tmp_path / "model")
    shutil.rmtree(folder / "connector")
    with pytest.raises(
        KitError, match="has no folder 'connector'; a directory of parts has language_model, vision_tower"
    ):
        check(folder, names_from=str(GOLDEN))


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"r": 4, "lora_alpha": 8}, 2.0),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, 4.0),
        ({"r": 4, "lora_alpha": 8, "rank_pattern": {"q_proj": 2}}, 4.0),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"q_proj": 2}, "rank_pattern": {"k_proj": 1}}, 0.5),
        ({"r": 4, "lora_alpha": 8, "rank_pattern": None, "alpha_pattern": None}, 2.0),
    ],
)
def test_an_adapter_is_scaled_as_peft_scales_it(settings, scale):
    assert _scale(settings, "model.layers.0.self_attn.q_proj") == scale
