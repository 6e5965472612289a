"""The contract of audio towers, and that transformers' own group-norm model does not keep it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from tinyllava_kit_audio_wav2vec2.contract import WINDOW, Wav2Vec2Contract, windowed
from tinyllava_kit_audio_wav2vec2.tower import Wav2Vec2Tower
from torch import Tensor
from transformers import AutoConfig, AutoModel

from tests import toys
from tinyllava_kit import Assembly, Quantization, assemble, load_pretrained
from tinyllava_kit.interfaces import Features
from tinyllava_kit.testing import checks_of

KINDS = [(kind, norm) for kind in ("wav2vec2", "hubert", "wavlm") for norm in ("group", "layer")]
BATCH_NORM = {"conv_pos_batch_norm": True}  # of some HuBERTs; it would lift the padding off zero


def contract_of(kind: str, norm: str, **known: Any) -> Wav2Vec2Contract:
    """The tower's contract, on a toy of another architecture than its spec's."""
    known = {"component": Wav2Vec2Tower, "architecture": kind, "norm": norm, **known}
    return _class(tuple(sorted(known.items(), key=lambda pair: pair[0])))()


@cache
def _class(known: tuple[tuple[str, Any], ...]) -> type[Wav2Vec2Contract]:
    return type("OtherContract", (Wav2Vec2Contract,), dict(known))


class BatchNorm(Wav2Vec2Contract):
    component = Wav2Vec2Tower
    architecture, norm, changes = "hubert", "layer", BATCH_NORM


CHECKS = [name for name in checks_of(Wav2Vec2Contract) if name not in ("target", "keywords", "options")]  # of its spec


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(("kind", "norm"), [*KINDS[1:], ("hubert", "batch")])
def test_every_architecture_keeps_it(check, kind, norm):
    contract = BatchNorm() if norm == "batch" else contract_of(kind, norm)
    getattr(contract, f"test_{check}")()


@pytest.mark.parametrize("layer", ["mix", "1"])
@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_other_layers_keep_it(kind, norm, layer):
    contract = contract_of(kind, norm)
    contract.options = {"layer": layer}
    for check in ("counts", "batch", "sync", "saved"):
        getattr(contract, f"test_{check}")()


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
def test_transformers_own_group_norm_model_does_not_keep_it(kind, tower_class):
    contract = contract_of(kind, "group")
    contract.component = tower_class
    contract.test_counts()
    with pytest.raises(AssertionError, match=r"item 0 in a batch of \(0, 1\), and alone: features differ by 0\.\d"):
        contract.test_batch()


def test_transformers_own_layer_norm_model_keeps_it():
    """So what fails above is the group norm, not the wrapping."""
    contract = contract_of("wav2vec2", "layer")
    contract.component = Unpatched
    contract.test_batch()


def test_a_sentence_about_a_sound_has_the_same_logits_alone_and_in_a_batch(toy, tmp_path):
    """The whole model around a group-norm tower, the sounds of one and of two windows."""
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path)}",
        towers=[f"audio=wav2vec2:{toy('wav2vec2', 'group')[1]}"],
        connectors=["audio=stack_mlp"],
    )
    torch.manual_seed(1)
    model, processor = assemble(assembly)
    processor.preprocessors["audio"] = windowed(processor.preprocessors["audio"], WINDOW)
    sounds = [Wav2Vec2Contract().sound(n) for n in (3_217, 12_001, 400)]
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
    batch = processor([{"role": "user", "content": [{"type": "audio", "audio": Wav2Vec2Contract().sound(12_001)}]}])
    with torch.no_grad():
        wanted, found = (m.eval().encode_features("audio", batch["items"]["audio"]).features for m in (full, fewer))
    assert 0 < (found - wanted).norm() / wanted.norm() < 0.2
