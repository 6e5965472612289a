"""Export as components: each part in transformers' own class gives what it gives in the model; README's code runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from tests import toys
from tests.golden_models import GOLDEN
from tinyllava_kit import KitError, assemble, load_pretrained
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.checkpoints.exporting import components
from tinyllava_kit.core.interfaces import Features
from tinyllava_kit.errors import MissingPluginError

pytestmark = pytest.mark.slow

CLIP = "tinyllama_clip_mlp2x_gelu"
CASES = (
    CLIP,
    "tinyllama_siglip_mlp2x_gelu",
    "tinyllama_dinov2_mlp2x_gelu",
    "phi_siglip_mlp2x_gelu",
    "tinyllama_clip_qformer",
    "tinyllama_clip_resampler",
)
SOUND = (0.1 * np.sin(np.arange(12_345) / 7)).astype(np.float32), 16_000
WAV2VEC2 = {
    "hidden_size": 22,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 29,
    "conv_dim": [13] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 11,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WHISPER = {
    "vocab_size": 31,
    "d_model": 22,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 29,
    "decoder_ffn_dim": 23,
    "num_mel_bins": 17,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "begin_suppress_tokens": None,
}


def golden(case):
    model, processor = load_pretrained(GOLDEN / case)
    return model.eval(), processor


def hearing(folder: Path, kind: str, **options: str):
    """A model that hears through a toy encoder with no weight at its first value."""
    torch.manual_seed(5)
    if kind == "whisper":
        encoder = WhisperForConditionalGeneration(WhisperConfig(**WHISPER))
        WhisperFeatureExtractor(feature_size=17).save_pretrained(folder / "encoder")
    else:
        config, model = {"wavlm": (WavLMConfig, WavLMModel)}.get(kind, (Wav2Vec2Config, Wav2Vec2Model))
        encoder = model(config(**WAV2VEC2, **(STABLE if kind == "stable" else {})))
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder / "encoder")
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    encoder.save_pretrained(folder / "encoder")
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(folder / 'llm')}",
        towers=[f"audio={'whisper' if kind == 'whisper' else 'wav2vec2'}:{folder / 'encoder'}"],
        connectors=["audio=stack_mlp"],
        settings=[f"{key}={value}" for key, value in options.items()],
    )
    return assemble(assembly)


def run_readme(folder: Path, part: str, monkeypatch) -> dict:
    """The Python of one part, run where it is."""
    text = (folder / "README.md").read_text()
    code = re.search(rf"^## {part}$.*?```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)[1]
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)
    return names


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_each_part_of_a_model_that_sees_gives_what_it_gives_in_the_model(tmp_path, monkeypatch, case):
    model, processor = golden(case)
    report = components.export(model, processor, tmp_path / "out")
    assert [each.part for each in report.parts] == ["llm", "tower image", "connector image"]
    assert [each.difference for each in report.parts] == [0, 0, 0]
    ids = torch.tensor([[1, 7, 90, 5, 301]])
    llm = run_readme(tmp_path / "out", "llm", monkeypatch)
    assert torch.equal(llm["llm"].eval()(ids).logits, model.language_model(ids).logits)
    assert llm["tokenizer"]("a cat").input_ids == processor.tokenizer("a cat").input_ids
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (41, 53, 3), dtype=np.uint8))
    rows = processor.preprocessors["image"](picture)[0]["pixel_values"][None]
    tower = run_readme(tmp_path / "out", "tower image", monkeypatch)
    pixels = tower["preprocessor"](picture, return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels, rows)
    features = tower["features"](pixels)
    expected = model.encode_features("image", {"pixel_values": rows})
    assert torch.equal(features, expected.features)
    connector = run_readme(tmp_path / "out", "connector image", monkeypatch)
    assert torch.equal(connector["rows"](features), model.connectors["image"](expected))


def test_nothing_written_is_a_pickle_or_has_random_weights(tmp_path):
    model, processor = golden(CLIP)
    components.export(model, processor, tmp_path / "out")
    suffixes = {f.suffix for f in (tmp_path / "out").rglob("*") if f.is_file()}
    assert suffixes <= {".json", ".safetensors", ".md", ".jinja"}
    _, info = CLIPVisionModel.from_pretrained(tmp_path / "out" / "towers" / "image", output_loading_info=True)
    assert not any(info.values())
    norm = load_file(tmp_path / "out" / "towers" / "image" / "model.safetensors")
    norm = {name: value for name, value in norm.items() if "post_layernorm" in name}
    assert [float(value.unique()) for _, value in sorted(norm.items())] == [0, 1]  # bias, weight: unused


@pytest.mark.parametrize(
    ("kind", "options", "reading"),
    [
        ("wav2vec2", {}, "output.last_hidden_state"),
        ("wav2vec2", {"tower.audio.layer": "1"}, "output.last_hidden_state"),
        ("stable", {}, "output.last_hidden_state"),
        ("stable", {"tower.audio.layer": "1"}, "output.hidden_states[-1]"),
        ("wavlm", {}, "output.last_hidden_state"),
        ("whisper", {}, "output.last_hidden_state"),
        ("whisper", {"tower.audio.layer": "1"}, "output.hidden_states[-1]"),
    ],
)
@torch.no_grad()
def test_a_tower_that_hears_gives_its_features_from_the_sound(tmp_path, monkeypatch, kind, options, reading):
    model, processor = hearing(tmp_path, kind, **options)
    report = components.export(model, processor, tmp_path / "out")
    assert report.parts[1].reading == reading
    preprocessor = processor.preprocessors["audio"]
    waveform = processor.modalities["audio"].read(SOUND)
    expected = model.encode_features("audio", preprocessor.collate(preprocessor(waveform))).features
    tower = run_readme(tmp_path / "out", "tower audio", monkeypatch)
    made = tower["preprocessor"](SOUND[0], sampling_rate=SOUND[1], return_tensors="pt")
    found = tower["features"](made[tower["tower"].main_input_name])
    torch.testing.assert_close(found[:, : expected.shape[1]], expected, atol=1e-4, rtol=0)
    assert found.shape[1] == (1500 if kind == "whisper" else expected.shape[1])


def test_a_tower_with_weights_of_its_own_is_left_out_and_said(tmp_path):
    model, processor = hearing(tmp_path, "wav2vec2", **{"tower.audio.layer": "mix"})
    why = "Wav2Vec2Tower has weights of its own (mix_weights), which no class of transformers has"
    assert components.notes(model, processor) == [f"without tower audio: {why}"]
    report = components.export(model, processor, tmp_path / "out")
    assert f"tower audio: not written: {why}" in report.lines()
    assert f"Not written: {why}" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "towers").exists()
    assert (tmp_path / "out" / "connectors" / "audio" / "model.safetensors").is_file()


def test_a_tower_of_timm_is_left_out_and_said(tmp_path):
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": {"depth": 1, "img_size": 32}}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, **config["model_args"])
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {"input_size": [3, 32, 32]}}))
    save_file(network.state_dict(), tmp_path / "vit" / "model.safetensors")
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path / 'llm')}",
        towers=[f"image=timm:{tmp_path / 'vit'}"],
        connectors=["image=linear"],
        settings=[],
    )
    model, processor = assemble(assembly)
    assert components.notes(model, processor) == ["without tower image: TimmTower is no model of transformers"]


def test_the_embeddings_alone_are_no_layer_of_a_class(tmp_path):
    llm = toys.save_llama(tmp_path / "llm")
    model, processor = assemble(toys.picture_assembly(llm, **{"tower.image.layer": "0"}))
    assert components.notes(model, processor) == [
        "without tower image: ClipTower reads the embeddings, before any layer"
    ]


def test_a_tied_head_stays_tied(tmp_path):
    model, processor = toys.picture_model(tmp_path / "llm", tied=True)
    components.export(model, processor, tmp_path / "out")
    llm = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "llm")
    assert llm.get_output_embeddings().weight is llm.get_input_embeddings().weight
    assert AutoTokenizer.from_pretrained(tmp_path / "out" / "llm").chat_template == toys.CHAT_TEMPLATE


def test_the_dtype_of_the_model_is_kept(tmp_path):
    model, processor = load_pretrained(GOLDEN / CLIP, dtype=torch.bfloat16)
    components.export(model.eval(), processor, tmp_path / "out")
    for file in (tmp_path / "out").rglob("*.safetensors"):
        assert {value.dtype for value in load_file(file).values()} == {torch.bfloat16}, file


def test_weights_that_a_class_reads_elsewhere_are_not_written(tmp_path, monkeypatch):
    """The control: a tower that computes something else than its class shows in the comparison."""
    model, processor = golden(CLIP)
    forward = type(model.towers["image"]).forward
    monkeypatch.setattr(
        type(model.towers["image"]), "forward", lambda *a, **k: Features(1.01 * forward(*a, **k).features)
    )
    with pytest.raises(KitError, match=r"tower image: CLIPVisionModel gives features that differ by .* from the tower"):
        components.export(model, processor, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_quantized_model_is_refused(tmp_path):
    model, processor = golden(CLIP)
    model.config.quantization_config = {"load_in_8bit": True}
    with pytest.raises(KitError, match="cannot be exported as components: its weights are quantized"):
        components.export(model, processor, tmp_path / "out")


@pytest.fixture
def connector(tmp_path):
    model, processor = golden(CLIP)
    components.export(model, processor, tmp_path / "out")
    return tmp_path / "out" / "connectors" / "image"


def test_a_directory_without_a_connector_is_refused(tmp_path):
    with pytest.raises(KitError, match="is not an exported connector"):
        components.load_connector(tmp_path)


def test_a_connector_of_a_missing_plugin_names_it(connector):
    said = json.loads((connector / "connector.json").read_text())
    (connector / "connector.json").write_text(json.dumps({**said, "name": "fold", "distribution": "far-away"}))
    with pytest.raises(MissingPluginError, match=r"pip install 'far-away==0.1.0'"):
        components.load_connector(connector)


def test_a_connector_whose_weights_do_not_fit_is_refused(connector):
    state = load_file(connector / "model.safetensors")
    save_file({"layers.0.weight": state["layers.0.weight"]}, connector / "model.safetensors")
    with pytest.raises(KitError, match=r"missing weights: layers\.0\.bias, layers\.2\.bias"):
        components.load_connector(connector)


def test_a_pooling_head_that_no_feature_needs_is_not_written(tmp_path):
    model, processor = golden("tinyllama_siglip_mlp2x_gelu")
    model.towers["image"].vision_config.vision_use_head = True
    components.export(model, processor, tmp_path / "out")
    state = load_file(tmp_path / "out" / "towers" / "image" / "model.safetensors")
    assert not [name for name in state if "head." in name]
