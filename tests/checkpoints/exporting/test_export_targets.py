"""What a model can be exported to, and what all targets ask of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.golden_models import GOLDEN
from tests.strokes import drawing, drawing_model  # noqa: F401 (a fixture)
from tinyllava_kit import KitError, load_pretrained
from tinyllava_kit.checkpoints.exporting import llava
from tinyllava_kit.checkpoints.exporting.export_targets import load_target, table_of, target_names

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


@pytest.mark.usefixtures("drawing")
def test_every_target_says_what_it_leaves_out(tmp_path):
    model, processor = drawing_model(tmp_path)
    for name in target_names():
        assert "without decoder drawing: the LLM's text alone" in load_target(name).notes(model, processor), name
