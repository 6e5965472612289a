"""Parity with TinyLLaVA_Factory: its weights and inputs in our model, its outputs out; and its defects, named.

The numbers in ``tests/golden`` were computed by its unmodified code. Largest allowed difference: 1e-4 in fp32;
greedy ids are equal.
"""

from __future__ import annotations

import functools

import pytest
import torch

from tests.golden_models import CASES, golden_model, image_rows, largest, scenario
from tinyllava_kit.checkpoints.parity import IMAGE_TOKEN, lay_out, spans_of
from tinyllava_kit.core.plan import plan
from tinyllava_kit.errors import FusionError, KitError

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
FORWARD = [
    "all_masked_row",
    "hole_in_mask",
    "image_start_middle_end_batch",
    "int_attention_mask",
    "labels_no_mask",
    "masked_out_image_token",
    "max_length_none",
    "mixed_left_pad",
    "mixed_text_1img_2img",
    "no_mask_no_labels",
    "one_image_end",
    "one_image_middle",
    "one_image_start",
    "position_ids_given",
    "text_only_dummy_image",
    "truncate_left_pad",
    "truncate_text",
    "two_images",
    "two_images_adjacent",
]
GENERATE = ["gen_image_start", "gen_one_image", "gen_text_only", "gen_two_images", "gen_batch_left_pad"]

model_of = functools.cache(golden_model)


def num_image_tokens(model):
    return model.encode("image", {"pixel_values": torch.zeros(1, 3, 28, 28)}).shape[1]


def layout_of(model, tensors, meta, *, side=None):
    """The inputs and the plan of a scenario, and the images that it uses."""
    overrides = meta.get("config_overrides", {})
    side = side or overrides.get("tokenizer_padding_side", "right")
    return lay_out(model, tensors, side, overrides.get("tokenizer_model_max_length", 2048))


@torch.no_grad()
def run(model, inputs, layout, images):
    items = {"image": {"pixel_values": images}} if images is not None else {}
    embeds = model.embed(inputs["input_ids"], items, layout)
    return embeds, model(**inputs, plan=layout, items=items)


@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("case", CASES)
def test_forward_equals_the_factorys(case, name):
    model = model_of(case)
    tensors, meta = scenario(case, name)
    inputs, layout, images = layout_of(model, tensors, meta)
    has_targets = layout.target_positions is not None and len(layout.target_positions)
    embeds, output = run(model, inputs, layout, images)
    assert largest(embeds, tensors["out.inputs_embeds"]) < TOLERANCE
    if "out.labels" in tensors:
        ours = inputs.get("labels", torch.full_like(inputs["input_ids"], -100))
        assert torch.equal(ours, tensors["out.labels"])
    if "out.attention_mask" in tensors:
        assert torch.equal(layout.attention_mask.bool(), tensors["out.attention_mask"].bool())
    if "out.position_ids" in tensors:
        assert torch.equal(layout.position_ids, tensors["out.position_ids"].long())
    real = layout.attention_mask.bool()
    assert largest(output.logits[real], tensors["fwd.logits"][real]) < TOLERANCE
    if has_targets:
        assert abs(float(output.loss) - meta["fwd.loss"]) < TOLERANCE


@pytest.mark.parametrize("name", GENERATE)
@pytest.mark.parametrize("case", CASES)
def test_greedy_ids_equal_the_factorys(case, name):
    model = model_of(case)
    tensors, meta = scenario(case, name)
    inputs, layout, images = layout_of(model, tensors, meta, side="left")
    items = {"image": {"pixel_values": images}} if images is not None else {}
    options = {k: v for k, v in meta["generate_kwargs"].items() if k != "use_cache"}
    ids = model.generate(
        input_ids=inputs["input_ids"], attention_mask=layout.attention_mask, items=items, plan=layout, **options
    )
    assert ids[:, inputs["input_ids"].shape[1] :].tolist() == tensors["gen.ids"].tolist()


@pytest.mark.parametrize("case", CASES)
def test_image_rows_equal_the_factorys(case):
    tensors, _ = scenario(case, "two_images")
    assert largest(image_rows(model_of(case), tensors["in.images"]), tensors["out.image_features"]) < 2e-5


CASE = "tinyllama_clip_mlp2x_gelu"


def test_defect_a_cut_inside_an_image_leaves_it_out_whole_and_is_reported():
    """The Factory keeps the first part of a picture's features (PEER.md 2.1, 6)."""
    model = model_of(CASE)
    tensors, meta = scenario(CASE, "truncate_inside_image")
    _, layout, _ = layout_of(model, tensors, meta)
    assert layout.items == ()
    assert layout.truncations[0].items == {"image": 1}
    assert layout.shape[1] < tensors["out.inputs_embeds"].shape[1]


