"""`causal_lm`: the logits of architectures that do something behind their head, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tinyllava_kit_llm_hf.causal_lm import CausalLanguageModel
from tinyllava_kit_llm_hf.plugin import CAUSAL_LM
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    logging,
)

from tinyllava_kit import Assembly, KitError, assemble, discover
from tinyllava_kit.interfaces import CACHE
from tinyllava_kit.specs import load

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
IDS = torch.tensor([[3, 5, 17, 30, 4, 2, 11]])  # (1, 7)
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,  # mixtures of experts want multiples of 16 bytes
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
# With values that change the logits visibly.
PLAIN = {"gpt2": {}, "opt": {"ffn_dim": 48}, "mixtral": {"num_local_experts": 4}, "falcon_h1": {}}
NOT_PLAIN = {
    "gemma2": {"final_logit_softcapping": 0.5},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 3.0, "embedding_multiplier": 2.0},
    "granitemoe": {"logits_scaling": 3.0, "num_local_experts": 4},
}


@pytest.fixture(autouse=True)
def quiet():
    logging.set_verbosity_error()  # architectures warn of kernels that are not installed
    yield
    logging.set_verbosity_warning()


def toy(model_type: str, **options: object) -> PreTrainedModel:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[model_type](**{**SIZES, **options})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def save(model: PreTrainedModel, folder: Path) -> str:
    model.save_pretrained(folder)
    return str(folder)


def read(folder: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    return CausalLanguageModel.load(folder, CausalLanguageModel.read_config(folder), dtype)


def llama() -> PreTrainedModel:
    return toy("llama")


# --- logits ---


@pytest.mark.parametrize("model_type", [*PLAIN, *NOT_PLAIN])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_those_of_the_models_own_forward(tmp_path, model_type, dtype):
    model = read(save(toy(model_type, **{**PLAIN, **NOT_PLAIN}[model_type]), tmp_path), dtype)
    with torch.no_grad():
        expected = model(IDS).logits  # (1, 7, V)
        hidden = model.get_decoder()(IDS).last_hidden_state  # (1, 7, D)
        assert torch.equal(CausalLanguageModel.logits(model, hidden), expected)
        rows = CausalLanguageModel.logits(model, hidden[0, [5, 2]])  # (2, V)
        assert torch.allclose(rows.float(), expected[0, [5, 2]].float(), rtol=0.02, atol=1e-6)
        head = model.get_output_embeddings()(hidden)
        assert torch.equal(head, expected) == (model_type in PLAIN)


def test_logits_are_in_one_graph_and_their_gradient_is_that_of_the_model(tmp_path):
    model = toy("gemma2", final_logit_softcapping=0.5)
    hidden = model.get_decoder()(IDS).last_hidden_state.detach().requires_grad_()
    compiled = torch.compile(lambda h: CausalLanguageModel.logits(model, h), fullgraph=True, backend="eager")
    logits = compiled(hidden)
    assert torch.equal(logits, model(IDS).logits)
    logits[0, 3, 11].backward()
    by_hand = hidden.detach().requires_grad_()
    (0.5 * torch.tanh(model.lm_head(by_hand) / 0.5))[0, 3, 11].backward()
    assert torch.allclose(hidden.grad, by_hand.grad, atol=1e-6)


def test_a_head_that_is_replaced_is_the_one_that_is_used():
    model = toy("granite", **NOT_PLAIN["granite"])
    model.resize_token_embeddings(101)
    hidden = model.get_decoder()(IDS).last_hidden_state
    logits = CausalLanguageModel.logits(model, hidden)
    assert torch.equal(logits, model(IDS).logits)
    assert logits.shape[-1] == 101


def test_the_loss_of_a_training_step_has_the_caps(tmp_path):
    """In training the head runs on the target rows alone, not in the model's forward."""
    folder = save(toy("gemma2", final_logit_softcapping=0.5, vocab_size=431), tmp_path)
    AutoTokenizer.from_pretrained(GOLDEN / "data" / "tokenizers" / "gemma").save_pretrained(folder)
    tower = GOLDEN / "assets" / "clip-tiny"
    assembly = Assembly.from_flags(
        llm=f"causal_lm:{folder}",
        towers=[f"image=clip:{tower}"],
        connectors=["image=mlp2x_gelu"],
        template="gemma",
    )
    model, processor = assemble(assembly)
    said = [{"role": "user", "content": "what"}, {"role": "assistant", "content": "a thing"}]
    batch = processor([said], labels=True)
    with torch.no_grad():
        step = model.train()(**batch)
        logits = model.language_model(batch["input_ids"]).logits  # (1, T, V), by the LLM's own forward
    assert logits.abs().max() <= 0.5
    expected = torch.nn.functional.cross_entropy(logits[0, :-1], batch["labels"][0, 1:])
    assert torch.allclose(step.loss, expected)


# --- what is refused when the configuration is read ---


