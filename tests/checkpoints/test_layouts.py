"""Foreign checkpoints: each layout gives the numbers of the program that wrote it, and what is wrong is said."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Model,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from tests.golden_models import GOLDEN, largest
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.conversion import convert
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.checkpoints.parity import compare, lay_out
from tinyllava_kit.checkpoints.quantization import Quantization
from tinyllava_kit.model.storage.recognition import open_external

CASE = GOLDEN / "tinyllama_clip_mlp2x_gelu"
LEGACY = GOLDEN / "legacy"
PARTS = GOLDEN / "parts"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Names that are not here are not looked for on a hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def copied(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("scenarios"))
    return folder


def change_config(folder: Path, **changes) -> Path:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def change_weights(folder: Path, change) -> Path:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", ["legacy_llama_clip_mlp2x_gelu", "legacy_phi_siglip_mlp2x_gelu"])
def test_a_legacy_checkpoint_gives_the_outputs_of_the_legacy_code(name):
    """Also with SigLIP, all of whose features the legacy code used; the Factory's converter drops one of them."""
    model, _ = load_pretrained(LEGACY / name)
    compared = compare(model.eval(), LEGACY / name / "legacy_outputs.safetensors")
    assert [row.name for row in compared] == ["image_features", "inputs_embeds", "labels", "logits"]
    assert all(row.equal for row in compared), compared


@torch.no_grad()
def logits_of(model, theirs):
    inputs, layout, images = lay_out(model, theirs, "right")
    items = {"image": {"pixel_values": images}}
    output = model(**inputs, items=items, plan=layout)
    return output.logits, layout.attention_mask.bool()


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
def llava(tmp_path_factory):
    """A toy of transformers' own class, with the golden tokenizer."""
    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(5)
    text = LlamaConfig(vocab_size=320, hidden_size=24, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4)
    vision = CLIPVisionConfig(
        hidden_size=20, intermediate_size=36, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=319)
    model = LlavaForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(CASE / name, folder)
    return folder, model


@pytest.mark.parametrize("old_names", [False, True])
def test_transformers_llava_gives_the_logits_of_its_own_class(llava, tmp_path, old_names):
    folder, theirs = llava
    folder = copied(folder, tmp_path / "copy")
    if old_names:  # those of before transformers 4.52, which model hubs are full of
        change_weights(folder, rename_to_old)
    ours, _ = load_pretrained(folder)
    pixels = torch.randn(1, 3, 28, 28)
    ids = torch.tensor([[1, 17, -200, 30, 31]])
    logits, real = logits_of(ours.eval(), {"in.input_ids": ids, "in.images": pixels})
    long = torch.tensor([[1, 17, *[319] * 4, 30, 31]])
    with torch.no_grad():
        expected = theirs(input_ids=long, pixel_values=pixels, attention_mask=torch.ones_like(long)).logits
    assert largest(logits[real], expected[0]) < 1e-4


