"""The CLIP tower against transformers' CLIPVisionModel, at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tinyllava_kit_vision_clip.contract import SIDE, WIDTH, save_toy
from tinyllava_kit_vision_clip.plugin import CLIP
from tinyllava_kit_vision_clip.tower import ClipPreprocessor, ClipTower
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedConfig,
    logging,
)

from tinyllava_kit import KitError, TinyLlavaPreTrainedModel
from tinyllava_kit.specs import load

# N pictures of SIDE x SIDE pixels, P patches, E wide, of L layers
N, P, E, L = 2, 25, WIDTH, 5
GOLDEN_CLIP = Path(__file__).parents[3] / "tests" / "golden" / "assets" / "clip-tiny"  # saved by transformers 4.40


@pytest.fixture(autouse=True)
def quiet():
    logging.set_verbosity_error()  # of the reference classes; the tower must be quiet by itself
    yield
    logging.set_verbosity_warning()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A directory as a hub has it: text and vision towers, and the image processor."""
    directory = tmp_path_factory.mktemp("clip")
    save_toy(directory, num_hidden_layers=L)
    return directory


@pytest.fixture(scope="module")
def reference(whole) -> CLIPVisionModel:
    return CLIPVisionModel.from_pretrained(whole, attn_implementation="sdpa").eval()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randn(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def loaded(checkpoint: Path, **options: object) -> ClipTower:
    tower = ClipTower(ClipTower.read_config(str(checkpoint), **options)).eval()
    tower.load_weights(str(checkpoint))
    return tower


# --- parity ---


@pytest.mark.parametrize("select", ["patch", "cls_patch"])
@pytest.mark.parametrize("layer", [-1, -2, -4, -L - 1, 0, 3, L])
def test_features_equal_the_hidden_states_of_transformers(whole, reference, pictures, layer, select) -> None:
    expected = reference(pictures, output_hidden_states=True).hidden_states[layer]
    features = loaded(whole, layer=layer, select=select)(pictures)
    assert torch.equal(features.features, expected[:, 1:] if select == "patch" else expected)
    assert features.lengths is None
    assert features.features.shape == (N, P if select == "patch" else P + 1, E)


def test_the_golden_checkpoint_of_transformers_4_gives_the_same_features(pictures) -> None:
    images = torch.randn(N, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    expected = CLIPVisionModel.from_pretrained(GOLDEN_CLIP).eval()(images, output_hidden_states=True).hidden_states
    assert torch.equal(loaded(GOLDEN_CLIP)(images).features, expected[-2][:, 1:])


def test_pixels_equal_those_of_transformers(whole) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8))
    preprocessor = ClipTower.read_preprocessor(str(whole), ClipTower.read_config(str(whole)))
    expected = CLIPImageProcessorPil.from_pretrained(whole)(image, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(preprocessor.pixels(image), expected)
    assert preprocessor.size == (SIDE, SIDE)


def test_gradients_reach_every_parameter(whole, pictures) -> None:
    tower = loaded(whole, select="cls_patch")
    tower(pictures).features.square().sum().backward()
    # adding one number to all keys changes no attention weight
    no_gradient = [n for n, p in tower.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-4]
    assert [name for name in no_gradient if "k_proj.bias" not in name] == []


def test_input_is_cast_to_the_towers_dtype(whole, pictures) -> None:
    tower = loaded(whole)
    expected = tower(pictures).features
    half = tower.to(torch.bfloat16)(pictures).features
    assert half.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(half.float().flatten(), expected.flatten(), 0) > 0.999


# --- only what is needed ---


@pytest.mark.parametrize(("layer", "kept"), [(-2, L - 1), (-1, L), (2, 2), (0, 0)])
def test_only_the_layers_that_are_read_are_built(whole, reference, layer, kept) -> None:
    tower = loaded(whole, layer=layer)
    names = set(reference.state_dict())
    expected = {n for n in names if not n.startswith("post_layernorm") and _layer_of(n) < kept}
    assert set(tower.state_dict()) == expected
    assert sum(p.numel() for p in tower.parameters()) < sum(p.numel() for p in reference.parameters())


def _layer_of(name: str) -> int:
    parts = name.split(".")
    return int(parts[2]) if parts[0] == "encoder" else -1


def test_num_features_width_and_grid_are_known_without_running(whole, pictures) -> None:
    for select, grid in (("patch", (5, 5)), ("cls_patch", None)):
        config = ClipTower.read_config(str(whole), select=select)
        tower, preprocessor = ClipTower(config), ClipTower.read_preprocessor(str(whole), config)
        features = tower(pictures)
        assert preprocessor.num_features(Image.new("RGB", (3, 2))) == [features.features.shape[1]]
        assert (tower.embed_dim, tower.grid, features.grid) == (E, grid, grid)


# --- layouts of a checkpoint ---


def _vision_only(whole: Path, directory: Path, **options: object) -> Path:
    CLIPVisionModel.from_pretrained(whole).save_pretrained(directory, **options)
    return directory


def test_a_vision_only_directory_loads(whole, pictures, tmp_path) -> None:
    tower = loaded(_vision_only(whole, tmp_path))
    assert torch.equal(tower(pictures).features, loaded(whole)(pictures).features)


def test_a_sharded_directory_loads(whole, pictures, tmp_path) -> None:
    directory = _vision_only(whole, tmp_path, max_shard_size="9KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 2
    assert torch.equal(loaded(directory)(pictures).features, loaded(whole)(pictures).features)


def test_key_names_with_and_without_the_vision_model_prefix_load(whole, pictures, tmp_path) -> None:
    directory = _vision_only(whole, tmp_path)
    state = {k.removeprefix("vision_model."): v for k, v in load_file(directory / "model.safetensors").items()}
    for prefix in ("", "vision_model."):
        save_file({prefix + k: v for k, v in state.items()}, directory / "model.safetensors", {"format": "pt"})
        assert torch.equal(loaded(directory)(pictures).features, loaded(whole)(pictures).features)


def test_the_configuration_is_enough_to_build_the_tower_again(whole) -> None:
    config = ClipTower.read_config(str(whole), layer=-3, select="cls_patch")
    again = json.loads(json.dumps(config))
    assert again == config
    assert {k: v.shape for k, v in ClipTower(again).state_dict().items()} == {
        k: v.shape for k, v in loaded(whole, layer=-3).state_dict().items()
    }


def test_the_preprocessor_is_made_again_from_its_settings(whole) -> None:
    first = ClipTower.read_preprocessor(str(whole), ClipTower.read_config(str(whole)))
    second = ClipPreprocessor.from_settings(json.loads(json.dumps(first.settings())))
    image = Image.fromarray(np.random.default_rng(5).integers(0, 256, (29, 61, 3), np.uint8))
    assert torch.equal(first(image)[0]["pixel_values"], second(image)[0]["pixel_values"])
    assert (second.settings(), second.num_features(image)) == (first.settings(), [P])


class _Config(PreTrainedConfig):
    model_type = "toy_composite"


class _Composite(TinyLlavaPreTrainedModel):
    """A model that holds the tower as the kit's model does."""

    config_class = _Config
    tower_config: dict

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        self.towers = torch.nn.ModuleDict({"image": ClipTower(self.tower_config)})
        self.post_init()


def test_a_tower_inside_a_model_comes_back_from_a_file_as_it_was(whole, pictures, tmp_path, monkeypatch) -> None:
    """transformers loses buffers that are not saved; the names in the file are those of the tower."""
    monkeypatch.setattr(_Composite, "tower_config", ClipTower.read_config(str(whole)), raising=False)
    model = _Composite(_Config()).eval()
    model.towers["image"].load_weights(str(whole))
    model.save_pretrained(tmp_path)
    again = _Composite.from_pretrained(tmp_path).eval()
    assert "towers.image.encoder.layers.0.mlp.fc1.weight" in load_file(tmp_path / "model.safetensors")
    assert dict(again.named_buffers()) == {}
    assert torch.equal(again.towers["image"](pictures).features, model.towers["image"](pictures).features)


# --- what is refused ---


def test_a_missing_directory_is_named() -> None:
    with pytest.raises(KitError, match=r"no checkpoint directory './gone/clip'"):
        ClipTower.read_config("./gone/clip")


def test_a_checkpoint_of_another_kind_is_named(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(KitError, match="is a 'siglip' checkpoint; this component takes 'clip', 'clip_vision_model'"):
        ClipTower.read_config(str(tmp_path))


@pytest.mark.parametrize("layer", [L + 1, -L - 2])
def test_a_layer_that_is_not_there_is_refused(whole, layer) -> None:
    with pytest.raises(KitError, match=f"has no layer {layer}: it has {L}, counted from 0"):
        ClipTower.read_config(str(whole), layer=layer)


def test_an_unknown_selection_is_refused_with_the_near_one(whole) -> None:
    with pytest.raises(KitError, match="select got 'patches'; did you mean 'patch'"):
        ClipTower.read_config(str(whole), select="patches")


def test_a_directory_without_preprocessor_is_named(whole, tmp_path) -> None:
    directory = _vision_only(whole, tmp_path)
    with pytest.raises(KitError, match="cannot read CLIPImageProcessorPil from"):
        ClipTower.read_preprocessor(str(directory), ClipTower.read_config(str(directory)))


def test_a_preprocessor_of_another_size_is_refused(whole, tmp_path) -> None:
    directory = _vision_only(whole, tmp_path)
    CLIPImageProcessorPil(size={"shortest_edge": 42}, crop_size={"height": 42, "width": 42}).save_pretrained(directory)
    with pytest.raises(KitError, match="makes pictures of 42 x 42 pixels, its tower takes 35 x 35"):
        ClipTower.read_preprocessor(str(directory), ClipTower.read_config(str(directory)))


@pytest.mark.parametrize(
    "change", [{"image_mean": 0.5, "image_std": 0.25}, {"image_mean": 0}, {"size": SIDE, "crop_size": SIDE}]
)
def test_a_number_for_all_colours_or_sides_means_what_it_means_to_transformers(whole, tmp_path, change) -> None:
    directory = _vision_only(whole, tmp_path)
    settings = json.loads((whole / "preprocessor_config.json").read_text())
    (directory / "preprocessor_config.json").write_text(json.dumps({**settings, **change}))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8))
    expected = CLIPImageProcessorPil.from_pretrained(directory)(image, return_tensors="pt")["pixel_values"][0]
    preprocessor = ClipTower.read_preprocessor(str(directory), ClipTower.read_config(str(directory)))
    assert torch.equal(preprocessor.pixels(image), expected)
    again = type(preprocessor).from_settings(json.loads(json.dumps(preprocessor.settings())))
    assert torch.equal(again.pixels(image), expected)
    assert len(again.mean) == 3


@pytest.mark.parametrize(
    "change", [{"image_mean": [0.5]}, {"image_mean": "0.5"}, {"image_std": 0}, {"image_mean": True}]
)
def test_colours_that_are_no_colours_are_refused(whole, tmp_path, change) -> None:
    directory = _vision_only(whole, tmp_path)
    settings = json.loads((whole / "preprocessor_config.json").read_text())
    (directory / "preprocessor_config.json").write_text(json.dumps({**settings, **change}))
    with pytest.raises(KitError, match=rf"\.{next(iter(change))}"):
        ClipTower.read_preprocessor(str(directory), ClipTower.read_config(str(directory)))


def test_weights_that_lack_a_layer_are_refused(whole, pictures, tmp_path) -> None:
    """transformers would fill it with random numbers."""
    directory = _vision_only(whole, tmp_path)
    state = load_file(directory / "model.safetensors")
    lost = {k: v for k, v in state.items() if "layers.1.mlp.fc1" not in k}
    save_file(lost, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(KitError, match=r"missing weights: encoder\.layers\.1\.mlp\.fc1\.bias, encoder"):
        loaded(directory)
    last = {k: v for k, v in state.items() if f"layers.{L - 1}." not in k and "post_layernorm" not in k}
    save_file(last, directory / "model.safetensors", {"format": "pt"})
    assert torch.equal(loaded(directory)(pictures).features, loaded(whole)(pictures).features)  # which it does not need


def test_weights_of_another_shape_are_refused(whole, tmp_path) -> None:
    config = CLIPVisionConfig.from_pretrained(whole).to_dict()
    CLIPVisionModel(CLIPVisionConfig(**{**config, "intermediate_size": 29})).save_pretrained(tmp_path)
    with pytest.raises(KitError, match="cannot read CLIPVisionModel from"):
        ClipTower(ClipTower.read_config(str(whole))).load_weights(str(tmp_path))


def test_loading_says_nothing_of_keys_that_are_not_needed(whole, capfd) -> None:
    logging.set_verbosity_warning()
    loaded(whole)
    assert "UNEXPECTED" not in "".join(capfd.readouterr())
    assert logging.get_verbosity() == logging.WARNING


# --- the spec ---


def test_the_spec_leads_to_the_tower_with_its_options(whole) -> None:
    assert load(CLIP) is ClipTower
    assert CLIP.model_types == ClipTower.model_types
    options = CLIP.check_options({}, "test")
    assert ClipTower.read_config(str(whole), **options) == ClipTower.read_config(str(whole))
    assert next(o for o in CLIP.options if o.name == "select").choices == tuple(ClipTower.selections)
