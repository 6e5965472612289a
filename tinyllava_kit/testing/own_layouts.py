"""The contracts of the layouts that the kit reads: one model of toy size, as three projects write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from .layouts import CheckpointReaderContract
from .toy_models import clip_checkpoint
from .toys import toy_tokenizer

_PLACEHOLDER = 319
_TEXT: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 24,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_VISION: dict[str, Any] = {
    "hidden_size": 20,
    "intermediate_size": 36,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


class LlavaLayoutContract(CheckpointReaderContract):
    """transformers' own class."""

    def toy_checkpoint(self, folder: Path) -> str:
        """As `save_pretrained` writes it."""
        self._check_tower()
        _llava().save_pretrained(folder)
        toy_tokenizer().save_pretrained(folder)
        return str(folder)

    def reference(self, directory: Path, ids: Tensor, places: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """The model of all three layouts."""
        long = ids.clone()
        long.view(-1)[places] = _PLACEHOLDER
        with torch.no_grad():
            logits: Tensor = _llava()(input_ids=long, pixel_values=inputs["pixel_values"]).logits
        return logits

    def _check_tower(self) -> None:
        """Check that a tower for the checkpoint is installed.

        Raises:
            DoesNotApply: the plugin with its tower is not installed.
        """
        clip_checkpoint(self.catalog)


class FactoryLayoutContract(LlavaLayoutContract):
    """TinyLLaVA_Factory's one directory."""

    def toy_checkpoint(self, folder: Path) -> str:
        """Its names and its configuration."""
        self._check_tower()
        config = {
            "model_type": "tinyllava",
            "connector_type": "mlp2x_gelu",
            "image_aspect_ratio": "square",
            "text_config": {"model_type": "llama", **_TEXT},
            "vision_config": {"model_type": "clip_vision_model", **_VISION},
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "patch",
        }
        prefixes = ("language_model.", "vision_tower._vision_tower.", "connector._connector.")
        return _saved(folder, config, _renamed(*prefixes, head="language_model.lm_head."))


class LegacyLayoutContract(LlavaLayoutContract):
    """TinyLLaVABench's and LLaVA-1.5's."""

    def toy_checkpoint(self, folder: Path) -> str:
        """Its names and its configuration, which names the vision model that lies in the folder."""
        self._check_tower()
        eye = folder / "eye"
        CLIPVisionConfig(**_VISION).save_pretrained(eye)
        config = {
            "architectures": ["TinyLlavaLlamaForCausalLM"],
            "model_type": "tiny_llava",
            "mm_projector_type": "mlp2x_gelu",
            "mm_vision_tower": "eye",
            "mm_vision_select_layer": -2,
            "mm_vision_select_feature": "patch",
            "image_aspect_ratio": "square",
            **_TEXT,
        }
        prefixes = ("", "model.vision_tower.vision_tower.", "model.mm_projector.")
        return _saved(folder, config, _renamed(*prefixes, head="lm_head."))


def _llava() -> LlavaForConditionalGeneration:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = LlavaConfig(
            text_config=LlamaConfig(**_TEXT),
            vision_config=CLIPVisionConfig(**_VISION),
            image_token_index=_PLACEHOLDER,
        )
        model = LlavaForConditionalGeneration(config).eval()
        for parameter in model.parameters():  # biases and norms, too, so that a forgotten one is seen
            torch.nn.init.normal_(parameter, mean=0.1, std=0.2)
    return model


def _renamed(llm: str, tower: str, joint: str, *, head: str) -> Callable[[str], str]:
    """Names of transformers' class -> those with other prefixes."""
    prefixes = {
        "model.language_model.": f"{llm}model.",
        "model.vision_tower.": tower,
        "model.multi_modal_projector.linear_1.": f"{joint}0.",
        "model.multi_modal_projector.linear_2.": f"{joint}2.",
        "lm_head.": head,
    }

    def rename(key: str) -> str:
        theirs = next(prefix for prefix in prefixes if key.startswith(prefix))
        return prefixes[theirs] + key.removeprefix(theirs)

    return rename


def _saved(folder: Path, config: Mapping[str, Any], rename: Callable[[str], str]) -> str:
    state = {rename(key): value.contiguous() for key, value in _llava().state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    toy_tokenizer().save_pretrained(folder)
    return str(folder)
