"""The tower `mof` against transformers' CLIPVisionModel and Dinov2Model, its connector against a loop, at toy size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tinyllava_kit_vision_mof.connector import MofMLP
from tinyllava_kit_vision_mof.plugin import MOF, MOF_MLP
from tinyllava_kit_vision_mof.tower import MofTower
from torch import nn
from torch.nn import functional as F
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model, logging

from tests import toys
from tinyllava_kit import Assembly, KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble
from tinyllava_kit.interfaces import Features
from tinyllava_kit.specs import load

# N pictures of SIDE x SIDE pixels, P patches, E wide in each of the two, of L layers; DINOv2's trained at another size
N, SIDE, PATCH, P, E, L, TRAINED = 2, 35, 7, 25, 18, 5, 49
D = 11  # of the LLM, where there is one


@pytest.fixture(autouse=True)
def quiet():
    logging.set_verbosity_error()  # of the reference classes; the tower must be quiet by itself
    yield
    logging.set_verbosity_warning()


def randomised(model: nn.Module) -> Any:
    for parameter in model.parameters():  # biases and norms too, so that a forgotten one is seen
        nn.init.normal_(parameter, std=0.2)
    return model


def save_clip(folder: Path, **options: Any) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": E, "num_hidden_layers": L, "num_attention_heads": 3, "patch_size": PATCH}
    config = CLIPVisionConfig(**{**sizes, "intermediate_size": 23, "image_size": SIDE, **options})
    randomised(CLIPVisionModel(config)).save_pretrained(folder)
    square = {"height": config.image_size, "width": config.image_size}
    CLIPImageProcessorPil(size={"shortest_edge": config.image_size}, crop_size=square).save_pretrained(folder)
    return folder


def save_dinov2(folder: Path, **options: Any) -> Path:
    """Without an image processor: CLIP's is used."""
    torch.manual_seed(1)
    sizes = {"hidden_size": E, "num_hidden_layers": L + 1, "num_attention_heads": 3, "patch_size": PATCH}
    config = Dinov2Config(**{**sizes, "mlp_ratio": 2, "image_size": TRAINED, **options})
    randomised(Dinov2Model(config)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory) -> Path:
    return save_dinov2(tmp_path_factory.mktemp("dinov2"))


@pytest.fixture(scope="module")
def pair(clip, dinov2) -> str:
    return f"{clip}+{dinov2}"


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randn(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def loaded(checkpoint: str, **options: Any) -> MofTower:
    tower = MofTower(MofTower.read_config(checkpoint, **options)).eval()
    tower.load_weights(checkpoint)
    return tower


# --- the tower ---


@pytest.mark.parametrize("select", ["patch", "cls_patch"])
@pytest.mark.parametrize("layer", [-1, -2, 0, 3])
def test_features_are_those_of_both_side_by_side(clip, dinov2, pair, pictures, layer, select) -> None:
    models = [kind.from_pretrained(at).eval() for kind, at in ((CLIPVisionModel, clip), (Dinov2Model, dinov2))]
    hidden = [model(pictures, output_hidden_states=True).hidden_states[layer] for model in models]
    expected = torch.cat(hidden, dim=-1)  # (N, 1 + P, 2 E)
    features = loaded(pair, layer=layer, select=select)(pictures)
    assert torch.equal(features.features, expected[:, 1:] if select == "patch" else expected)
    assert features.features.shape == (N, P if select == "patch" else P + 1, 2 * E)
    assert (features.lengths, features.grid) == (None, (5, 5) if select == "patch" else None)


def test_names_are_those_of_the_two_towers(pair) -> None:
    names = loaded(pair).state_dict().keys()
    assert {name.partition(".")[0] for name in names} == {"clip", "dinov2"}
    assert "clip.encoder.layers.3.mlp.fc1.weight" in names
    assert "dinov2.encoder.layer.4.attention.q_proj.weight" in names
    assert not [name for name in names if name.startswith(("clip.encoder.layers.4", "dinov2.encoder.layer.5"))]


def test_pixels_are_clips(clip, pair) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8))
    config = MofTower.read_config(pair)
    expected = CLIPImageProcessorPil.from_pretrained(clip)(image, return_tensors="pt")["pixel_values"][0]
    for preprocessor in (MofTower.read_preprocessor(pair, config), MofTower.default_preprocessor(config)):
        assert torch.equal(preprocessor.pixels(image), expected)
        assert preprocessor.num_features(image) == [P]


