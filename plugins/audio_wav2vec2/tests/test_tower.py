"""The tower against transformers' models, and its checkpoints. What holds for any audio tower: test_contract.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tinyllava_kit_audio_wav2vec2.preprocessor import Wav2Vec2Preprocessor, num_frames
from tinyllava_kit_audio_wav2vec2.tower import MODEL_TYPES, Wav2Vec2Tower, masked_group_norm
from torch import Tensor, nn
from transformers import (
    BertConfig,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    WhisperFeatureExtractor,
)

from tinyllava_kit import Assembly, KitError, assemble, discover
from tinyllava_kit.components import Waveform
from tinyllava_kit.specs import load

LLM = Path(__file__).parents[3] / "tests" / "golden" / "assets" / "tinyllama-tiny"
KINDS = [(kind, norm) for kind in ("wav2vec2", "hubert", "wavlm") for norm in ("group", "layer")]
LENGTHS = (3_217, 8_003, 400)  # samples: one frame, and neither a multiple of the hop


def tower_of(checkpoint: str, **options: Any) -> Wav2Vec2Tower:
    tower = Wav2Vec2Tower(Wav2Vec2Tower.read_config(checkpoint, **options))
    tower.load_weights(checkpoint)
    return tower.eval()


def clip(num_samples: int, seed: int = 0) -> Tensor:
    """(n,) float32 noise that grows louder, so that statistics over padding or time show."""
    noise = torch.randn(num_samples, generator=torch.Generator().manual_seed(seed + num_samples))
    return noise * torch.linspace(0.3, 1.5, num_samples)


def batch(clips: Sequence[Tensor]) -> dict[str, Tensor]:
    return Wav2Vec2Preprocessor().collate([{"input_values": one} for one in clips])


def error(got: Tensor, expected: Tensor) -> float:
    """Relative distance, L2."""
    return ((got - expected).norm() / expected.norm()).item()


# ---- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_a_single_clip_gives_what_transformers_gives(toy, kind, norm):
    model, checkpoint = toy(kind, norm)
    values = clip(8_003)[None]
    with torch.no_grad():
        expected = model(values).last_hidden_state
        got = tower_of(checkpoint)(values, torch.tensor([8_003]))
    assert got.features.shape == expected.shape == (1, num_frames(8_003, 400, 320), 22)
    assert got.lengths.tolist() == [expected.shape[1]]
    assert got.grid is None
    torch.testing.assert_close(got.features, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_each_layer_is_the_hidden_state_of_its_index(toy, kind, norm):
    model, checkpoint = toy(kind, norm)
    values = clip(3_217)[None]
    with torch.no_grad():
        output = model(values, output_hidden_states=True)
        for index, expected in enumerate(output.hidden_states):
            tower = tower_of(checkpoint, layer=index)
            got = tower(values, torch.tensor([3_217])).features
            assert len(tower.encoder.encoder.layers) == index  # no more are built than are run
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert (norm == "layer") == (error(output.hidden_states[-1], output.last_hidden_state) > 0.1)


def test_a_negative_layer_counts_from_the_end(toy):
    _, checkpoint = toy()
    read = Wav2Vec2Tower.read_config
    assert read(checkpoint, layer="-1") == read(checkpoint, layer="last") == read(checkpoint)
    assert read(checkpoint, layer="-2") == read(checkpoint, layer=1)
    assert read(checkpoint, layer=-3)["encoder"]["num_hidden_layers"] == 0


@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_mix_is_the_weighted_mean_of_all_hidden_states(toy, kind, norm):
    model, checkpoint = toy(kind, norm)
    values, lengths = clip(3_217)[None], torch.tensor([3_217])
    tower = tower_of(checkpoint, layer="mix")
    with torch.no_grad():
        output = model(values, output_hidden_states=True)
        tower.mix_weights.copy_(torch.tensor([0.3, -0.2, 0.9]))
        weights = torch.tensor([0.3, -0.2, 0.9]).softmax(0)
        expected = torch.einsum("l,lnpe->npe", weights, torch.stack(output.hidden_states))
        if norm == "layer":
            expected = model.encoder.layer_norm(expected)
        torch.testing.assert_close(tower(values, lengths).features, expected, rtol=1e-5, atol=1e-5)
        tower.mix_weights.copy_(torch.tensor([-90.0, -90.0, 90.0]))
        got = tower(values, lengths).features
    torch.testing.assert_close(got, output.last_hidden_state, rtol=1e-5, atol=1e-5)


# ---- norms and windows -----------------------------------------------------------------------------------------------


def test_a_batch_norm_before_the_positions_is_run(toy):
    model, checkpoint = toy("hubert", "layer", conv_pos_batch_norm=True)
    tower = tower_of(checkpoint)
    values = clip(3_217)[None]
    with torch.no_grad():
        expected = model(values).last_hidden_state
        torch.testing.assert_close(tower(values, torch.tensor([3_217])).features, expected, rtol=1e-5, atol=1e-5)


def test_the_masked_group_norm_is_torchs_on_each_rows_own_frames():
    """More channels than are taken at a time."""
    torch.manual_seed(0)
    norm = nn.GroupNorm(67, 67)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    hidden, lengths = torch.randn(3, 67, 31) + 7, torch.tensor([31, 13, 5])
    got = masked_group_norm(norm, hidden, lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = norm(hidden[row : row + 1, :, :length])[0]
        torch.testing.assert_close(got[row, :, :length], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_windows_give_the_frames_of_the_whole_and_the_same_convolutions(toy, kind, norm):
    """Window 13 frames: counts for every edge remainder; frames of the convolutions equal for layer norm."""
    tower, windows, whole = tower_of(toy(kind, norm)[1]), Wav2Vec2Preprocessor(window_frames=13), Wav2Vec2Preprocessor()
    hop = 13 * 320
    for num_samples in (2 * hop + edge for edge in (-320, -1, 0, 79, 80, 81, 399, 400, 401, 720)):
        item = Waveform(clip(num_samples).numpy(), 16_000, "long.wav")
        inputs = windows.collate(windows(item))
        with torch.no_grad():
            features = tower(**inputs)
            assert features.lengths.tolist() == windows.num_features(item)
            assert features.lengths.sum().item() == num_frames(num_samples, 400, 320)
            rows, keep = tower._convolve(**inputs)
            expected, _ = tower._convolve(**whole.collate(whole(item)))
        if norm == "layer":
            assert error(rows[keep], expected[0]) < 1e-6


def test_a_minute_of_padded_sound_is_run_at_a_time(toy):
    tower = tower_of(toy()[1])
    for samples, rows in ((480_080, 2), (480_081, 1), (16_000, 60), (10**7, 1)):
        assert tower.rows_at_once({"input_values": torch.zeros(1).expand(97, samples)}) == rows


# ---- trained ---------------------------------------------------------------------------------------------------------


def test_a_frozen_encoder_still_learns_how_to_mix(toy):
    tower = tower_of(toy("wavlm", "layer")[1], layer="mix")
    tower.encoder.requires_grad_(False)
    tower.train()
    tower(**batch([clip(3_217), clip(8_003)])).features.square().sum().backward()
    assert tower.mix_weights.grad.abs().min() > 0
    assert all(parameter.grad is None for parameter in tower.encoder.parameters())


@pytest.mark.parametrize(("kind", "norm"), KINDS)
@pytest.mark.parametrize("layer", ["last", "1"])
def test_every_parameter_of_a_trained_tower_learns_even_from_a_clip_of_one_frame(toy, kind, norm, layer):
    """Transformers' own model crashes on clips below 0.205 s in train mode (SpecAugment), and drops layers."""
    tower = tower_of(toy(kind, norm)[1], layer=layer).train()
    torch.manual_seed(0)
    for _ in range(3):
        tower(**batch([clip(400), clip(3_217)])).features.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in tower.parameters())
        tower.zero_grad()


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_class", [Wav2Vec2ForCTC, Wav2Vec2ForPreTraining])
def test_the_encoder_of_a_model_with_a_head_is_taken(toy, save, tmp_path, model_class):
    encoder, _ = toy("wav2vec2", "layer")
    model = model_class(encoder.config)
    model.wav2vec2.load_state_dict(encoder.state_dict())
    values = clip(3_217)[None]
    with torch.no_grad():
        got = tower_of(save(model, tmp_path))(values, torch.tensor([3_217])).features
        torch.testing.assert_close(got, encoder(values).last_hidden_state, rtol=1e-5, atol=1e-5)