def write_config(folder: Path, **config: object) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize("model_type", ["t5", "bart", "whisper"])
def test_an_encoder_decoder_is_refused(tmp_path, model_type):
    folder = write_config(tmp_path, model_type=model_type, is_encoder_decoder=True)
    with pytest.raises(KitError, match=rf"is a '{model_type}' checkpoint, an encoder-decoder; a decoder alone is exp"):
        CausalLanguageModel.read_config(folder)


@pytest.mark.parametrize("model_type", ["dinov2", "distilbert", "wav2vec2"])
def test_a_model_without_a_causal_class_is_refused(tmp_path, model_type):
    folder = write_config(tmp_path, model_type=model_type)
    with pytest.raises(KitError, match=rf"is a '{model_type}' checkpoint, for which transformers has no causal langua"):
        CausalLanguageModel.read_config(folder)


@pytest.mark.parametrize("model_type", ["gemma3", "qwen3_5"])
def test_a_model_of_several_parts_is_refused(tmp_path, model_type):
    folder = write_config(tmp_path, model_type=model_type)
    with pytest.raises(KitError, match=r"a model of several parts; take a checkpoint of its language model alone"):
        CausalLanguageModel.read_config(folder)


def test_code_of_a_checkpoint_is_not_run(tmp_path):
    folder = write_config(tmp_path, model_type="stranger", auto_map={"AutoConfig": "config.Config"})
    (tmp_path / "config.py").write_text("raise SystemExit('was run')\n")
    with pytest.raises(KitError, match=r"^cannot read AutoConfig from '.*': .+$"):
        CausalLanguageModel.read_config(folder)


# --- what is refused when the model is tried ---


@pytest.mark.parametrize(
    ("model_type", "options", "fault"),
    [
        ("bert", {}, "its tokens see those behind them"),
        ("mamba", {"state_size": 4}, "it keeps no cache of keys and values|with its cache it gives other logits"),
        ("opt", {"word_embed_proj_dim": 20, "ffn_dim": 48}, "its embeddings are 20 wide, its hidden states 32"),
        ("gemma4_text", {}, r"it cannot be run so: RuntimeError: .*inputs_embeds"),
    ],
)
def test_a_model_that_cannot_stand_behind_towers_is_refused(tmp_path, model_type, options, fault):
    folder = save(toy(model_type, **options), tmp_path)
    line = rf"^'.*': a '{model_type}' model cannot be the LLM here: (?:{fault}).*; take another LLM$"
    with pytest.raises(KitError, match=line):
        read(folder)


class ScalesIds(LlamaForCausalLM):
    """As some do with their embeddings where they make them themselves."""

    def forward(self, input_ids=None, inputs_embeds=None, **kwargs):
        if input_ids is not None:
            inputs_embeds = 3 * self.get_input_embeddings()(input_ids)
        return LlamaForCausalLM.forward(self, inputs_embeds=inputs_embeds, **kwargs)


class AddsEmbeddings(LlamaForCausalLM):
    """To its logits."""

    def forward(self, input_ids=None, inputs_embeds=None, **kwargs):
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        outputs = LlamaForCausalLM.forward(self, inputs_embeds=inputs_embeds, **kwargs)
        outputs.logits = outputs.logits + self.lm_head(inputs_embeds)
        return outputs


class ForgetsItsCache(LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        return LlamaForCausalLM.forward(self, *args, **{**kwargs, CACHE: None})


class SeesPadding(LlamaForCausalLM):
    def forward(self, *args, attention_mask=None, position_ids=None, **kwargs):
        return LlamaForCausalLM.forward(self, *args, **kwargs)


@pytest.mark.parametrize(
    ("model_class", "fault"),
    [
        (ScalesIds, "embeddings give other logits than their token ids"),
        (AddsEmbeddings, "its logits are not made of its last hidden states alone"),
        (ForgetsItsCache, "with its cache it gives other logits than without"),
        (SeesPadding, "padding on the left changes its logits"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_fault_is_found(model_class, fault, dtype):
    model = model_class(LlamaConfig(**SIZES)).to(dtype)
    model.load_state_dict(llama().state_dict())
    with pytest.raises(KitError, match=rf"^'toy': a 'llama' model cannot be the LLM here: {fault}; take another LLM$"):
        CausalLanguageModel.check(model, "toy")


def test_a_sound_model_passes_in_half_precision():
    for dtype in (torch.bfloat16, torch.float16):
        CausalLanguageModel.check(llama().to(dtype), "toy")


# --- the spec ---


def test_the_spec_takes_any_model_type_and_asks_for_a_checkpoint():
    assert load(CAUSAL_LM) is CausalLanguageModel
    assert CAUSAL_LM.model_types == CausalLanguageModel.model_types == ()
    assembly = Assembly.from_flags(llm="causal_lm")
    with pytest.raises(KitError, match=r"llm 'causal_lm' needs a checkpoint: write causal_lm:DIR or causal_lm:ORG/NAM"):
        assembly.resolve(discover())
