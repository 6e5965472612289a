"""The network: what a causal LM of its own class must honour to be the LLM of a model here.

Legend: B rows, T positions, D width, H heads, d width of a head, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class ThriftyConfig(PreTrainedConfig):
    """Every field is annotated: what is not declared is not read from a saved model."""

    model_type = "thrifty"

    vocab_size: int = 320
    hidden_size: int = 24
    num_hidden_layers: int = 2
    num_attention_heads: int = 3
    max_position_embeddings: int = 512
    initializer_range: float = 0.2
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False


class ThriftyLayer(GradientCheckpointingLayer):
    """Attention with one pair of keys and values for all heads, and a linear map of its own."""

    def __init__(self, config: ThriftyConfig, number: int) -> None:
        super().__init__()
        self.config, self.number, self.is_causal = config, number, True
        self.num_key_value_groups = config.num_attention_heads
        head = config.hidden_size // config.num_attention_heads
        self.norm = nn.LayerNorm(config.hidden_size)
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key_value = nn.Linear(config.hidden_size, 2 * head)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, hidden: Tensor, attention_mask: Tensor | None, past_key_values: Cache | None = None, **kwargs: Any
    ) -> Tensor:
        normed = self.norm(hidden)
        query = self.query(normed).unflatten(-1, (self.config.num_attention_heads, -1)).transpose(1, 2)  # (B, H, T, d)
        key, value = self.key_value(normed)[:, None].chunk(2, -1)  # (B, 1, T, d) each
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.number)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, _eager)
        attended, _ = attend(self, query, key, value, attention_mask, scaling=query.shape[-1] ** -0.5, **kwargs)
        return hidden + self.out(attended.flatten(2))  # (B, T, D)


def _eager(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaling: float, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    scores = query @ key.transpose(2, 3) * scaling  # (B, H, T, S)
    shares = (scores if mask is None else scores + mask).float().softmax(-1).to(query.dtype)
    return (shares @ value).transpose(1, 2), shares  # (B, T, H, d)


class ThriftyPreTrainedModel(PreTrainedModel):
    config_class = ThriftyConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["ThriftyLayer"]  # noqa: RUF012


class ThriftyModel(ThriftyPreTrainedModel):
    """Embeddings, or the ids of them, to hidden states."""

    def __init__(self, config: ThriftyConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList([ThriftyLayer(config, number) for number in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, D)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            before = 0 if past_key_values is None else past_key_values.get_seq_length()
            position_ids = torch.arange(before, before + embeds.shape[1], device=embeds.device)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,  # in packed rows, where it counts from 0 again a sample begins
        )
        hidden = embeds + self.position(position_ids)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=mask, past_key_values=past_key_values, **kwargs)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden), past_key_values=past_key_values)


class ThriftyForCausalLM(ThriftyPreTrainedModel, GenerationMixin):
    """The hidden states, and one matrix product to logits."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: ThriftyConfig) -> None:
        super().__init__(config)
        self.model = ThriftyModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self, *args: Any, labels: Tensor | None = None, logits_to_keep: int = 0, **kwargs: Any
    ) -> CausalLMOutputWithPast:
        outputs = self.model(*args, **kwargs)
        logits = self.lm_head(outputs.last_hidden_state[:, -logits_to_keep:])  # (B, T, V)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)
