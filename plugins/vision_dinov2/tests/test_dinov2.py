"""The DINOv2 towers against transformers' Dinov2Model and Dinov2WithRegistersModel, at toy size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tinyllava_kit_vision_dinov2.plugin import DINOV2, DINOV2_WITH_REGISTERS
from tinyllava_kit_vision_dinov2.tower import Dinov2Preprocessor, Dinov2Tower, Dinov2WithRegistersTower
from transformers import (
    BitImageProcessorPil,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedModel,
    logging,
)

from tinyllava_kit import KitError
from tinyllava_kit.specs import load

# N pictures of SIDE x SIDE pixels, P patches, E wide, of L layers, R registers; trained at TRAINED x TRAINED pixels
N, SIDE, PATCH, P, E, L, R, TRAINED = 2, 35, 7, 25, 18, 5, 3, 49
GOLDEN_DINOV2 = Path(__file__).parents[3] / "tests" / "golden" / "assets" / "dinov2-tiny"  # saved by transformers 4.40


class Kind(NamedTuple):
    tower: type[Dinov2Tower]
    config: type
    model: type[PreTrainedModel]
    sizes: dict[str, Any]
    prefix: int  # what stands before the patches in the hidden states


KINDS = {
    "dinov2": Kind(Dinov2Tower, Dinov2Config, Dinov2Model, {}, 1),
    "dinov2_with_registers": Kind(
        Dinov2WithRegistersTower,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        {"num_register_tokens": R},
        1 + R,
    ),
}
every_kind = pytest.mark.parametrize("name", KINDS)


@pytest.fixture(autouse=True)
def quiet():
    logging.set_verbosity_error()  # of the reference classes; the tower must be quiet by itself
    yield
    logging.set_verbosity_warning()


def save(name: str, folder: Path, *, crop: int, **options: Any) -> Path:
    """A directory as a hub has it, with the image processor; what it crops is 7/8 of the shorter side."""
    torch.manual_seed(0)
    kind = KINDS[name]
    sizes = {
        "hidden_size": E,
        "mlp_ratio": 2,
        "num_hidden_layers": L,
        "num_attention_heads": 3,
        "image_size": TRAINED,
        "patch_size": PATCH,
    }
    model = kind.model(kind.config(**{**sizes, **kind.sizes, **options}))
    for parameter in model.parameters():  # biases, scales and registers too, so that a forgotten one is seen
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    processor(crop).save_pretrained(folder)
    return folder


def processor(crop: int) -> BitImageProcessorPil:
    return BitImageProcessorPil(
        size={"shortest_edge": crop * 8 // 7},
        crop_size={"height": crop, "width": crop},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )


@pytest.fixture(scope="module")
def directories(tmp_path_factory) -> dict[str, Path]:
    """Trained at another size than their image processors make, as the published ones."""
    return {name: save(name, tmp_path_factory.mktemp(name), crop=SIDE) for name in KINDS}


def reference(name: str, folder: Path) -> PreTrainedModel:
    return KINDS[name].model.from_pretrained(folder, attn_implementation="sdpa").eval()


def pictures(side: int) -> torch.Tensor:
    return torch.randn(N, 3, side, side, generator=torch.Generator().manual_seed(1))


def loaded(name: str, checkpoint: Path, **options: Any) -> Dinov2Tower:
    kind = KINDS[name].tower
    tower = kind(kind.read_config(str(checkpoint), **options)).eval()
    tower.load_weights(str(checkpoint))
    return tower


# --- parity ---


@every_kind
@pytest.mark.parametrize("select", ["patch", "cls_patch"])
@pytest.mark.parametrize("layer", [-1, -2, -L - 1, 0, 3])
def test_features_equal_the_hidden_states_of_transformers(directories, name, layer, select) -> None:
    """At the trained size and at others, 30 among them, which is no whole number of patches."""
    model = reference(name, directories[name])
    for side in (TRAINED, SIDE, 63, 30):
        images = pictures(side)
        hidden = model(images, output_hidden_states=True).hidden_states[layer]  # (N, 1 + R + P, E)
        expected = hidden[:, KINDS[name].prefix :]
        if select == "cls_patch":
            expected = torch.cat([hidden[:, :1], expected], dim=1)
        features = loaded(name, directories[name], layer=layer, select=select, image_size=side)(images)
        assert torch.equal(features.features, expected)
        count = (side // PATCH) ** 2 + (select == "cls_patch")
        assert (features.lengths, features.features.shape) == (None, (N, count, E))


def test_the_published_giants_feed_forward_is_built(tmp_path) -> None:
    folder = save("dinov2", tmp_path, crop=SIDE, use_swiglu_ffn=True)
    expected = reference("dinov2", folder)(pictures(SIDE), output_hidden_states=True).hidden_states[-2][:, 1:]
    assert torch.equal(loaded("dinov2", folder)(pictures(SIDE)).features, expected)


def test_the_golden_checkpoint_of_transformers_4_gives_the_same_features() -> None:
    expected = reference("dinov2", GOLDEN_DINOV2)(pictures(28), output_hidden_states=True).hidden_states[-2]
    assert torch.equal(loaded("dinov2", GOLDEN_DINOV2)(pictures(28)).features, expected[:, 1:])


@every_kind
def test_gradients_reach_every_parameter(directories, name) -> None:
    """Also those of the positions, through the interpolation."""
    tower = loaded(name, directories[name], select="cls_patch")
    tower(pictures(SIDE)).features.square().sum().backward()
    # adding one number to all keys changes no attention weight
    no_gradient = [n for n, p in tower.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-4]
    assert [n for n in no_gradient if "k_proj.bias" not in n] == []


# --- only what is needed ---


@every_kind
@pytest.mark.parametrize(("layer", "kept"), [(-2, L - 1), (-1, L), (2, 2), (0, 0)])
def test_only_what_is_read_is_built_under_the_names_of_transformers_5(directories, name, layer, kept) -> None:
    tower = loaded(name, directories[name], layer=layer)
    names = set(reference(name, directories[name]).state_dict())
    unread = {"embeddings.mask_token", "layernorm.weight", "layernorm.bias"}
    assert unread <= names
    assert set(tower.state_dict()) == {n for n in names - unread if layer_of(n) < kept}
    assert "embeddings.patch_embeddings.projection.weight" in tower.state_dict()
    assert ("encoder.layer.0.attention.q_proj.weight" in tower.state_dict()) == bool(kept)


def layer_of(name: str) -> int:
    parts = name.split(".")
    return int(parts[2]) if parts[0] == "encoder" else -1


@every_kind
def test_num_features_width_and_grid_are_known_without_running(directories, name) -> None:
    kind = KINDS[name].tower
    for select, grid in (("patch", (5, 5)), ("cls_patch", None)):
        config = kind.read_config(str(directories[name]), select=select)
        tower, preprocessor = kind(config), kind.read_preprocessor(str(directories[name]), config)
        features = tower(pictures(SIDE))
        assert preprocessor.num_features(Image.new("RGB", (3, 2))) == [features.features.shape[1]]
        assert (tower.embed_dim, tower.grid, features.grid) == (E, grid, grid)


@every_kind
def test_the_configuration_is_enough_to_build_the_tower_again(directories, name) -> None:
    kind = KINDS[name].tower
    config = kind.read_config(str(directories[name]), layer=-3, select="cls_patch", image_size=21)
    again = json.loads(json.dumps(config))
    assert again == config
    assert not {"out_features", "out_indices", "stage_names"} & config["vision_config"].keys()
    shapes = {k: v.shape for k, v in kind(again).state_dict().items()}
    assert shapes == {k: v.shape for k, v in loaded(name, directories[name], layer=-3).state_dict().items()}


def test_a_configuration_without_image_size_is_of_the_trained_size(directories) -> None:
    """As old checkpoints have it, with the names of layers that transformers adds for backbones."""
    vision = Dinov2Config.from_pretrained(directories["dinov2"]).to_dict()
    assert vision["out_features"] == [f"stage{L}"]
    tower = Dinov2Tower({"vision_config": vision, "layer": -2, "select": "patch"})
    assert tower.grid == (7, 7)
    assert tower(pictures(TRAINED)).features.shape == (N, 49, E)


# --- pictures ---


@every_kind
def test_pixels_equal_those_of_transformers(directories, name) -> None:
    kind = KINDS[name].tower
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8))
    preprocessor = kind.read_preprocessor(str(directories[name]), kind.read_config(str(directories[name])))
    expected = BitImageProcessorPil.from_pretrained(directories[name])(image, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(preprocessor.pixels(image), expected)
    assert preprocessor.size == (SIDE, SIDE)


def test_another_size_keeps_the_share_that_is_cropped(directories) -> None:
    folder = str(directories["dinov2"])
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (101, 83, 3), np.uint8))
    preprocessor = Dinov2Tower.read_preprocessor(folder, Dinov2Tower.read_config(folder, image_size=63))
    assert preprocessor.settings()["processor"]["size"] == {"shortest_edge": 72}
    assert torch.equal(preprocessor.pixels(image), processor(63)(image, return_tensors="pt")["pixel_values"][0])
    assert preprocessor.num_features(image) == [81]


def test_the_default_preprocessor_is_that_of_the_published_checkpoints() -> None:
    config = {"vision_config": Dinov2Config().to_dict(), "layer": -2, "select": "patch"}
    settings = Dinov2Tower.default_preprocessor(config).settings()
    assert settings["features_per_image"] == 256
    assert settings["processor"]["size"] == {"shortest_edge": 256}
    assert settings["processor"]["crop_size"] == {"height": 224, "width": 224}
    assert settings["processor"]["image_mean"] == [0.485, 0.456, 0.406]
    assert Dinov2Preprocessor.from_settings(settings).settings() == settings


def test_squeezed_pictures_stay_squeezed_at_another_size(directories, tmp_path) -> None:
    folder = save("dinov2", tmp_path, crop=SIDE)
    square = {"height": SIDE, "width": SIDE}
    BitImageProcessorPil(size=square, do_center_crop=False).save_pretrained(folder)
    config = Dinov2Tower.read_config(str(folder), image_size=63)
    preprocessor = Dinov2Tower.read_preprocessor(str(folder), config)
    assert preprocessor.pixels(Image.new("RGB", (40, 90))).shape == (3, 63, 63)
    assert Dinov2Tower.read_config(str(folder))["image_size"] == SIDE


# --- what is refused ---


def test_a_checkpoint_of_another_kind_is_named(directories, tmp_path) -> None:
    CLIPVisionConfig().save_pretrained(tmp_path)
    with pytest.raises(KitError, match=r"is a 'clip_vision_model' checkpoint; this component takes 'dinov2'$"):
        Dinov2Tower.read_config(str(tmp_path))
    with pytest.raises(KitError, match=r"is a 'dinov2_with_registers' checkpoint; this component takes 'dinov2'$"):
        Dinov2Tower.read_config(str(directories["dinov2_with_registers"]))
    with pytest.raises(KitError, match=r"is a 'dinov2' checkpoint; this component takes 'dinov2_with_registers'$"):
        Dinov2WithRegistersTower.read_config(str(directories["dinov2"]))


@pytest.mark.parametrize("side", [6, -35])
def test_a_picture_smaller_than_a_patch_is_refused(directories, side) -> None:
    with pytest.raises(KitError, match=rf"image_size got {side}; its patches are 7 pixels wide, give at least one"):
        Dinov2Tower.read_config(str(directories["dinov2"]), image_size=side)


@pytest.mark.parametrize("name", ["image_size", "patch_size"])
def test_sides_that_differ_are_refused(directories, tmp_path, name) -> None:
    config = json.loads((directories["dinov2"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, name: [35, 7]}))
    with pytest.raises(KitError, match=rf"has {name} \[35, 7\] in its config.json; expected a number, the side of a"):
        Dinov2Tower.read_config(str(tmp_path))


def test_a_preprocessor_that_does_not_make_squares_of_one_size_is_refused(directories, tmp_path) -> None:
    folder = save("dinov2", tmp_path, crop=SIDE)
    BitImageProcessorPil(crop_size={"height": 35, "width": 42}).save_pretrained(folder)
    with pytest.raises(KitError, match=r"its preprocessor makes pictures of 35 x 42 pixels; expected squares, give im"):
        Dinov2Tower.read_config(str(folder))
    BitImageProcessorPil(do_center_crop=False).save_pretrained(folder)
    with pytest.raises(KitError, match=r"pictures of a fixed height and width are expected, it makes them"):
        Dinov2Tower.read_config(str(folder))


def test_a_preprocessor_of_another_size_is_refused_where_none_was_asked_for(directories) -> None:
    config = Dinov2Tower.read_config(str(directories["dinov2"]))
    del config["image_size"]
    with pytest.raises(KitError, match="makes pictures of 35 x 35 pixels, its tower takes 49 x 49"):
        Dinov2Tower.read_preprocessor(str(directories["dinov2"]), config)


def test_a_layer_that_is_not_there_is_refused(directories) -> None:
    with pytest.raises(KitError, match=f"has no layer {L + 1}: it has {L}, counted from 0"):
        Dinov2Tower.read_config(str(directories["dinov2"]), layer=L + 1)


def test_weights_that_lack_a_layer_are_refused(tmp_path) -> None:
    folder = save("dinov2", tmp_path, crop=SIDE)
    state = load_file(folder / "model.safetensors")
    lost = {k: v for k, v in state.items() if "layer.1.mlp.fc1" not in k}
    save_file(lost, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(KitError, match=r"missing weights: encoder\.layer\.1\.mlp\.fc1\.bias, encoder"):
        loaded("dinov2", folder)


def test_loading_says_nothing_of_keys_that_are_not_needed(directories, capfd) -> None:
    logging.set_verbosity_warning()
    for name, folder in directories.items():
        loaded(name, folder)
    assert "UNEXPECTED" not in "".join(capfd.readouterr())


# --- the specs ---


@pytest.mark.parametrize("spec", [DINOV2, DINOV2_WITH_REGISTERS], ids=lambda spec: spec.name)
def test_the_spec_leads_to_the_tower_with_its_options(directories, spec) -> None:
    kind, folder = KINDS[spec.name].tower, str(directories[spec.name])
    assert load(spec) is kind
    assert spec.model_types == kind.model_types == (spec.name,)
    assert kind.read_config(folder, **spec.check_options({}, "test")) == kind.read_config(folder)
    assert next(o for o in spec.options if o.name == "select").choices == tuple(kind.selections)
