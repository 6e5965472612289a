"""An LLM that does not keep packed samples apart is seen before the first step; one that does is left as it was."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.nn import functional as F
from transformers.models.llama import modeling_llama

from tests import toys
from tests.strokes import drawing, drawing_model  # noqa: F401 (a fixture)
from tests.training.runs import train
from tinyllava_kit import KitError, assemble
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.checkpoints.quantization import Quantization
from tinyllava_kit.testing import check_packing
from tinyllava_kit.training.checks.pack_probe import check_packs_apart

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class OwnMask(modeling_llama.LlamaAttention):
    """Attention of an LLM that builds a causal mask of its own and looks at no other."""

    def forward(self, hidden_states, position_embeddings=None, **others):
        batch, length, _ = hidden_states.shape
        split = lambda each: each.view(batch, length, -1, self.head_dim).transpose(1, 2)  # noqa: E731
        query, key, value = (split(part(hidden_states)) for part in (self.q_proj, self.k_proj, self.v_proj))
        query, key = modeling_llama.apply_rotary_pos_emb(query, key, *position_embeddings)
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)  # (B, H, T, d)
        return self.o_proj(out.transpose(1, 2).flatten(2)), None


class PlacedByRow(modeling_llama.LlamaModel):
    """An LLM that keeps samples apart, and adds to each position what stands for its place in the row."""

    def forward(self, inputs_embeds=None, **others):
        places = torch.eye(24)[: inputs_embeds.shape[1]]  # (T, D)
        return super().forward(inputs_embeds=(inputs_embeds + places).to(inputs_embeds.dtype), **others)


@pytest.fixture(params=["attention", "places"])
def careless(request, monkeypatch):
    """Llamas that are built from now on do not keep packed samples apart."""
    if request.param == "attention":
        monkeypatch.setattr(modeling_llama, "LlamaAttention", OwnMask)
    else:
        monkeypatch.setattr(modeling_llama, "LlamaModel", PlacedByRow)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_llm_that_looks_at_no_positions_is_refused(careless, dtype, tmp_path):
    model, _ = toys.picture_model(tmp_path / "llm")
    model.language_model.to(dtype)
    with pytest.raises(KitError, match="packing: LlamaForCausalLM does not keep samples apart that share a row"):
        check_packs_apart(model, model, CPU)


def test_the_contract_sees_it_too(monkeypatch, tmp_path):
    monkeypatch.setattr(modeling_llama, "LlamaAttention", OwnMask)
    model, processor = toys.picture_model(tmp_path / "llm")
    said = [[{"role": "user", "content": each}, {"role": "assistant", "content": each}] for each in "ab"]
    with pytest.raises(AssertionError, match="the losses in packs of"):
        check_packing(model, processor, said)


@pytest.mark.parametrize("std", [0.3, 0.02], ids=["lively", "as drawn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_an_llm_of_transformers_passes_and_is_left_as_it_was(attention, dtype, std, tmp_path):
    model, _ = toys.picture_model(tmp_path / "llm")
    for parameter in model.language_model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=std)
    inject_adapter_in_model(LoraConfig(target_modules=["v_proj"], lora_dropout=0.5), model.language_model)
    model.to(dtype).train()
    model.set_attn_implementation(attention)
    modes, weights = [m.training for m in model.modules()], [p.clone() for p in model.parameters()]
    chance = torch.random.get_rng_state()
    check_packs_apart(model, model, CPU)
    assert torch.equal(torch.random.get_rng_state(), chance)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(p, before) and p.grad is None for p, before in zip(model.parameters(), weights, strict=True))


@pytest.mark.parametrize("bits", [4, 8])
def test_an_llm_of_few_bits_passes_and_can_still_be_trained(bits, tmp_path):
    for part in assemble(toys.picture_assembly(toys.save_llama(tmp_path / "llm", hidden=64))):
        part.save_pretrained(tmp_path / "model")
    model, _ = load_pretrained(tmp_path / "model", quantization=Quantization(bits=bits))
    model.train()
    check_packs_apart(model, model, CPU)
    model.eval().train()


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("decoder", ["points", "strokes_talker"])
def test_a_model_that_makes_items_is_judged_by_its_text(decoder, tmp_path, monkeypatch):
    check_packs_apart(*[drawing_model(tmp_path, decoder=decoder)[0]] * 2, CPU)
    monkeypatch.setattr(modeling_llama, "LlamaAttention", OwnMask)
    with pytest.raises(KitError, match="does not keep samples apart"):
        check_packs_apart(*[drawing_model(tmp_path, decoder=decoder)[0]] * 2, CPU)


def test_a_packed_stage_is_refused_before_its_first_step_and_leaves_nothing(place, monkeypatch):
    monkeypatch.setattr(modeling_llama, "LlamaAttention", OwnMask)
    with pytest.raises(KitError, match="stage 's': packing: LlamaForCausalLM does not keep samples apart"):
        train(place, "careless", packing=True, max_length=200)
    assert not (place / "careless").exists()
    train(place, "unpacked", max_length=200, max_steps=1)


def test_the_model_that_is_left_says_that_packs_stay_apart(place):
    left = train(place, "noted", packing=True, max_length=200, max_steps=1)
    assert json.loads((left / "config.json").read_text())["packs_apart"] == ["sdpa"]
    assert load_pretrained(left)[0].config.packs_apart == ["sdpa"]
