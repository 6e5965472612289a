"""The tower `timm` against timm's own models, with random weights at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tinyllava_kit_vision_timm.plugin import TIMM
from tinyllava_kit_vision_timm.tower import TimmPreprocessor, TimmTower
from torch import Tensor, nn
from transformers import PreTrainedConfig

from tinyllava_kit import KitError, TinyLlavaPreTrainedModel
from tinyllava_kit.specs import load

N = 2

# name in the tests -> timm model, its arguments, side of the input
MODELS = {
    "efficientnet": ("tf_efficientnet_lite0", {}, 64),
    "vit": ("vit_tiny_patch16_224", {"embed_dim": 21, "depth": 5, "num_heads": 3}, 64),
    "vit_registers": ("vit_small_patch14_reg4_dinov2", {"embed_dim": 18, "depth": 3, "num_heads": 3}, 42),
    "eva": ("eva02_tiny_patch14_224", {"embed_dim": 24, "depth": 3, "num_heads": 2}, 42),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 12, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 3, 4), "window_size": 3},
        96,
    ),
}


class Saved:
    """A model of timm and the directory it was saved to."""

    def __init__(self, name: str, directory: Path) -> None:
        architecture, arguments, self.side = MODELS[name]
        if name != "efficientnet":  # a convolutional network takes any size
            arguments = {**arguments, "img_size": self.side}
        self.model = timm.create_model(architecture, pretrained=False, num_classes=5, **arguments).eval()
        scramble(self.model)
        timm.models.save_for_hf(self.model, directory, safe_serialization=True)
        self.directory = str(directory)

    def tower(self, **options) -> TimmTower:
        if self.side != timm.models.get_model_input_config(self.model)["input_size"][-1]:
            options.setdefault("image_size", self.side)
        tower = TimmTower(TimmTower.read_config(self.directory, **options)).eval()
        tower.load_weights(self.directory)
        return tower

    def pictures(self, side: int = 0) -> Tensor:
        return torch.randn(N, 3, side or self.side, side or self.side, generator=torch.Generator().manual_seed(5))


def scramble(model: nn.Module) -> None:
    """Every parameter and statistic random, so that a forgotten one is seen."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(1 + 0.1 * noise.abs() if name.endswith("running_var") else tensor + 0.1 * noise)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Name -> Saved; each made once."""
    made = {}

    def get(name: str) -> Saved:
        if name not in made:
            made[name] = Saved(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


def raster(feature_map: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H*W, C), the slow way."""
    _, _, height, width = feature_map.shape
    rows = [feature_map[:, :, y, x] for y in range(height) for x in range(width)]  # each (N, C)
    return torch.stack(rows, 1)


# --- features ---


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_final_features_are_those_of_forward_features(saved, name):
    reference, tower = saved(name), saved(name).tower()
    features = reference.model.forward_features(reference.pictures())
    if name == "efficientnet":
        expected, grid = raster(features), (2, 2)
    elif name == "swin":
        expected, grid = raster(features.permute(0, 3, 1, 2)), (3, 3)
    else:
        grid = {"vit": (4, 4), "vit_registers": (3, 3), "eva": (3, 3)}[name]
        expected = features[:, {"vit": 1, "vit_registers": 5, "eva": 1}[name] :]
    found = tower(reference.pictures())
    assert found.grid == tower.grid == grid
    assert found.lengths is None
    assert found.features.shape == (N, tower.config["num_features"], tower.embed_dim) == expected.shape
    assert torch.equal(found.features, expected)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("stage", [0, -2, -1])
@torch.no_grad()
def test_a_stage_is_the_map_of_forward_intermediates(saved, name, stage):
    reference, tower = saved(name), saved(name).tower(layer=f"stage:{stage}")
    maps = reference.model.forward_intermediates(reference.pictures(), intermediates_only=True, output_fmt="NCHW")
    found = tower(reference.pictures())
    assert found.grid == tower.grid == tuple(maps[stage].shape[-2:])
    assert tower.embed_dim == maps[stage].shape[1]
    assert torch.equal(found.features, raster(maps[stage]))


def test_layers_after_the_stage_are_not_built(saved):
    depth = len(saved("vit").model.blocks)
    tower = saved("vit").tower(layer="stage:-3")
    assert len(tower.model.blocks) == depth - 2
    kept = {name for name, parameter in tower.named_parameters() if parameter.numel()}
    assert not [name for name in kept if name.startswith(("model.norm", "model.head", "model.fc_norm"))]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layer", ["final", "stage:-1"])
def test_every_parameter_of_a_tower_is_trained_by_its_features(saved, name, layer):
    tower = saved(name).tower(layer=layer)
    tower(saved(name).pictures()).features.square().sum().backward()
    untouched = [name for name, parameter in tower.named_parameters() if parameter.grad is None]
    assert [name for name in untouched if "_token" not in name] == []


@torch.no_grad()
def test_a_pooling_head_with_weights_is_left_out():
    config = TimmTower.read_config("vgg11", image_size=64, pretrained=False)
    assert config["unused"] == ["pre_logits", "head"]
    with torch.device("meta"):
        tower = TimmTower(config)
        assert tower(torch.zeros(N, 3, 64, 64)).features.shape == (N, 4, 512)


@torch.no_grad()
def test_a_class_token_that_the_model_does_not_declare_is_dropped():
    config = TimmTower.read_config("coat_lite_tiny", pretrained=False)
    assert (config["num_prefix"], config["num_features"], config["grid"]) == (1, 49, [7, 7])


def test_tokens_that_are_no_raster_have_no_grid():
    with torch.device("meta"):
        tower = TimmTower(TimmTower.read_config("pit_ti_224", pretrained=False))  # its last layer: the class token only
    assert (tower.config["num_features"], tower.grid) == (1, None)


@torch.no_grad()
def test_another_image_size_gets_timms_fitted_position_embeddings(saved):
    reference = saved("vit")
    fitted = timm.create_model(f"local-dir:{reference.directory}", pretrained=True, img_size=80).eval()
    tower = reference.tower(image_size=80)
    assert tower.grid == (5, 5)
    expected = fitted.forward_features(reference.pictures(80))[:, 1:]
    assert torch.equal(tower(reference.pictures(80)).features, expected)


@torch.no_grad()
def test_pictures_are_taken_in_the_dtype_of_the_weights(saved):
    tower = saved("vit").tower().to(torch.bfloat16)
    assert tower(saved("vit").pictures()).features.dtype == torch.bfloat16


# --- configuration, weights, buffers ---


@pytest.mark.parametrize("name", MODELS)
def test_the_configuration_is_plain_json_without_paths_and_builds_the_tower_again(saved, name):
    config = saved(name).tower(layer="stage:-2").config
    text = json.dumps(config)
    assert saved(name).directory not in text
    with torch.device("meta"):
        again = TimmTower(json.loads(text))
    shapes = {key: tensor.shape for key, tensor in saved(name).tower(layer="stage:-2").state_dict().items()}
    assert {key: tensor.shape for key, tensor in again.state_dict().items()} == shapes


def test_reading_the_configuration_reads_no_weights(saved, tmp_path):
    config = Path(saved("swin").directory, "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    assert TimmTower.read_config(str(tmp_path)) == saved("swin").tower().config


class _Config(PreTrainedConfig):
    model_type = "toy_composite_timm"


class _Composite(TinyLlavaPreTrainedModel):
    """A model that holds the tower as the kit's model does."""

    config_class = _Config
    tower_config: dict

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        self.towers = nn.ModuleDict({"image": TimmTower(self.tower_config)})
        self.post_init()


@pytest.mark.parametrize("layer", ["final", "stage:-2"])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_tower_inside_a_model_comes_back_from_a_file_as_it_was(saved, name, layer, tmp_path, monkeypatch):
    """transformers loses buffers that are not saved: swin's masks and position indices, the rotary tables of eva."""
    tower = saved(name).tower(layer=layer)
    monkeypatch.setattr(_Composite, "tower_config", tower.config, raising=False)
    model = _Composite(_Config())
    model.towers["image"] = tower
    model.save_pretrained(tmp_path)
    again = _Composite.from_pretrained(tmp_path).eval().towers["image"]
    buffers, expected = dict(again.named_buffers()), dict(tower.named_buffers())
    assert buffers.keys() == expected.keys()
    for key, buffer in expected.items():
        assert torch.equal(buffers[key], buffer), key
    assert torch.equal(again(saved(name).pictures()).features, tower(saved(name).pictures()).features)


@pytest.mark.parametrize("name", ["swin", "eva"])
@torch.no_grad()
def test_buffers_that_are_not_saved_are_made_again_after_the_meta_device(saved, name):
    tower = saved(name).tower()
    with torch.device("meta"):
        empty = TimmTower(tower.config)
    empty = empty.to_empty(device="cpu")
    for buffer in empty.buffers():
        buffer.fill_(7)
    empty.load_state_dict(tower.state_dict())
    for module in empty.modules():
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()
    found = dict(empty.named_buffers())
    assert len(found) > len(set(found) & tower.state_dict().keys())  # some are not saved
    for key, buffer in tower.named_buffers():
        assert torch.equal(found[key], buffer), key


def test_without_pretrained_the_weights_are_random_even_in_a_tower_of_empty_memory():
    config = TimmTower.read_config("test_vit", pretrained=False)
    with torch.device("meta"):
        tower = TimmTower(config)
    tower = tower.to_empty(device="cpu")
    for parameter in tower.parameters():
        nn.init.constant_(parameter, float("nan"))
    tower.load_weights("test_vit")
    assert all(parameter.isfinite().all() for parameter in tower.parameters())


# --- preprocessing ---


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", ["efficientnet", "vit", "eva"])
def test_pixels_are_those_of_timms_transform(saved, name):
    preprocessor = TimmTower.read_preprocessor(saved(name).directory, saved(name).tower().config)
    data = timm.data.resolve_data_config(
        {"input_size": (3, saved(name).side, saved(name).side)}, model=saved(name).model
    )
    expected = timm.data.create_transform(**data)(picture(71, 53))
    (row,) = preprocessor(picture(71, 53))
    assert row["pixel_values"].dtype == torch.float32
    assert torch.equal(row["pixel_values"], expected)


def test_a_preprocessor_tells_size_mean_and_features_of_the_tower(saved):
    tower = saved("eva").tower()
    preprocessor = TimmTower.read_preprocessor(saved("eva").directory, tower.config)
    assert preprocessor.size == (42, 42)
    assert preprocessor.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert preprocessor.num_features(picture(30, 40)) == [9]
    batch = preprocessor.collate([*preprocessor(picture(30, 40)), *preprocessor(picture(50, 20))])
    assert tower(**batch).features.shape == (2, 9, tower.embed_dim)


def test_the_settings_are_plain_json_and_make_an_equal_preprocessor(saved):
    preprocessor = TimmTower.read_preprocessor("", saved("vit").tower(crop_pct=0.7).config)
    settings = json.loads(json.dumps(preprocessor.settings()))
    again = TimmPreprocessor.from_settings(settings)
    assert again.settings() == preprocessor.settings()
    assert torch.equal(again.pixels(picture(71, 53)), preprocessor.pixels(picture(71, 53)))


def test_crop_pct_of_one_keeps_the_whole_of_a_square_picture(saved):
    config = saved("efficientnet").tower(crop_pct=1.0).config
    pixels = TimmTower.read_preprocessor("", config).pixels(picture(64, 64))
    expected = torch.from_numpy(np.array(picture(64, 64))).permute(2, 0, 1) / 255  # (3, H, W)
    torch.testing.assert_close(pixels * 0.5 + 0.5, expected)


# --- the plugin, and what is refused ---


def test_the_spec_points_to_the_class_and_its_options_are_those_of_read_config():
    assert load(TIMM) is TimmTower
    config = TimmTower.read_config("resnet18", **TIMM.check_options({"pretrained": "false"}, "tower image"))
    assert (config["index"], config["pretrained"], config["grid"]) == (None, False, [7, 7])


def test_a_wrong_name_gets_the_near_ones():
    with pytest.raises(
        KitError, match=r"^timm has no model 'vit_tinny_patch16_224'; did you mean 'vit_tiny_patch16_224'"
    ):
        TimmTower.read_config("vit_tinny_patch16_224")


def test_a_name_near_to_none_gets_one_line():
    with pytest.raises(KitError, match=r"^timm has no model 'zzz'; timm\.list_models\(\) names them all$"):
        TimmTower.read_config("zzz")


def test_a_wrong_tag_gets_the_near_ones():
    with pytest.raises(KitError, match=r"^timm has no weights 'resnet18\.a1_in2k'; did you mean 'resnet18\.a1_in1k'"):
        TimmTower.read_config("resnet18.a1_in2k")


def test_an_unknown_layer_is_refused():
    with pytest.raises(KitError, match=r"layer must be 'final' or 'stage:K', like 'stage:-2', got 'last'$"):
        TimmTower.read_config("resnet18", layer="last")


@pytest.mark.parametrize("stage", [5, -6])
def test_a_stage_that_is_not_there_is_refused(stage):
    with pytest.raises(KitError, match=rf"'resnet18' has 5 stages, 0 to 4 or -5 to -1; got 'stage:{stage}'"):
        TimmTower.read_config("resnet18", layer=f"stage:{stage}")


def test_a_model_that_gives_several_tensors_is_refused_at_its_final_layer():
    with pytest.raises(KitError, match=r"'efficientvim_m1' has no single map of features .* try layer 'stage:-1'$"):
        TimmTower.read_config("efficientvim_m1", pretrained=False)


def test_a_crop_of_more_than_all_is_refused():
    with pytest.raises(KitError, match=r"crop_pct must be over 0 and at most 1, got 1\.5"):
        TimmTower.read_config("resnet18", crop_pct=1.5)


def test_a_negative_size_is_refused():
    with pytest.raises(KitError, match=r"timm cannot make 'resnet18': Expected a positive image size .*-4"):
        TimmTower.read_config("resnet18", image_size=-4)


def test_a_model_of_other_than_three_channels_is_refused(tmp_path):
    model = timm.create_model("resnet18", pretrained=False, in_chans=4)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    with pytest.raises(KitError, match=r"takes 4 channels; pictures have 3$"):
        TimmTower.read_config(str(tmp_path))


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(KitError, match=r"^no checkpoint directory '.*nowhere'; give a timm model, a hub name or"):
        TimmTower.read_config(str(tmp_path / "nowhere"))


def test_a_directory_without_a_configuration_is_named(tmp_path):
    with pytest.raises(KitError, match=r"^cannot read '.*config\.json': .*No such file"):
        TimmTower.read_config(str(tmp_path))


def test_a_directory_of_transformers_is_refused(tmp_path):
    PreTrainedConfig().save_pretrained(tmp_path)
    with pytest.raises(KitError, match=r"config\.json' has no 'architecture', so it is no timm model"):
        TimmTower.read_config(str(tmp_path))


def test_an_unknown_architecture_in_a_directory_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "resnet_of_mine", "pretrained_cfg": {}}')
    with pytest.raises(KitError, match=r"^timm cannot make '.*': Unknown model \(resnet_of_mine\)$"):
        TimmTower.read_config(str(tmp_path))


def test_weights_that_are_missing_or_do_not_fit_are_one_line(saved, tmp_path):
    tower = saved("vit").tower()
    (tmp_path / "config.json").write_bytes(Path(saved("vit").directory, "config.json").read_bytes())
    with pytest.raises(KitError, match=rf"^timm cannot make '{tmp_path}': "):
        tower.load_weights(str(tmp_path))
    state = load_file(Path(saved("vit").directory, "model.safetensors"))
    del state["blocks.2.attn.qkv.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(KitError, match=rf"^timm cannot make '{tmp_path}': .*VisionTransformer"):
        tower.load_weights(str(tmp_path))


def test_a_model_without_weights_says_so():
    with pytest.raises(KitError, match=r"No pretrained weights exist for gmixer_12_224"):
        TimmTower(TimmTower.read_config("gmixer_12_224")).load_weights("gmixer_12_224")
