"""The tower against transformers' Whisper, and against itself in other batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tinyllava_kit_audio_whisper.preprocessor import WhisperPreprocessor
from tinyllava_kit_audio_whisper.tower import MODEL_TYPES, WhisperTower
from torch import Tensor, nn
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    WhisperModel,
)
from transformers.models.whisper import modeling_whisper

from tests import toys
from tinyllava_kit import Assembly, KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble, discover
from tinyllava_kit.components import Waveform
from tinyllava_kit.specs import load
from tinyllava_kit.testing import NoSync

LENGTHS = (3_217, 8_003, 1)  # samples: 11, 26 and 1 features


def tower_of(checkpoint: str, **options: Any) -> WhisperTower:
    tower = WhisperTower(WhisperTower.read_config(checkpoint, **options))
    tower.load_weights(checkpoint)
    return tower.eval()


def clip(num_samples: int, rate_hz: int = 16_000) -> Waveform:
    """Noise that grows louder."""
    samples = np.random.default_rng(num_samples).standard_normal(num_samples) * np.linspace(0.1, 0.4, num_samples)
    return Waveform(samples.astype(np.float32), rate_hz, "clip.wav")


def batch(*lengths: int, window_features: int = 1500) -> dict[str, Tensor]:
    preprocessor = WhisperPreprocessor(num_mels=17, window_features=window_features)
    return preprocessor.collate([row for n in lengths for row in preprocessor(clip(n))])


def mels_of_transformers(samples: np.ndarray, window: int = 480_000) -> Tensor:
    """(1, 17, frames)."""
    extractor = WhisperFeatureExtractor(feature_size=17)
    return extractor(samples, sampling_rate=16_000, max_length=window, return_tensors="pt")["input_features"]


def error(got: Tensor, expected: Tensor) -> float:
    """Relative distance, L2."""
    return ((got - expected).norm() / expected.norm()).item()


# ---- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_samples", [480_000, 8_003, 1])
def test_a_window_gives_what_transformers_gives(toy, num_samples):
    model, checkpoint = toy()
    with torch.no_grad():
        expected = model.get_encoder()(mels_of_transformers(clip(num_samples).samples)).last_hidden_state
        got = tower_of(checkpoint)(**batch(num_samples))
    count = -(-num_samples // 320)
    assert got.features.shape == (1, count, 22)
    assert got.lengths.tolist() == [count]
    assert got.lengths.dtype == torch.int64
    assert got.grid is None
    torch.testing.assert_close(got.features, expected[:, :count], rtol=1e-4, atol=1e-5)


def test_a_long_sound_gives_what_transformers_gives_for_each_window(toy):
    model, checkpoint = toy()
    item = clip(480_000 + 3_217)
    preprocessor = WhisperPreprocessor(num_mels=17)
    with torch.no_grad():
        got = tower_of(checkpoint)(**preprocessor.collate(preprocessor(item)))
        for row, count in enumerate(preprocessor.num_features(item)):
            mels = mels_of_transformers(item.samples[row * 480_000 : (row + 1) * 480_000])
            expected = model.get_encoder()(mels).last_hidden_state[0, :count]
            torch.testing.assert_close(got.features[row, :count], expected, rtol=1e-4, atol=1e-5)
            assert not got.features[row, count:].any()
    assert got.lengths.tolist() == [1500, 11]


def test_each_layer_is_the_hidden_state_of_its_index(toy):
    model, checkpoint = toy()
    inputs = batch(8_003)
    with torch.no_grad():
        states = model.get_encoder()(inputs["input_features"], output_hidden_states=True).hidden_states
        assert len(states) == 3
        for index, expected in enumerate(states):
            tower = tower_of(checkpoint, layer=index)
            assert len(tower.encoder.layers) == index  # no more are built than are run
            assert isinstance(tower.encoder.layer_norm, nn.Identity) == (index < 2)
            torch.testing.assert_close(tower(**inputs).features, expected[:, :26], rtol=1e-5, atol=1e-5)


def test_a_negative_layer_counts_from_the_end(toy):
    _, checkpoint = toy()
    read = WhisperTower.read_config
    assert read(checkpoint, layer="-1") == read(checkpoint, layer=2) == read(checkpoint, layer="last")
    assert read(checkpoint, layer="-2") == read(checkpoint, layer=1)
    assert read(checkpoint, layer=-3)["encoder"]["encoder_layers"] == 0


def test_ten_seconds_are_an_encoder_with_the_first_500_positions(toy):
    model, checkpoint = toy()
    state = model.model.state_dict()
    state["encoder.embed_positions.weight"] = state["encoder.embed_positions.weight"][:500]
    short = WhisperModel(WhisperConfig(**{**model.config.to_dict(), "max_source_positions": 500})).eval()
    short.load_state_dict(state)
    tower = tower_of(checkpoint, window_seconds=10)
    preprocessor = WhisperTower.read_preprocessor(checkpoint, tower.config)
    item = clip(160_000 + 8_003)
    with torch.no_grad():
        got = tower(**preprocessor.collate(preprocessor(item)))
        for row, count in enumerate(preprocessor.num_features(item)):
            mels = mels_of_transformers(item.samples[row * 160_000 : (row + 1) * 160_000], 160_000)
            expected = short.get_encoder()(mels).last_hidden_state[0, :count]
            torch.testing.assert_close(got.features[row, :count], expected, rtol=1e-4, atol=1e-5)
    assert got.lengths.tolist() == [500, 26]


def test_a_smaller_window_is_not_the_same_as_thirty_seconds(toy):
    """As the documentation says: the silence behind a sound is seen by the sound."""
    checkpoint = toy()[1]
    with torch.no_grad():
        whole = tower_of(checkpoint)(**batch(8_003)).features
        smaller = tower_of(checkpoint, window_seconds=1)(**batch(8_003, window_features=50)).features
    assert whole.shape == smaller.shape
    assert error(smaller, whole) > 0.01


# ---- a row does not depend on its batch ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"layer": 1}, {"window_seconds": 0.6}])
def test_a_clip_gives_the_same_alone_and_beside_others(toy, options):
    tower = tower_of(toy()[1], **options)
    window_features = tower.config["positions"]
    with torch.no_grad():
        alone = [tower(**batch(n, window_features=window_features)).features[0] for n in LENGTHS]
        assert [len(features) for features in alone] == [11, 26, 1]
        for order in ((0, 1), (1, 0), (2, 1, 0), (0, 1, 2), (2, 0)):
            inputs = batch(*(LENGTHS[i] for i in order), window_features=window_features)
            together = tower(**inputs)
            assert together.lengths.tolist() == [len(alone[i]) for i in order]
            assert together.features.shape[1] == max(together.lengths)
            for row, i in enumerate(order):
                assert error(together.features[row, : len(alone[i])], alone[i]) < 1e-5
                assert not together.features[row, len(alone[i]) :].any()


# ---- frozen, trained, precision, graph -------------------------------------------------------------------------------


def test_a_frozen_tower_is_the_same_twice_and_builds_no_graph(toy):
    tower = tower_of(toy(dropout=0.3, attention_dropout=0.3, encoder_layerdrop=0.5)[1])
    tower.requires_grad_(False)
    tower.train()
    first, second = (tower(**batch(*LENGTHS)).features for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert not tower.encoder.training


@pytest.mark.parametrize("layer", ["last", "1"])
def test_every_parameter_of_an_opened_tower_learns_and_the_positions_stay(toy, layer):
    """Layers are never dropped: each would leave a rank of a distributed step without gradients."""
    tower = tower_of(toy(encoder_layerdrop=0.9)[1], layer=layer)
    tower.requires_grad_(False)
    tower.requires_grad_(True).train()
    assert tower.encoder.training
    assert [name for name, _ in tower.named_buffers()] == ["encoder.embed_positions.weight"]
    for _ in range(3):
        tower(**batch(*LENGTHS)).features.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in tower.parameters())
        tower.zero_grad()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.01)])
def test_half_precision_takes_float32_mels_and_stays_close(toy, dtype, tolerance):
    checkpoint = toy()[1]
    inputs = batch(*LENGTHS)
    inputs["input_features"][2] = -1.5  # silence
    with torch.no_grad():
        expected = tower_of(checkpoint)(**inputs).features
        got = tower_of(checkpoint).to(dtype)(**inputs).features
    assert inputs["input_features"].dtype == torch.float32
    assert got.dtype == dtype
    assert got.isfinite().all()
    assert error(got.float(), expected) < tolerance


def test_forward_reads_nothing_back(toy):
    tower, inputs = tower_of(toy()[1]), batch(*LENGTHS)
    with NoSync():
        tower(**inputs)


def test_forward_is_one_graph(toy):
    tower = tower_of(toy()[1], window_seconds=0.6)
    tower.requires_grad_(False)
    inputs = batch(*LENGTHS, window_features=30)
    got = torch.compile(tower, fullgraph=True, backend="aot_eager")(**inputs)
    torch.testing.assert_close(got.features, tower(**inputs).features, rtol=1e-5, atol=1e-5)


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["with a head", "bare", "classifier", "encoder alone", "half precision"])
def test_the_encoder_of_any_whisper_model_is_taken(toy, tmp_path, kind):
    model, _ = toy()
    expected = model.get_encoder().state_dict()
    if kind == "with a head":
        model.save_pretrained(tmp_path)
    elif kind == "bare":
        model.model.save_pretrained(tmp_path)
    elif kind == "classifier":
        other = WhisperForAudioClassification(model.config)
        other.encoder.load_state_dict(expected)
        other.save_pretrained(tmp_path)
    elif kind == "encoder alone":
        model.get_encoder().save_pretrained(tmp_path)
    else:
        model.save_pretrained(tmp_path, state_dict={k: v.half() for k, v in model.state_dict().items()})
        expected = {k: v.half().float() for k, v in expected.items()}
    got = tower_of(str(tmp_path)).encoder.state_dict()
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key].dtype == torch.float32
        assert torch.equal(got[key], value), key


def test_the_decoder_is_never_built(toy, monkeypatch):
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a decoder is built")

    checkpoint = toy()[1]
    monkeypatch.setattr(modeling_whisper.WhisperDecoder, "__init__", refuse)
    tower = tower_of(checkpoint)
    assert not any("decoder" in name for name in tower.state_dict())


def test_loading_is_quiet(toy, caplog):
    """Transformers would report the decoder as unexpected weights."""
    checkpoint = toy()[1]
    caplog.clear()
    tower_of(checkpoint)
    assert not caplog.records


@pytest.mark.parametrize("key", ["layers.1.self_attn.q_proj.weight", "embed_positions.weight", "layer_norm.bias"])
def test_a_checkpoint_that_lacks_weights_is_refused(toy, tmp_path, key):
    model, checkpoint = toy()
    state = model.state_dict()
    del state[f"model.encoder.{key}"]
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(KitError, match=rf"missing weights: {key}$"):
        WhisperTower(WhisperTower.read_config(checkpoint)).load_weights(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "key"), [({"encoder_ffn_dim": 31}, "layers.0.fc1.bias"), ({"max_source_positions": 1501}, "embed_pos")]
)
def test_a_checkpoint_of_other_shapes_is_refused(toy, changes, key):
    config = WhisperTower.read_config(toy()[1])
    with pytest.raises(KitError, match=rf"wrongly shaped weights: {key}"):
        WhisperTower(config).load_weights(toy(**changes)[1])


def test_the_preprocessor_is_the_checkpoints(toy, tmp_path):
    model, checkpoint = toy()
    config = WhisperTower.read_config(checkpoint)
    made = WhisperTower.read_preprocessor(checkpoint, config)
    assert isinstance(made, WhisperTower.preprocessor_class)
    assert made.settings() == WhisperPreprocessor(num_mels=17).settings()
    model.config.save_pretrained(tmp_path)
    other = WhisperFeatureExtractor(feature_size=17, sampling_rate=32_000, n_fft=600, hop_length=160)
    other.save_pretrained(tmp_path)
    config = WhisperTower.read_config(str(tmp_path), window_seconds=0.5)
    assert config["positions"] == 50
    expected = WhisperPreprocessor(rate_hz=32_000, num_mels=17, n_fft=600, hop=160, window_features=50)
    assert WhisperTower.read_preprocessor(str(tmp_path), config).settings() == expected.settings()
    (tmp_path / "preprocessor_config.json").unlink()
    nested = {"feature_extractor": other.to_dict(), "processor_class": "WhisperProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert WhisperTower.read_preprocessor(str(tmp_path), config).settings() == expected.settings()


def test_a_checkpoint_without_a_feature_extractor_has_whispers_own_settings(toy, tmp_path):
    toy()[0].config.save_pretrained(tmp_path)
    config = WhisperTower.read_config(str(tmp_path), window_seconds=10)
    made = WhisperTower.read_preprocessor(str(tmp_path), config)
    assert made.settings() == WhisperPreprocessor(num_mels=17, window_features=500).settings()


def test_the_catalog_offers_the_tower():
    spec = discover().find("tower", "whisper").spec
    assert load(spec) is WhisperTower
    assert spec.model_types == MODEL_TYPES
    assert spec.check_options({"layer": -2, "window_seconds": "10"}, "test") == {"layer": "-2", "window_seconds": 10.0}


def test_a_checkpoint_that_does_not_fit_is_one_line(toy, tmp_path):
    Wav2Vec2Config().save_pretrained(tmp_path / "wav2vec2")
    model, checkpoint = toy()
    config = WhisperTower.read_config(checkpoint)
    for name, extractor in (("waves", Wav2Vec2FeatureExtractor()), ("bands", WhisperFeatureExtractor())):
        model.config.save_pretrained(tmp_path / name)
        extractor.save_pretrained(tmp_path / name)
    model.config.save_pretrained(tmp_path / "broken")
    (tmp_path / "broken" / "preprocessor_config.json").write_text("{")
    read, read_preprocessor = WhisperTower.read_config, WhisperTower.read_preprocessor
    window = r"window_seconds must be a multiple of 0\.02 up to 30, for which it has positions; got"
    cases = [
        (lambda: read(str(tmp_path / "absent")), "no checkpoint directory '.*absent'"),
        (lambda: read(str(tmp_path / "wav2vec2")), "is a 'wav2vec2' checkpoint; this component takes 'whisper'"),
        (lambda: read(checkpoint, layer="3"), "has 2 layers, layer '3' is not there; .* last or .* -3 to 2"),
        (lambda: read(checkpoint, layer="mix"), "layer 'mix' is not there"),
        (lambda: read_preprocessor(str(tmp_path / "waves"), config), "a Wav2Vec2FeatureExtractor; expected a Whisper"),
        (lambda: read_preprocessor(str(tmp_path / "bands"), config), "of 80 mel bands; its encoder takes 17"),
        (lambda: read_preprocessor(str(tmp_path / "broken"), config), "cannot read AutoFeatureExtractor from"),
        *(
            (lambda seconds=seconds: read(checkpoint, window_seconds=seconds), f"{window} {seconds:g}")
            for seconds in (45.0, 0.03, 0.0, -10.0, float("nan"), float("inf"))
        ),
    ]
    for call, message in cases:
        with pytest.raises(KitError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("hop_length", 10**6), ("hop_length", 160.5), ("sampling_rate", 900)])
def test_numbers_of_a_feature_extractor_that_no_sound_is_read_with_are_named(toy, tmp_path, key, value):
    shutil.copytree(toy()[1], tmp_path / "changed")
    file = tmp_path / "changed" / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(
        KitError, match=rf"AutoFeatureExtractor from|its feature extractor\.\w+: expected .*got {value}"
    ):
        WhisperTower.read_config(str(tmp_path / "changed"))


def test_a_spectrum_that_no_window_holds_is_named():
    WhisperPreprocessor(n_fft=639, window_features=1)
    with pytest.raises(KitError, match="a spectrum of 640 samples in a window of 320"):
        WhisperPreprocessor(n_fft=640, window_features=1)


# ---- in a model ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hearing(toy, tmp_path_factory):
    """A model that hears in windows of half a second, and its processor."""
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path_factory.mktemp('llm'))}",
        towers=[f"audio=whisper:{toy()[1]}"],
        connectors=["audio=mlp2x_gelu"],
        settings=["tower.audio.window_seconds=0.5"],
    )
    torch.manual_seed(1)
    return assemble(assembly)


def question(num_samples: int, rate_hz: int = 16_000) -> list[dict[str, Any]]:
    return [{"role": "user", "content": ["hear ", {"type": "audio", "audio": clip(num_samples, rate_hz)}, " now"]}]


CONVERSATIONS = [question(3_217), question(16_001), question(1), question(5_000, 8_000)]


def test_a_sound_of_several_windows_is_the_same_alone_and_in_a_batch(hearing):
    model, processor = hearing
    inputs = processor(CONVERSATIONS, padding_side="right")
    assert [item.num_tokens for item in inputs["plan"].items] == [11, 51, 1, 32]
    with torch.no_grad():
        together = model(**inputs).logits
        for row, mask, conversation in zip(together, inputs["attention_mask"].bool(), CONVERSATIONS, strict=True):
            alone = model(**processor([conversation])).logits[0]
            torch.testing.assert_close(row[mask], alone, rtol=0, atol=1e-4)


def test_a_model_that_hears_is_saved_and_loaded_whole(hearing, tmp_path: Path):
    model, processor = hearing
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    again = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path)
    state = model.state_dict()
    assert "towers.audio.encoder.embed_positions.weight" in state
    assert again.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
    inputs = TinyLlavaProcessor.from_pretrained(tmp_path)(CONVERSATIONS)
    with torch.no_grad():
        assert torch.equal(again.eval()(**inputs).logits, model(**processor(CONVERSATIONS)).logits)
    half = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in half.towers.state_dict().values()} == {torch.bfloat16}
    with torch.no_grad():
        assert half.eval()(**inputs).logits.isfinite().all()