@pytest.mark.parametrize(("name", "have", "want"), [("too_few_images", 1, 2), ("too_many_images", 3, 1)])
def test_defect_images_that_are_not_as_many_as_placeholders_are_an_error(name, have, want):
    """The Factory dies with an IndexError, or ignores the surplus (PEER.md 2.1, 5)."""
    model = model_of(CASE)
    tensors, _ = scenario(CASE, name)
    inputs, layout = plan(
        [spans_of(tensors["in.input_ids"][0], tensors["in.labels"][0], None, num_image_tokens(model))]
    )
    with pytest.raises(FusionError, match=rf"the plan has {want} image item\(s\), {have} came with the batch"):
        run(model, inputs, layout, tensors["in.images"])


def test_defect_a_text_row_takes_no_image():
    """In the Factory it takes the next row's (PEER.md 2.1, 5: `text_row_steals_image`)."""
    model = model_of(CASE)
    tensors, _ = scenario(CASE, "text_row_steals_image")
    tokens = num_image_tokens(model)
    samples = [
        spans_of(ids, labels, mask, tokens)
        for ids, labels, mask in zip(
            *(tensors[f"in.{n}"] for n in ("input_ids", "labels", "attention_mask")), strict=True
        )
    ]
    inputs, layout = plan(samples)
    embeds, _ = run(model, inputs, layout, tensors["in.images"])
    assert largest(embeds.flatten(0, 1)[layout.item_positions["image"]], tensors["out.image_features"][0]) < TOLERANCE


def test_defect_a_prompt_that_is_one_image_is_fused():
    """The Factory takes any prompt of one token for a decoding step (PEER.md 2.1, 1: `only_image_token`)."""
    model = model_of(CASE)
    tensors, _ = scenario(CASE, "only_image_token")
    assert (tensors["in.input_ids"] == IMAGE_TOKEN).all()
    samples = [spans_of(row, None, None, num_image_tokens(model)) for row in tensors["in.input_ids"]]
    inputs, layout = plan(samples)
    embeds, _ = run(model, inputs, layout, tensors["in.images"])
    assert largest(embeds, image_rows(model, tensors["in.images"])) == 0.0


def test_defect_rows_of_uneven_length_are_masked_though_no_mask_was_given():
    """The Factory gives no mask back, so its padding is attended (PEER.md 2.1, 8: `no_mask_uneven_rows`)."""
    model = model_of(CASE)
    tensors, meta = scenario(CASE, "no_mask_uneven_rows")
    inputs, layout, images = layout_of(model, tensors, meta)
    assert layout.attention_mask.sum(1).tolist() != [inputs["input_ids"].shape[1]] * 2
    embeds, _ = run(model, inputs, layout, images)
    assert largest(embeds, tensors["out.inputs_embeds"]) < TOLERANCE


def test_defect_a_row_without_a_label_is_an_error_not_nan():
    """The Factory's loss is NaN, which its log shows as 0.0 (PEER.md 2.1, 6)."""
    model = model_of(CASE)
    tensors, meta = scenario(CASE, "labels_all_ignored")
    inputs, layout, images = layout_of(model, tensors, meta)
    assert meta["fwd.loss"] == "nan"
    with pytest.raises(KitError, match="no position of the batch has a label"):
        run(model, inputs, layout, images)


def test_defect_generation_of_a_right_padded_batch_is_refused():
    """The Factory's default side; its answers for the padded rows are wrong (PEER.md 2.1, 9)."""
    model = model_of(CASE)
    tensors, meta = scenario(CASE, "gen_batch_right_pad")
    inputs, layout, images = layout_of(model, tensors, meta)
    with pytest.raises(KitError, match="generate needs one sample a row, padded on the left"):
        model.generate(input_ids=inputs["input_ids"], items={"image": {"pixel_values": images}}, plan=layout)


def test_the_siglip_tower_that_the_kit_makes_keeps_the_patch_that_the_factory_drops():
    """PEER.md TL;DR 3: the Factory drops index 0 of every tower, also where no class token stands there."""
    whole = model_of("tinyllama_siglip_mlp2x_gelu_cls_patch").towers["image"]
    dropped = model_of("tinyllama_siglip_mlp2x_gelu").towers["image"]
    images = torch.randn(2, 3, 28, 28)
    assert whole(pixel_values=images).features.shape[1] == 4
    assert dropped(pixel_values=images).features.shape[1] == 3