def test_the_configuration_is_enough_to_build_the_tower_again(pair) -> None:
    config = MofTower.read_config(pair, layer=-3, select="cls_patch")
    assert (config["layer"], config["select"], [*config["vision_config"]]) == (-3, "cls_patch", ["clip", "dinov2"])
    again = json.loads(json.dumps(config))
    assert again == config
    shapes = {name: value.shape for name, value in MofTower(again).state_dict().items()}
    assert shapes == {name: value.shape for name, value in loaded(pair, layer=-3).state_dict().items()}


# --- the connector ---


def looped(connector: MofMLP, features: torch.Tensor) -> torch.Tensor:
    """Row by row: (N, P, 2 E) -> (N, 2 P, D)."""
    width = features.shape[-1] // 2
    state = connector.state_dict()
    pictures = []
    for picture in features:
        rows = []
        for feature in picture:
            for name, half in (("clip", feature[:width]), ("dinov2", feature[width:])):
                inner = F.gelu(state[f"{name}.0.weight"] @ half + state[f"{name}.0.bias"])
                rows.append(state[f"{name}.2.weight"] @ inner + state[f"{name}.2.bias"])
        pictures.append(torch.stack(rows))
    return torch.stack(pictures)


def test_rows_take_turns() -> None:
    torch.manual_seed(0)
    connector = MofMLP(in_dim=2 * E, out_dim=D, grid=(5, 5))
    assert connector.sources(3) == [[0], [0], [1], [1], [2], [2]]
    features = torch.randn(N, P, 2 * E)
    rows = connector(Features(features, None, (5, 5)))
    assert rows.shape == (N, connector.num_tokens(P), D) == (N, 2 * P, D)
    assert torch.allclose(rows, looped(connector, features), atol=1e-5)


def test_rows_past_an_items_length_do_not_reach_its_own() -> None:
    connector = MofMLP(in_dim=2 * E, out_dim=D)
    features, lengths = torch.randn(2, P, 2 * E), torch.tensor([P, 7])
    spoiled = features.clone()
    spoiled[1, 7:] = 1e3
    whole, other = connector(Features(features, lengths)), connector(Features(spoiled, lengths))
    assert torch.equal(whole[1, : connector.num_tokens(7)], other[1, : connector.num_tokens(7)])
    assert torch.equal(whole[0], other[0])


def test_names_of_the_connector_are_the_factorys() -> None:
    shapes = {name: tuple(value.shape) for name, value in MofMLP(in_dim=2 * E, out_dim=D).state_dict().items()}
    layers = {"0.weight": (D, E), "0.bias": (D,), "2.weight": (D, D), "2.bias": (D,)}
    assert shapes == {f"{part}.{name}": shape for part in ("clip", "dinov2") for name, shape in layers.items()}


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(KitError, match=r"mof_mlp halves the features, got 37 wide; it joins the tower 'mof'"):
        MofMLP(in_dim=37, out_dim=D)


# --- a model ---


def assembly_of(llm: Path, pair: str, connector: str = "mof_mlp") -> Assembly:
    return Assembly.from_flags(llm=f"llama:{llm}", towers=[f"image=mof:{pair}"], connectors=[f"image={connector}"])


@pytest.fixture(scope="module")
def model_and_processor(pair, tmp_path_factory):
    torch.manual_seed(3)
    return assemble(assembly_of(toys.save_llama(tmp_path_factory.mktemp("llm")), pair))


def batch_of(processor) -> Any:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8))
    seen = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "what is it"}]}]
    return processor([seen, [{"role": "user", "content": "hello"}]])


def test_a_saved_model_comes_back_as_it_was(model_and_processor, tmp_path) -> None:
    model, processor = model_and_processor
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert {"towers.image.dinov2.embeddings.cls_token", "connectors.image.clip.0.weight"} <= names
    again = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
    same = batch_of(TinyLlavaProcessor.from_pretrained(tmp_path))
    batch = batch_of(processor)
    with torch.no_grad():
        assert torch.equal(again(**same).logits, model(**batch).logits)
    wanted = {"max_new_tokens": 5, "do_sample": False}
    assert torch.equal(again.generate(**same, **wanted), model.generate(**batch, **wanted))


