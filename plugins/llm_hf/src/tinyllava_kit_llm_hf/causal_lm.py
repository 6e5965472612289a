"""Any causal language model of transformers.

Two things are general about it. Logits are made by the model's own forward, with the body left out, so that what an
architecture does behind its head (caps, scales) is done here too. And a model is tried out when its weights are
read: one that cannot stand behind towers is refused with the reason, whatever its name.

Legend: T tokens, E width of the embeddings, D width of the hidden states, V vocabulary, n rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from tinyllava_kit import KitError
from tinyllava_kit.files import first_line
from tinyllava_kit.interfaces import CACHE, LanguageModel

# How far logits that should be equal may differ, as a share of the largest.
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 5e-2
_LENGTH, _CACHED, _PADDED = 5, 3, 2


class CausalLanguageModel(LanguageModel):
    """What `AutoModelForCausalLM` takes, as far as it works with embeddings in place of token ids."""

    @classmethod
    def load(cls, checkpoint: str, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        """See `LanguageModel.load`.

        Raises:
            KitError: also where the model does not behave as the kit requires of an LLM; see `check`.
        """
        model = super().load(checkpoint, config, dtype)
        cls.check(model, checkpoint)
        return model

    @classmethod
    def logits(cls, model: PreTrainedModel, hidden: Tensor) -> Tensor:
        """Final hidden states (..., D) -> logits (..., V), by the model's own forward."""
        rows = hidden.reshape(1, -1, hidden.shape[-1])  # (1, n, D)
        without_body = _WithoutBody(model, model.get_decoder(), rows)
        logits = type(model).forward(without_body, inputs_embeds=rows, use_cache=False).logits  # (1, n, V)
        return logits.reshape(*hidden.shape[:-1], -1)  # (..., V)

    @classmethod
    def check(cls, model: PreTrainedModel, name: str) -> None:
        """Try the model on a few tokens: ids and embeddings, head, causality, cache, padding.

        Raises:
            KitError: what it does not do.
        """
        try:
            with torch.no_grad():
                fault = _fault(model.eval(), cls.logits)
        except Exception as error:  # of any kind: it is the model's own code that runs
            fault = f"it cannot be run so: {type(error).__name__}: {first_line(error)}"
        if fault:
            raise KitError(
                f"{name!r}: a {model.config.model_type!r} model cannot be the LLM here: {fault}; take another LLM"
            )


class _WithoutBody:
    """Takes the place of `self` in a model's forward: calling the body returns hidden states that were computed before.

    Args:
        module: the model, or what in it holds the body.
        body: the module that makes the hidden states.
        hidden: (1, n, D).
    """

    def __init__(self, module: nn.Module, body: nn.Module, hidden: Tensor) -> None:
        self._module, self._body, self._hidden = module, body, hidden

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, nn.Module) and any(inner is self._body for inner in value.modules()):
            return _WithoutBody(value, self._body, self._hidden)
        return value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._module is self._body:
            return _BodyOutput(self._hidden)
        return type(self._module).forward(self, *args, **kwargs)


class _BodyOutput:
    """What a body returns: hidden states (1, n, D), and nothing else that is asked for."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, index: int | slice) -> Any:
        return (self.last_hidden_state,)[index]


def _fault(model: PreTrainedModel, to_logits: Callable[[PreTrainedModel, Tensor], Tensor]) -> str:
    """What the model does not do, in words; empty where it does all.

    It is called as `TinyLlavaForConditionalGeneration` calls it.
    """
    ids = (7 * torch.arange(1, _LENGTH + 1) % model.config.vocab_size)[None].to(model.device)  # (1, T)
    by_ids = model(input_ids=ids, use_cache=False).logits  # (1, T, V)
    embeds = model.get_input_embeddings()(ids)  # (1, T, E)
    if embeds.shape != (1, _LENGTH, model.config.hidden_size):
        return f"its embeddings are {embeds.shape[-1]} wide, its hidden states {model.config.hidden_size}"
    if not _close(model(inputs_embeds=embeds, use_cache=False).logits, by_ids):
        return "embeddings give other logits than their token ids"
    hidden = model.get_decoder()(inputs_embeds=embeds, use_cache=False).last_hidden_state  # (1, T, D)
    if not _close(to_logits(model, hidden), by_ids):
        return "its logits are not made of its last hidden states alone"
    other = embeds.clone()
    other[:, -1] = embeds[:, :2].mean(1)  # no token's, as rows of items are
    if not _close(model(inputs_embeds=other, use_cache=False).logits[:, :-1], by_ids[:, :-1]):
        return "its tokens see those behind them"
    start = model(inputs_embeds=embeds[:, :_CACHED], use_cache=True)
    if getattr(start, CACHE, None) is None:
        return "it keeps no cache of keys and values"
    rest = model(inputs_embeds=embeds[:, _CACHED:], use_cache=True, **{CACHE: getattr(start, CACHE)})
    if not _close(rest.logits, by_ids[:, _CACHED:]):
        return "with its cache it gives other logits than without"
    mask = torch.ones(1, _PADDED + _LENGTH, dtype=torch.int64, device=ids.device)
    mask[:, :_PADDED] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)  # (1, T + padded)
    padded = torch.cat([embeds[:, :_PADDED], embeds], dim=1)  # (1, T + padded, E)
    padded_logits = model(inputs_embeds=padded, attention_mask=mask, position_ids=positions, use_cache=False).logits
    if not _close(padded_logits[:, _PADDED:], by_ids):
        return "padding on the left changes its logits"
    return ""


def _close(found: Tensor, expected: Tensor) -> bool:
    half = found.dtype in (torch.float16, torch.bfloat16)
    difference = (found.float() - expected.float()).abs().max()
    return bool(difference <= (_HALF_TOLERANCE if half else _TOLERANCE) * expected.float().abs().max())
