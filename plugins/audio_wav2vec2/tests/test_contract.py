"""The contract of audio towers, and that transformers' own group-norm model does not keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tinyllava_kit_audio_wav2vec2.preprocessor import Wav2Vec2Preprocessor
from tinyllava_kit_audio_wav2vec2.tower import Wav2Vec2Tower
from torch import Tensor
from transformers import AutoConfig, AutoModel

from tests import toys
from tinyllava_kit import Assembly, Quantization, assemble, load_pretrained
from tinyllava_kit.interfaces import Features
from tinyllava_kit.testing import AudioTowerContract

KINDS = [(kind, norm) for kind in ("wav2vec2", "hubert", "wavlm") for norm in ("group", "layer")]
BATCH_NORM = {"conv_pos_batch_norm": True}  # of some HuBERTs; it would lift the padding off zero
WINDOW = 29  # features


class TestWav2Vec2Tower(AudioTowerContract):
    tower_class = Wav2Vec2Tower
    min_samples, hop_samples, window_samples = 400, 320, WINDOW * 320
    window_tolerance = 0.1

    @pytest.fixture(params=[*KINDS, ("hubert", "layer", "batch")], ids="-".join)
    def checkpoint(self, request, toy):
        kind, norm, *positions = request.param
        return toy(kind, norm, **(BATCH_NORM if positions else {}))[1]

    def build(self, checkpoint):
        tower, preprocessor = super().build(checkpoint)
        return tower, _windowed(preprocessor, WINDOW)

    def count(self, num_samples):
        return (num_samples - 400) // 320 + 1

    def without_windows(self, preprocessor):
        return _windowed(preprocessor, 10**6)


def _windowed(preprocessor: Wav2Vec2Preprocessor, window_frames: int) -> Wav2Vec2Preprocessor:
    return Wav2Vec2Preprocessor.from_settings({**preprocessor.settings(), "window_frames": window_frames})


@pytest.mark.parametrize("layer", ["mix", "1"])
@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_other_layers_keep_it(toy, tmp_path, kind, norm, layer):
    contract, checkpoint = TestWav2Vec2Tower(), toy(kind, norm)[1]
    contract.options = {"layer": layer}
    contract.test_what_is_counted_is_what_the_network_gives(checkpoint)
    contract.test_a_row_does_not_depend_on_its_batch(checkpoint)
    contract.test_forward_reads_nothing_back(checkpoint)
    contract.test_a_tower_inside_a_model_is_saved_and_loaded_whole(checkpoint, tmp_path)


class Unpatched(Wav2Vec2Tower):
    """Transformers' own model and forward on the padded batch: the negative control."""

    with_mask = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(AutoConfig.for_model(**config["encoder"]))

    def forward(self, input_values: Tensor, lengths: Tensor) -> Features:
        mask = (torch.arange(input_values.shape[1]) < lengths[:, None]).long()  # (N, S)
        hidden = self.encoder(input_values, attention_mask=mask if self.with_mask else None).last_hidden_state
        lengths = self.encoder._get_feat_extract_output_lengths(lengths)  # (N,)
        keep = torch.arange(hidden.shape[1]) < lengths[:, None]  # (N, P)
        return Features(hidden * keep[..., None], lengths)


class Unmasked(Unpatched):
    """As the library's documentation advises for group norm."""

    with_mask = False


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # transformers' own WavLM attention
@pytest.mark.parametrize("tower_class", [Unpatched, Unmasked])
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_transformers_own_group_norm_model_does_not_keep_it(toy, kind, tower_class):
    contract = TestWav2Vec2Tower()
    contract.tower_class = tower_class
    checkpoint = toy(kind, "group")[1]
    contract.test_what_is_counted_is_what_the_network_gives(checkpoint)
    with pytest.raises(AssertionError, match=r"item 0 in a batch of \(0, 1\), and alone: features differ by 0\.\d"):
        contract.test_a_row_does_not_depend_on_its_batch(checkpoint)


def test_transformers_own_layer_norm_model_keeps_it(toy):
    """So what fails above is the group norm, not the wrapping."""
    contract = TestWav2Vec2Tower()
    contract.tower_class = Unpatched
    contract.test_a_row_does_not_depend_on_its_batch(toy("wav2vec2", "layer")[1])


def test_a_sentence_about_a_sound_has_the_same_logits_alone_and_in_a_batch(toy, tmp_path):
    """The whole model around a group-norm tower, the sounds of one and of two windows."""
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path)}",
        towers=[f"audio=wav2vec2:{toy('wav2vec2', 'group')[1]}"],
        connectors=["audio=stack_mlp"],
    )
    torch.manual_seed(1)
    model, processor = assemble(assembly)
    processor.preprocessors["audio"] = _windowed(processor.preprocessors["audio"], WINDOW)
    sounds = [TestWav2Vec2Tower().sound(n) for n in (3_217, 12_001, 400)]
    asked = [[{"role": "user", "content": [{"type": "audio", "audio": s}, "what is it?"]}] for s in sounds]
    for side in ("left", "right"):
        batch = processor(asked, padding_side=side)
        with torch.no_grad():
            together = model(**batch).logits
            for row, mask, one in zip(together, batch["attention_mask"].bool(), asked, strict=True):
                torch.testing.assert_close(row[mask], model(**processor([one])).logits[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_a_quantized_tower_hears_about_the_same(toy, tmp_path, kind, bits):
    pytest.importorskip("bitsandbytes")
    checkpoint = toy(kind, "layer", hidden_size=64, intermediate_size=96, num_conv_pos_embedding_groups=16)[1]
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path / 'llm')}",
        towers=[f"audio=wav2vec2:{checkpoint}"],
        connectors=["audio=linear"],
    )
    for part in assemble(assembly):
        part.save_pretrained(tmp_path / "model")
    full, processor = load_pretrained(tmp_path / "model")
    fewer, _ = load_pretrained(tmp_path / "model", quantization=Quantization(bits=bits, parts=("tower.audio",)))
    batch = processor([{"role": "user", "content": [{"type": "audio", "audio": TestWav2Vec2Tower().sound(12_001)}]}])
    with torch.no_grad():
        wanted, found = (m.eval().encode_features("audio", batch["items"]["audio"]).features for m in (full, fewer))
    assert 0 < (found - wanted).norm() / wanted.norm() < 0.2