def test_a_picture_takes_twice_its_patches_in_the_text(model_and_processor) -> None:
    model, processor = model_and_processor
    batch = batch_of(processor)
    assert len(batch["plan"].item_positions["image"]) == 2 * P
    assert model.encode("image", batch["items"]["image"]).shape[:2] == (1, 2 * P)


def test_a_saved_model_gives_its_tower_and_connector(model_and_processor, tmp_path) -> None:
    model, processor = model_and_processor
    for part in (model, processor):
        part.save_pretrained(tmp_path / "old")
    old, llm = tmp_path / "old", toys.save_llama(tmp_path / "llm", seed=1)
    assembly = Assembly.from_flags(llm=f"llama:{llm}", towers=[f"image=mof:{old}"], connectors=[f"image=mof_mlp:{old}"])
    new, same = assemble(assembly)
    with torch.no_grad():
        inputs = batch_of(same)["items"]["image"]
        assert torch.equal(new.encode("image", inputs), model.encode("image", batch_of(processor)["items"]["image"]))


def test_other_connectors_of_pictures_take_the_features_too(pair, tmp_path) -> None:
    model, _ = assemble(assembly_of(toys.save_llama(tmp_path), pair, "mlp2x_gelu"))
    assert model.encode("image", {"pixel_values": torch.zeros(N, 3, SIDE, SIDE)}).shape[:2] == (N, P)


# --- what is refused ---


@pytest.mark.parametrize("checkpoint", ["org/clip", "org/clip+", "+org/dinov2", "a+b+c", ""])
def test_anything_but_two_checkpoints_is_refused(checkpoint) -> None:
    line = rf"^tower 'mof' takes two checkpoints, one of CLIP and one of DINOv2, got '{checkpoint}'".replace("+", r"\+")
    with pytest.raises(KitError, match=line + r"; write mof:CLIP\+DINOV2$"):
        MofTower.read_config(checkpoint)


def test_the_two_in_the_other_order_are_refused(clip, dinov2) -> None:
    with pytest.raises(KitError, match=r"is a 'dinov2' checkpoint; this component takes 'clip', 'clip_vision_model'"):
        MofTower.read_config(f"{dinov2}+{clip}")
    with pytest.raises(KitError, match=r"is a 'clip_vision_model' checkpoint; this component takes 'dinov2'"):
        MofTower.read_config(f"{clip}+{clip}")


def test_a_missing_directory_is_named(clip) -> None:
    with pytest.raises(KitError, match=r"^no checkpoint directory './gone'; give an existing one, or a hub name"):
        MofTower.read_config(f"{clip}+./gone")


def test_different_numbers_of_patches_are_refused_with_both(clip, tmp_path) -> None:
    folder = save_dinov2(tmp_path, patch_size=5)
    line = r"^tower 'mof': a picture of 35 pixels is 25 patches for CLIP and 49 for DINOv2, of 7 and 5 pixels; take two"
    with pytest.raises(KitError, match=line):
        MofTower.read_config(f"{clip}+{folder}")


def test_different_widths_are_refused_with_both(clip, tmp_path) -> None:
    folder = save_dinov2(tmp_path, hidden_size=21)
    with pytest.raises(KitError, match=r"^tower 'mof': CLIP's features are 18 wide and DINOv2's 21; take two of one"):
        MofTower.read_config(f"{clip}+{folder}")


def test_a_layer_that_one_of_them_has_not_is_refused(pair) -> None:
    with pytest.raises(KitError, match=f"has no layer {L + 1}: it has {L}, counted from 0"):
        MofTower.read_config(pair, layer=L + 1)  # the other has


def test_a_picture_size_that_a_configuration_leaves_to_its_default_is_found(tmp_path) -> None:
    """As those of transformers 4 do."""
    sizes = {"image_size": 224, "patch_size": 32}
    config = MofTower.read_config(f"{save_clip(tmp_path / 'a', **sizes)}+{save_dinov2(tmp_path / 'b', patch_size=32)}")
    del config["vision_config"]["clip"]["image_size"]
    assert MofTower(config).grid == (7, 7)


# --- the specs ---


def test_the_specs_lead_to_the_classes_with_their_options(pair) -> None:
    assert load(MOF) is MofTower
    assert load(MOF_MLP) is MofMLP
    assert MofTower.read_config(pair, **MOF.check_options({}, "test")) == MofTower.read_config(pair)
    assert next(o for o in MOF.options if o.name == "select").choices == tuple(MofTower.selections)
    assert MOF.checkpoint.count("+") == 1
