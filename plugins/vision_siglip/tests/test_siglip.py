"""The SigLIP tower against transformers' SiglipVisionModel, at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tinyllava_kit_vision_siglip.contract import SIDE, WIDTH, save_toy
from tinyllava_kit_vision_siglip.plugin import SIGLIP
from tinyllava_kit_vision_siglip.tower import SiglipPreprocessor, SiglipTower
from transformers import SiglipImageProcessorPil, SiglipVisionModel, logging

from tinyllava_kit import KitError
from tinyllava_kit.components import ImageModality
from tinyllava_kit.specs import load

# N pictures of SIDE x SIDE pixels, P patches (the last 3 pixels of a side fill none), E wide, of L layers
N, P, E, L = 2, 25, WIDTH, 5
GOLDEN_SIGLIP = Path(__file__).parents[3] / "tests" / "golden" / "assets" / "siglip-tiny"  # by transformers 4.40


@pytest.fixture(autouse=True)
def quiet():
    logging.set_verbosity_error()  # of the reference classes; the tower must be quiet by itself
    yield
    logging.set_verbosity_warning()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A directory as a hub has it: text and vision towers, and the image processor."""
    directory = tmp_path_factory.mktemp("siglip")
    save_toy(directory, num_hidden_layers=L)
    return directory


@pytest.fixture(scope="module")
def reference(whole) -> SiglipVisionModel:
    return SiglipVisionModel.from_pretrained(whole, attn_implementation="sdpa").eval()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randn(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def loaded(checkpoint: Path, **options: object) -> SiglipTower:
    tower = SiglipTower(SiglipTower.read_config(str(checkpoint), **options)).eval()
    tower.load_weights(str(checkpoint))
    return tower


def write_config(directory: Path, **config: object) -> str:
    (directory / "config.json").write_text(json.dumps(config))
    return str(directory)


# --- parity ---


@pytest.mark.parametrize("layer", [-1, -2, -4, -L - 1, 0, 3, L])
def test_features_equal_the_hidden_states_of_transformers(whole, reference, pictures, layer) -> None:
    expected = reference(pictures, output_hidden_states=True).hidden_states[layer]
    features = loaded(whole, layer=layer)(pictures)
    assert torch.equal(features.features, expected)
    assert features.features.shape == (N, P, E)
    assert (features.lengths, features.grid) == (None, (5, 5))


def test_the_golden_checkpoint_of_transformers_4_gives_the_same_features() -> None:
    images = torch.randn(N, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    expected = SiglipVisionModel.from_pretrained(GOLDEN_SIGLIP).eval()(images, output_hidden_states=True).hidden_states
    assert torch.equal(loaded(GOLDEN_SIGLIP)(images).features, expected[-2])


def test_the_first_patch_is_kept_where_the_factory_drops_it(whole, reference, pictures) -> None:
    """Factory's 'patch' takes hidden_states[..., 1:] of every tower: SigLIP, without a class token, loses a patch."""
    expected = reference(pictures, output_hidden_states=True).hidden_states[-2]
    assert torch.equal(loaded(whole)(pictures).features, expected)
    as_factory = loaded(whole, select="drop_first")(pictures)
    assert torch.equal(as_factory.features, expected[:, 1:])
    assert as_factory.grid is None  # 24 patches are no raster


@pytest.mark.parametrize(("select", "num_features", "grid"), [("all", 729, (27, 27)), ("drop_first", 728, None)])
def test_so400m_384_gives_729_features(tmp_path, select, num_features, grid) -> None:
    vision = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
    vision |= {"image_size": 384, "patch_size": 14}
    checkpoint = write_config(tmp_path, model_type="siglip", vision_config=vision, text_config={"vocab_size": 99999})
    SiglipImageProcessorPil(size={"height": 384, "width": 384}).save_pretrained(tmp_path)
    config = SiglipTower.read_config(checkpoint, select=select)
    preprocessor = SiglipTower.read_preprocessor(checkpoint, config)
    with torch.device("meta"):
        tower = SiglipTower(config)
    assert preprocessor.num_features(Image.new("RGB", (640, 480))) == [num_features]
    assert (tower.embed_dim, tower.grid, len(tower.encoder.layers)) == (1152, grid, 26)
    assert tower(torch.empty(1, 3, 384, 384, device="meta")).features.shape == (1, num_features, 1152)


def test_pixels_equal_those_of_transformers(whole) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8))
    preprocessor = SiglipTower.read_preprocessor(str(whole), SiglipTower.read_config(str(whole)))
    expected = SiglipImageProcessorPil.from_pretrained(whole)(image, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(preprocessor.pixels(image), expected)
    assert (preprocessor.size, preprocessor.mean) == ((SIDE, SIDE), (0.5, 0.5, 0.5))


def test_a_picture_in_tiles_goes_through_the_tower(whole) -> None:
    tower, image = loaded(whole), Image.new("RGB", (53, 41), (9, 99, 199))
    preprocessor = SiglipTower.read_preprocessor(str(whole), tower.config)
    tiles = ImageModality(aspect="tiles").expand(image, preprocessor)
    batch = preprocessor.collate([row for tile in tiles for row in preprocessor(tile)])
    assert tower(**batch).features.shape == (len(tiles), P, E)


def test_gradients_reach_every_parameter(whole, pictures) -> None:
    tower = loaded(whole)
    tower(pictures).features.square().sum().backward()
    # adding one number to all keys changes no attention weight
    no_gradient = [n for n, p in tower.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-4]
    assert [name for name in no_gradient if "k_proj.bias" not in name] == []


def test_input_is_cast_to_the_towers_dtype(whole, pictures) -> None:
    assert loaded(whole).to(torch.bfloat16)(pictures).features.dtype == torch.bfloat16


# --- only what is needed ---


@pytest.mark.parametrize(("layer", "kept"), [(-2, L - 1), (-1, L), (2, 2), (0, 0)])
def test_only_the_layers_that_are_read_are_built(whole, reference, layer, kept) -> None:
    tower = loaded(whole, layer=layer)
    layers = tuple(f"encoder.layers.{index}." for index in range(kept))
    expected = {name for name in reference.state_dict() if name.startswith(("embeddings.", *layers))}
    assert set(tower.state_dict()) == expected
    assert sum(p.numel() for p in tower.parameters()) < sum(p.numel() for p in reference.parameters())
    assert list(tower.buffers()) == []


# --- layouts of a checkpoint ---


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "9KB"}], ids=["one file", "shards"])
def test_a_vision_only_directory_loads(whole, pictures, tmp_path, options) -> None:
    SiglipVisionModel.from_pretrained(whole).save_pretrained(tmp_path, **options)
    assert (len(list(tmp_path.glob("model-*.safetensors"))) > 2) == bool(options)
    assert torch.equal(loaded(tmp_path)(pictures).features, loaded(whole)(pictures).features)


