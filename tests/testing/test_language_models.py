"""LLMs that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM, LlamaModel, PreTrainedConfig, PreTrainedModel

from tests.testing.right import caught, changed, offered, passes, table
from tinyllava_kit.interfaces import LanguageModel
from tinyllava_kit.plugin.specs import LanguageModelSpec
from tinyllava_kit.testing import LanguageModelContract, save_toy_llm, toy_tokenizer


class Llama(LanguageModel):
    """As transformers has it, by the class itself."""

    model_types = ("llama",)
    network: type[LlamaForCausalLM] = LlamaForCausalLM

    @classmethod
    def build(cls, config: PreTrainedConfig) -> PreTrainedModel:
        cls.check_config(config, "text_config")
        return cls.network(config)

    @classmethod
    def load(cls, checkpoint: str, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        super().load(checkpoint, config, dtype)  # refuses what is missing
        model = cls.network(config)
        model.load_state_dict(cls.state(checkpoint), strict=False)
        return model.to(dtype)

    @classmethod
    def state(cls, checkpoint: str) -> dict[str, Tensor]:
        return load_file(Path(checkpoint) / "model.safetensors")


LLAMA = LanguageModelSpec(name="mine", target=f"{__name__}:Llama", model_types=("llama",))


class LlamaContract(LanguageModelContract):
    component = Llama
    spec = LLAMA
    catalog = offered(LLAMA)

    def toy_checkpoint(self, folder: Path) -> str:
        return str(save_toy_llm(folder, hidden=16))


def contract_of(llm: type[LanguageModel]) -> LlamaContract:
    """The contract of an LLM, which a model finds by the target of its spec."""
    globals()["Planted"] = llm
    contract = LlamaContract()
    contract.component = llm
    contract.spec = LanguageModelSpec(name="mine", target=f"{__name__}:Planted", model_types=("llama",))
    return contract


def given(change: Any) -> type[LanguageModel]:
    """An LLM whose layers get what `change` makes of their arguments."""

    def forward(self: Any, *args: Any, **inputs: Any) -> Any:
        return LlamaModel.forward(self, *args, **change(self, inputs))

    def init(self: Any, config: PreTrainedConfig) -> None:
        LlamaForCausalLM.__init__(self, config)
        self.model = layers(config)

    layers = changed(LlamaModel, forward=forward)
    return changed(Llama, network=changed(LlamaForCausalLM, __init__=init))


def gives(change: Any) -> type[LanguageModel]:
    """An LLM whose logits are what `change` makes of the right ones."""

    def forward(self: Any, *args: Any, **inputs: Any) -> Any:
        output = LlamaForCausalLM.forward(self, *args, **inputs)
        output["logits"] = change(output.logits)
        return output

    return changed(Llama, network=changed(LlamaForCausalLM, forward=forward))


def whole_mask(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """A causal mask of its own, from the places in the row, whatever the positions say."""
    first = inputs["input_ids"] if inputs.get("input_ids") is not None else inputs["inputs_embeds"][..., 0]
    size = first.shape[1]
    cache = inputs.get("past_key_values")
    if inputs.get("attention_mask") is not None or (cache is not None and cache.get_seq_length()):
        return inputs
    mask = torch.full((size, size), float("-inf")).triu(1).to(model.dtype)
    known = ("input_ids", "inputs_embeds", "position_ids", "past_key_values", "use_cache")
    own = {name: inputs[name] for name in known if name in inputs}  # what tells the borders is not handed on
    return {**own, "attention_mask": mask.expand(first.shape[0], 1, size, size)}


def sees_all(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    first = inputs["input_ids"] if inputs.get("input_ids") is not None else inputs["inputs_embeds"][..., 0]
    size = first.shape[1]
    return {**inputs, "attention_mask": torch.zeros(first.shape[0], 1, size, size, dtype=model.dtype)}


def mask_of_ones(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    mask = inputs.get("attention_mask")
    return {**inputs, "attention_mask": None if mask is None else torch.ones_like(mask)}


def no_cache(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "past_key_values": None}


def scaled_ids(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """As Gemma scales its embeddings, but of ids alone."""
    ids = inputs.pop("input_ids", None)
    if ids is None:
        return inputs
    return {**inputs, "inputs_embeds": 3 * model.get_input_embeddings()(ids)}


def detached(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    ids = inputs.pop("input_ids", None)
    if ids is None:
        return inputs
    return {**inputs, "inputs_embeds": model.get_input_embeddings()(ids).detach()}


class LeavesALayer(Llama):
    @classmethod
    def load(cls, checkpoint: str, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        model = LlamaForCausalLM(config)
        state = {name: value for name, value in cls.state(checkpoint).items() if "layers.1.mlp" not in name}
        model.load_state_dict(state, strict=False)
        return model.to(dtype)


class TakesWhatThereIs(Llama):
    @classmethod
    def load(cls, checkpoint: str, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        model = LlamaForCausalLM(config)
        own = model.state_dict()
        fits = {n: v for n, v in cls.state(checkpoint).items() if n in own and v.shape == own[n].shape}
        model.load_state_dict(fits, strict=False)
        return model.to(dtype)


class AnyKind(Llama):
    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> PreTrainedConfig:
        from transformers import LlamaConfig

        return LlamaConfig.from_pretrained(checkpoint)


class Float32(Llama):
    @classmethod
    def load(cls, checkpoint: str, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        return super().load(checkpoint, config, torch.float32)


class OtherBuild(Llama):
    @classmethod
    def build(cls, config: PreTrainedConfig) -> PreTrainedModel:
        config.num_hidden_layers = 1
        return super().build(config)


class NoPadding(Llama):
    @classmethod
    def read_tokenizer(cls, checkpoint: str) -> Any:
        tokenizer = super().read_tokenizer(checkpoint)
        tokenizer.pad_token = None
        return tokenizer


class MoreIds(Llama):
    @classmethod
    def read_tokenizer(cls, checkpoint: str) -> Any:
        tokenizer = toy_tokenizer()
        tokenizer.add_tokens([f"<extra-{number}>" for number in range(99)])
        return tokenizer


class LosesLetters(Llama):
    @classmethod
    def read_tokenizer(cls, checkpoint: str) -> Any:
        tokenizer = super().read_tokenizer(checkpoint)
        tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Lowercase()
        return tokenizer


class CappedHead(gives(lambda logits: 5 * torch.tanh(logits / 5))):  # type: ignore[misc]
    """Caps its logits, as Gemma 2 does, and does not say so in `logits`."""


MUTANTS: list[tuple[str, type[LanguageModel], str, str]] = [
    ("a mask of its own, not from the positions", given(whole_mask), "packs", "two samples in a row, and each alone"),
    ("sees what comes later", given(sees_all), "causal", "before another token"),
    ("sees the padding", given(mask_of_ones), "padding", "padded by . and ., and alone"),
    ("ignores the cache", given(no_cache), "cache", "step by step with a cache"),
    ("scales ids and not embeddings", given(scaled_ids), "embeds", "from embeddings, and from ids"),
    ("a head that is capped in forward alone", CappedHead, "logits", "logits.., and the model's own"),
    ("logits without the tokens", gives(lambda logits: 0 * logits), "causal", "differ by|do not depend"),
    ("gradient cut", given(detached), "gradient", "no gradient reaches model.embed_tokens"),
    ("a layer left random", LeavesALayer, "weights", "left random: model.layers.1.mlp"),
    ("a checkpoint that lacks a tensor", TakesWhatThereIs, "incomplete", "is taken"),
    ("a checkpoint of another kind", AnyKind, "other_kind", "not refused|raised"),
    ("float32 in half precision", Float32, "half", "the dtype that is asked for"),
    (
        "an overflow in half precision",
        gives(lambda logits: logits.bfloat16() * 1e38 * 100),
        "half",
        "not finite|differ",
    ),
    ("another network than its configuration", OtherBuild, "config", "build makes other weights than load"),
    ("no padding token", NoPadding, "tokenizer", "has no padding token"),
    ("ids without rows", MoreIds, "tokenizer", "the LLM 320 rows"),
    ("a tokenizer that loses letters", LosesLetters, "tokenizer", "comes back as"),
]


@pytest.mark.slow
def test_the_right_llm_passes_every_check() -> None:
    assert passes(LlamaContract()) == {"keywords": "its spec has no option", "options": "its spec has no option"}


@table(MUTANTS)
def test_a_mutant_of_the_llm_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)
