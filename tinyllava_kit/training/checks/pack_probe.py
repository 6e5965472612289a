"""Whether an LLM keeps samples apart that share a row: two of a few tokens, alone, in one row, and as one sample.

transformers' LLMs find the borders in `position_ids`. One that builds its own causal mask does not, and would learn
from packed rows what stands in other samples, without a word. Asking runs six rows of nine positions at most.

Legend: T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...core.plan import ModelInputs, Plan, plan
from ...core.spans import TextSpan
from ...errors import KitError
from ...model.modeling import TinyLlavaForConditionalGeneration

FIRST, SECOND = 5, 4  # tokens of the sample in front, and of the one behind it
SHARE = 0.25  # of what the sample in front changes where it is seen; of numbers of 8 bits, rounding changes a little
ROUNDING = 20  # times the smallest relative difference of the numbers that the LLM computes in


@torch.no_grad()
def check_packs_apart(runs: nn.Module, model: TinyLlavaForConditionalGeneration, device: torch.device) -> None:
    """Check, with a forward pass on random ids, that samples in one row do not see each other.

    Args:
        runs: what a step calls: the model, or what it is wrapped in. Each rank calls it as often.
        model: inside it.

    Raises:
        KitError: the logits of a sample depend on another that shares its row, or on where in the row it begins.
    """
    vocab = model.config.text_config.vocab_size
    ids = torch.linspace(1, vocab - 1, 2 * FIRST + SECOND).long().tolist()
    second, fronts = ids[FIRST : FIRST + SECOND], (ids[:FIRST], ids[FIRST + SECOND :])
    samples = [[TextSpan(each)] for front in fronts for each in (front, second)]
    with _in_peace(model, device):
        packed, joined, alone = (
            _run(runs, each, device)[..., :vocab]  # (2, SECOND, V); behind them, ids of decoders
            for each in (
                plan(samples, packs=[2, 2]),
                plan([[TextSpan(front + second)] for front in fronts]),
                plan([[TextSpan(second)]] * 2),
            )
        )
    seen, moved = _apart(packed[0], packed[1]), _apart(packed, alone)
    rounding = ROUNDING * torch.finfo(model.dtype).eps * float(alone.norm())
    if seen > SHARE * _apart(joined[0], joined[1]) or moved > max(SHARE * _apart(joined, alone), rounding):
        raise KitError(
            f"packing: {type(model.language_model).__name__} does not keep samples apart that share a row, with the "
            f"attention {model.language_model.config._attn_implementation!r}: a sample after another has other logits "
            "than alone. Such an LLM must build its mask from position_ids, in which each sample counts from 0 (as "
            "transformers' create_causal_mask does), or pass them on to what does; take packing out of the stage, or "
            "group_by_size in its place"
        )


def _run(runs: nn.Module, laid_out: tuple[ModelInputs, Plan], device: torch.device) -> Tensor:
    """The logits of the last `SECOND` positions of each row, float32."""
    inputs, layout = laid_out
    moved = {name: value.to(device) for name, value in inputs.items() if isinstance(value, Tensor)}
    return runs(**moved, plan=layout.to(device), use_cache=False).logits[:, -SECOND:].float()


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm())


@contextmanager
def _in_peace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Without dropout, and nothing is changed by it: neither modes nor the state of random numbers.

    Layers of 4 bits stay in training: otherwise bitsandbytes would lay their weights out for answering.
    """
    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for module, _ in modes:
            module.training = type(module).__name__ == "Linear4bit" and module.training
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