def test_configuration_and_preprocessor_come_back_from_json(whole) -> None:
    config = SiglipTower.read_config(str(whole), layer=-3, select="drop_first")
    assert json.loads(json.dumps(config)) == config
    assert set(SiglipTower(config).state_dict()) == set(loaded(whole, layer=-3).state_dict())
    first = SiglipTower.read_preprocessor(str(whole), config)
    second = SiglipPreprocessor.from_settings(json.loads(json.dumps(first.settings())))
    image = Image.fromarray(np.random.default_rng(5).integers(0, 256, (29, 61, 3), np.uint8))
    assert torch.equal(first(image)[0]["pixel_values"], second(image)[0]["pixel_values"])
    assert (second.settings(), second.num_features(image)) == (first.settings(), [P - 1])


# --- what is refused ---


def test_a_missing_directory_is_named() -> None:
    with pytest.raises(KitError, match=r"no checkpoint directory './gone/siglip'"):
        SiglipTower.read_config("./gone/siglip")


def test_a_checkpoint_of_another_kind_is_named(tmp_path) -> None:
    with pytest.raises(KitError, match="is a 'clip' checkpoint; this component takes 'siglip', 'siglip_vision_model'"):
        SiglipTower.read_config(write_config(tmp_path, model_type="clip"))


@pytest.mark.parametrize("model_type", ["siglip2", "siglip2_vision_model"])
def test_naflex_is_refused_with_a_checkpoint_to_take_instead(tmp_path, model_type) -> None:
    with pytest.raises(KitError, match=r"is a SigLIP 2 NaFlex checkpoint, .* like google/siglip2-so400m-patch14-384"):
        SiglipTower.read_config(write_config(tmp_path, model_type=model_type))


def test_weights_that_lack_a_layer_are_refused(whole, tmp_path) -> None:
    """transformers would fill it with random numbers."""
    short = SiglipVisionModel.from_pretrained(whole)
    short.encoder.layers = short.encoder.layers[:2]
    short.save_pretrained(tmp_path)
    with pytest.raises(KitError, match=r"missing weights: encoder\.layers\.2\.layer_norm1\.bias, .* and \d+ more"):
        SiglipTower(SiglipTower.read_config(str(whole))).load_weights(str(tmp_path))


def test_reading_says_nothing_of_what_is_not_needed(whole, capfd) -> None:
    logging.set_verbosity_warning()
    loaded(whole)
    said = "".join(capfd.readouterr())
    assert "UNEXPECTED" not in said
    assert "Model config" not in said


# --- the spec ---


def test_the_spec_leads_to_the_tower_with_its_options(whole) -> None:
    assert load(SIGLIP) is SiglipTower
    assert SIGLIP.model_types == SiglipTower.model_types
    options = SIGLIP.check_options({}, "test")
    assert SiglipTower.read_config(str(whole), **options) == SiglipTower.read_config(str(whole))
    assert next(o for o in SIGLIP.options if o.name == "select").choices == tuple(SiglipTower.selections)