def test_loading_is_quiet(toy, save, tmp_path, caplog):
    """Transformers would report a head, and the vector of SpecAugment, as unexpected weights."""
    checkpoint = save(Wav2Vec2ForCTC(toy("wav2vec2", "layer")[0].config), tmp_path)
    caplog.clear()
    tower_of(checkpoint)
    assert not caplog.records


def test_the_catalog_offers_the_tower():
    spec = discover().find("tower", "wav2vec2").spec
    assert load(spec) is Wav2Vec2Tower
    assert spec.model_types == MODEL_TYPES
    assert spec.check_options({"layer": -2}, "test") == {"layer": "-2"}


def test_a_checkpoint_that_lacks_weights_is_refused(toy, save, tmp_path):
    model, checkpoint = toy("wav2vec2", "group")
    state = model.state_dict()
    del state["encoder.layers.1.attention.q_proj.weight"]
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(KitError, match=r"missing weights: encoder\.layers\.1\.attention\.q_proj\.weight$"):
        Wav2Vec2Tower(Wav2Vec2Tower.read_config(checkpoint)).load_weights(str(tmp_path))


def test_a_checkpoint_of_other_shapes_is_refused(toy):
    config = Wav2Vec2Tower.read_config(toy("wav2vec2", "group")[1])
    other = toy("wav2vec2", "group", intermediate_size=31)[1]
    with pytest.raises(
        KitError, match=r"wrongly shaped weights: encoder\.layers\.0\.feed_forward\.intermediate_dense\.bias"
    ):
        Wav2Vec2Tower(config).load_weights(other)