def rename_to_old(state):
    for key in list(state):
        new = key
        for theirs, old in (
            ("model.language_model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
        ):
            if key.startswith(theirs):
                new = old + key.removeprefix(theirs)
        new = new.removeprefix("model.") if new.startswith(("model.vision", "model.multi")) else new
        state[new] = state.pop(key)


def test_a_tower_that_was_not_saved_comes_from_the_checkpoint_that_is_named(tmp_path):
    name = "legacy_llama_clip_mlp2x_gelu"
    folder = copied(LEGACY / name, tmp_path / "model")
    change_weights(folder, lambda s: [s.pop(k) for k in list(s) if "vision_tower" in k])
    with pytest.raises(KitError, match=r"names the vision model 'assets/clip-tiny' .* with --names-from DIR$"):
        load_pretrained(folder)
    model, _ = load_pretrained(folder, names_from=str(GOLDEN))
    weights = load_file(GOLDEN / "assets" / "clip-tiny" / "model.safetensors")
    key = next(k for k in weights if k.endswith("embeddings.class_embedding") and "vision" in k)
    assert torch.equal(model.towers["image"].embeddings.class_embedding, weights[key])


def test_pictures_are_preprocessed_as_the_named_vision_model_does_or_by_defaults(tmp_path):
    _, processor = load_pretrained(CASE)  # clip-tiny stands in the folder `assets` above it
    own = json.loads((GOLDEN / "assets" / "clip-tiny" / "preprocessor_config.json").read_text())
    assert list(processor.preprocessors["image"].mean) == pytest.approx(own["image_mean"])
    checked = check(change_config(copied(CASE, tmp_path / "alone"), vision_model_name_or_path="nowhere"))
    assert checked.notes == ("no image processor came with the checkpoint: ClipPreprocessor's defaults at (28, 28) px",)


def with_gemma(folder: Path) -> tuple[Path, GemmaForCausalLM]:
    """Put a toy Gemma, 64 wide, in the place of a checkpoint's LLM."""
    torch.manual_seed(2)
    text = GemmaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
    )
    gemma = GemmaForCausalLM(text).eval()
    change_config(folder, text_config=text.to_dict())
    state = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("language_model.")}
    llm = {f"language_model.{k}": v for k, v in gemma.state_dict().items() if k != "lm_head.weight"}
    save_file({**state, **llm}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, gemma


@pytest.mark.parametrize("connector", ["linear", "mlp2x_gelu", "resampler"])
def test_gemma_of_transformers_4_scaled_the_rows_of_pictures_too(tmp_path, connector):
    """Then its forward multiplied all embeddings by the root of its width, now its table of tokens does."""
    case = next(path for path in GOLDEN.glob(f"*clip_{connector}"))
    folder, gemma = with_gemma(copied(case, tmp_path / "model"))
    base, _ = load_pretrained(case)
    ours, _ = load_pretrained(folder)
    ids, pixels = torch.tensor([[2, 17, -200, 30, 31]]), torch.randn(1, 3, 28, 28)
    logits, _ = logits_of(ours.eval(), {"in.input_ids": ids, "in.images": pixels})
    with torch.no_grad():
        rows = base.eval().encode("image", {"pixel_values": pixels})[0]  # (P, D), as the Factory's connector makes them
        table = gemma.get_input_embeddings().weight
        embeds = torch.cat([table[[2, 17]], rows, table[[30, 31]]])[None] * 64**0.5
        assert largest(logits, gemma(inputs_embeds=embeds).logits) < 1e-4


def test_dinov2_gets_pictures_of_the_size_that_its_image_processor_makes(tmp_path):
    """Its configuration names the size that it was trained at, which is another."""
    case = GOLDEN / "tinyllama_dinov2_mlp2x_gelu"
    config = json.loads((case / "config.json").read_text())
    folder = tmp_path / "assets" / "dinov2-tiny"
    shutil.copytree(GOLDEN / "assets" / "dinov2-tiny", folder)
    change_config(folder, image_size=56)
    model = change_config(
        copied(case, tmp_path / "m" / "model"), vision_config={**config["vision_config"], "image_size": 56}
    )
    key = "vision_tower._vision_tower.embeddings.position_embeddings"
    change_weights(model, lambda state: state.update({key: torch.randn(1, 17, 32)}))
    model, processor = load_pretrained(model)
    assert processor.preprocessors["image"].size == (28, 28)
    assert model.encode("image", {"pixel_values": torch.randn(1, 3, 28, 28)}).shape[1] == 4


def drop(key):
    return lambda folder: change_weights(folder, lambda state: state.pop(key))


def add(key):
    return lambda folder: change_weights(folder, lambda state: state.update({key: torch.zeros(2)}))


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pickled(value, name="pytorch_model.bin"):
    def write(folder):
        (folder / "model.safetensors").unlink()
        torch.save(value, folder / name)

    return write


class Runs:
    def __reduce__(self):
        return (os.system, ("touch /tmp/tinyllava-kit-was-here",))


def half_index(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def text_config(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        change_config(folder, text_config={**config["text_config"], **changes})

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("language_model.model.norm.weight"), "missing weights: model.norm.weight"),
        (drop("connector._connector.2.bias"), "missing weights: layers.2.bias"),
        (add("language_model.model.extra"), "unexpected weights: language_model.model.extra"),
        (add("projector.weight"), "unexpected weights: projector.weight"),
        (add("connector._connector.7.bias"), "unexpected weights: layers.7.bias"),
        (
            text_config(intermediate_size=99),
            r"wrongly shaped weights: .*mlp.* \(64, 128\), config.json says \(64, 99\)",
        ),
        (
            text_config(model_type="nothing"),
            "config.json: text_config.model_type: transformers knows no 'nothing'; a newer transformers may know it",
        ),
        (truncate, r"model.safetensors: damaged or incomplete: .*; copy it again"),
        (half_index, "names 'model-00002-of-00002.safetensors', which is missing; copy the whole checkpoint"),
        (pickled(Runs()), "pytorch_model.bin: refused, it holds code or other objects beside tensors: .*system"),
        (pickled([torch.zeros(2)]), "expected a mapping of names to tensors"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights; expected one of model.safetensors.index.json"),
        (lambda f: change_config(f, connector_type="nothing"), "no connector is called 'nothing'"),
        (lambda f: change_config(f, image_aspect_ratio="anyres"), "image_aspect_ratio 'anyres' is not read; expected"),
        (
            lambda f: change_config(f, vision_config=None),
            "config.json: cannot be read as a model: 'vision_config' is m",
        ),
        (
            lambda f: change_config(f, model_type="bert", connector_type=None),
            r"\('bert'\) is of no layout that is read",
        ),
        (lambda f: change_config(f, torch_dtype=[]), r"config.json: torch_dtype: expected a valid string, got \[\]"),
        (lambda f: (f / "config.json").write_text("{"), "config.json line 1, column 2: not JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json line 1: lists and mappings stand"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: expected a mapping, got list"),
        (lambda f: (f / "config.json").unlink(), "is not a model directory: it has no config.json"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, damage, message):
    folder = copied(CASE, tmp_path / "model")
    damage(folder)
    with pytest.raises(KitError, match=message) as caught:
        check(folder, names_from=str(GOLDEN))
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/tinyllava-kit-was-here").exists()


def test_a_pickle_of_tensors_is_read(tmp_path):
    folder = copied(CASE, tmp_path / "model")
    pickled(load_file(folder / "model.safetensors"))(folder)
    ours, _ = load_pretrained(folder, names_from=str(GOLDEN))
    theirs, _ = load_pretrained(CASE)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def refused(folder: Path) -> str:
    """What a directory is refused with; nothing where it is not."""
    try:
        check(folder, names_from=str(GOLDEN))
    except KitError as error:
        return str(error)
    return ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_in_a_configuration_is_read_or_refused_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    copied(CASE, folder)
    config = json.loads((folder / "config.json").read_text())
    where = data.draw(st.sampled_from([config, config["text_config"], config["vision_config"]]))
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(JSON)
    (folder / "config.json").write_text(json.dumps(config))
    assert "\n" not in refused(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_a_header_is_read_or_refused_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    copied(CASE, folder)
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 6000))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    assert "\n" not in refused(folder)


def test_a_foreign_checkpoint_is_quantized_while_it_is_read(tmp_path):
    """With the weights that its converted directory gives, quantized in the same way."""
    external, _ = load_pretrained(CASE, quantization=Quantization(bits=8))
    convert(open_external(CASE), tmp_path / "out")
    ours, _ = load_pretrained(tmp_path / "out", quantization=Quantization(bits=8))
    name = "language_model.model.layers.0.mlp.down_proj"
    assert type(external.get_submodule(name)).__name__ == "Linear8bitLt"
    ids = torch.tensor([[1, 17, 30]])
    with torch.no_grad():
        assert torch.equal(external(ids).logits, ours(ids).logits)


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


@pytest.mark.parametrize(
    ("folder", "layout"),
    [
        (CASE, "factory"),
        (PARTS / "tiny-finetune-lora", "factory"),
        (LEGACY / "legacy_llama_clip_mlp2x_gelu", "llava_legacy"),
    ],
)
def test_a_layout_can_be_asked_for(folder, layout):
    assert open_external(folder, layout=layout).rows
    with pytest.raises(
        KitError, match=rf"is not of 'llava_hf' .*: its config.json is of '{layout}' .* --from {layout}"
    ):
        open_external(folder, layout="llava_hf")
