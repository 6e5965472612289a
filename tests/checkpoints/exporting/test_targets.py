"""What a model can be exported to, and what all targets ask of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.golden_models import GOLDEN
from tinyllava_kit import KitError, load_pretrained
from tinyllava_kit.checkpoints.exporting import llava
from tinyllava_kit.checkpoints.exporting.export_targets import load_target, table_of, target_names
from tinyllava_kit.checkpoints.exporting.requirements import is_close, is_two_layers_with_gelu, largest

CLIP = "tinyllama_clip_mlp2x_gelu"


def golden(case, **how):
    model, processor = load_pretrained(GOLDEN / case, **how)
    return model.eval(), processor


@pytest.mark.parametrize(
    ("case", "possible"),
    [
        (CLIP, ["yes", "yes", "yes"]),
        ("tinyllama_siglip_mlp2x_gelu_cls_patch", ["yes", "yes", "yes"]),
        ("tinyllama_siglip_mlp2x_gelu", ["yes", "yes", "no"]),
        ("tinyllama_dinov2_mlp2x_gelu", ["no", "yes", "no"]),
        ("phi_siglip_mlp2x_gelu", ["no", "yes", "no"]),
    ],
)
def test_a_table_says_what_is_possible(tmp_path, case, possible):
    model, processor = golden(case)
    head, *rows = table_of(model, processor, target_names())
    assert head[:2] == ["TARGET", "POSSIBLE"]
    assert [row[0] for row in rows] == target_names()
    assert [row[1] for row in rows] == possible
    for name, said, why in rows:
        if said == "no":
            assert why
            with pytest.raises(KitError, match="cannot be "):
                load_target(name).export(model, processor, tmp_path / name)
        else:
            assert load_target(name).export(model, processor, tmp_path / name)


@pytest.mark.parametrize("target", ["hf-llava", "gguf"])
def test_texts_around_a_picture_are_refused(target):
    model, processor = golden(CLIP)
    spec = processor.specs["image"]
    processor.specs["image"] = replace(spec, token=replace(spec.token, begin="<im>", end="</im>"))
    faults = load_target(target).faults(model, processor)
    assert faults == ["pictures stand between '<im>' and '</im>', which another program would not write"]


@pytest.mark.parametrize("target", ["hf-llava", "gguf"])
def test_a_model_that_hears_as_well_is_refused(target):
    model, processor = golden(CLIP)
    model.config.towers["audio"] = model.config.towers["image"]
    assert any("it reads image, audio; " in fault for fault in load_target(target).faults(model, processor))


def test_a_template_without_jinja_is_said():
    model, processor = golden(CLIP)
    processor.template = SimpleNamespace(jinja=lambda: None)
    assert llava.notes(model, processor) == ["its chat template has no form in jinja and is not written"]
    assert any("chat template" in note for note in load_target("gguf").notes(model, processor))


def test_the_approximate_gelu_is_another_connector():
    model, _ = golden(CLIP)
    assert is_two_layers_with_gelu(model.connectors["image"])
    model.connectors["image"].layers[1] = torch.nn.GELU(approximate="tanh")
    assert not is_two_layers_with_gelu(model.connectors["image"])


def test_halves_that_differ_by_more_than_rounding_are_not_written(tmp_path, monkeypatch):
    model, processor = golden(CLIP, dtype=torch.bfloat16)
    assert llava.export(model, processor, tmp_path / "right").close
    monkeypatch.setattr(llava, "largest", lambda ours, theirs: 0.2 * float(ours.abs().max()))
    with pytest.raises(KitError, match="its logits would differ by"):
        llava.export(model, processor, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_what_the_written_processor_makes_of_a_picture_is_measured(tmp_path):
    """At most a step of 255 away: transformers resizes pictures with torchvision where it is installed, we with PIL."""
    model, processor = golden(CLIP)
    parity = llava.export(model, processor, tmp_path / "out")
    assert parity.pixels <= 1.01 / 255 / min(processor.preprocessors["image"]._processor.image_std)
    assert parity.lines()[-1].startswith("pixels that its processor makes of a picture: largest difference ")


def test_a_difference_is_one_of_rounding_or_not():
    ours = torch.tensor([100.0, -3.0])
    assert is_close(1e-4, ours)
    assert not is_close(2e-4, ours)
    assert is_close(4.0, ours.to(torch.bfloat16))
    assert not is_close(6.0, ours.to(torch.bfloat16))
    assert largest(ours, ours + torch.tensor([0.0, 0.5])) == 0.5
    assert largest(ours, ours[:1]) == float("inf")
    assert largest(ours, ours * float("nan")) == float("inf")
    assert largest(torch.zeros(0), torch.zeros(0)) == 0