def test_the_preprocessor_is_the_checkpoints(toy, save, tmp_path):
    model, checkpoint = toy("hubert", "layer")
    config = Wav2Vec2Tower.read_config(checkpoint)
    made = Wav2Vec2Tower.read_preprocessor(checkpoint, config)
    assert isinstance(made, Wav2Vec2Tower.preprocessor_class)
    assert made.settings() == Wav2Vec2Preprocessor().settings()
    other = save(model, tmp_path, sampling_rate=8_000, do_normalize=False)
    settings = Wav2Vec2Tower.read_preprocessor(other, config).settings()
    assert (settings["rate_hz"], settings["normalize"]) == (8_000, False)


def test_a_checkpoint_that_does_not_fit_is_one_line(toy, save, tmp_path):
    BertConfig().save_pretrained(tmp_path / "bert")
    model, checkpoint = toy("wav2vec2", "layer", add_adapter=True)
    config = Wav2Vec2Tower.read_config(toy()[1])
    (tmp_path / "bare").mkdir()
    model.config.save_pretrained(tmp_path / "bare")
    WhisperFeatureExtractor().save_pretrained(tmp_path / "mel")
    model.config.save_pretrained(tmp_path / "mel")
    read, read_preprocessor = Wav2Vec2Tower.read_config, Wav2Vec2Tower.read_preprocessor
    cases = (
        (lambda: read(str(tmp_path / "absent")), "no checkpoint directory '.*absent'"),
        (lambda: read(str(tmp_path / "bert")), "is a 'bert' checkpoint; this component takes 'wav2vec2', 'hubert'"),
        (lambda: read(checkpoint), "has an adapter after its encoder"),
        (lambda: read(toy()[1], layer="3"), "has 2 layers, layer '3' is not there; expected last, mix or .* -3 to 2"),
        (lambda: read(toy()[1], layer="first"), "layer 'first' is not there"),
        (lambda: read_preprocessor(str(tmp_path / "bare"), config), "cannot read AutoFeatureExtractor from '.*bare'"),
        (
            lambda: read_preprocessor(str(tmp_path / "mel"), config),
            "has a WhisperFeatureExtractor; expected a Wav2Vec2",
        ),
    )
    for call, message in cases:
        with pytest.raises(KitError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("sampling_rate", 16000.5), ("sampling_rate", {"name": 1}), ("do_normalize", 3)]
)
def test_settings_of_a_feature_extractor_are_of_their_types(toy, save, tmp_path, key, value):
    checkpoint = save(toy("wav2vec2", "layer")[0], tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    config = Wav2Vec2Tower.read_config(checkpoint)
    with pytest.raises(KitError, match=r"its feature extractor\.(rate_hz|normalize): expected a valid (int|bool)"):
        Wav2Vec2Tower.read_preprocessor(checkpoint, config)


def test_a_configuration_that_no_network_can_be_made_of_is_one_line(toy, save, tmp_path):
    checkpoint = save(toy("wav2vec2", "layer")[0], tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_conv_pos_embeddings": 2**63}))
    parts = {"towers": [f"audio=wav2vec2:{checkpoint}"], "connectors": ["audio=linear"]}
    assembly = Assembly.from_flags(llm=f"llama:{LLM}", **parts)
    with pytest.raises(KitError, match=r"towers\.audio: no 'wav2vec2' can be made of '.*': .*Overflow") as refused:
        assemble(assembly)
    assert "\n" not in str(refused.value)
