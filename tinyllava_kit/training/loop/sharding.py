"""What a stage has trained, brought together from the ranks that its weights are spread over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from ...distributed import rank


def is_sharded(model: nn.Module) -> bool:
    """Whether a rank holds a part of the weights only: FSDP2, or DeepSpeed's ZeRO-3."""
    return any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())


@torch.no_grad()
def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The trained weights and all buffers by name, whole, on the CPU where they were sharded; empty but on rank 0.

    Every rank must call it. A model that is loaded afterwards is whole: with ZeRO-3, transformers would spread it as
    well, and one rank that loads alone would wait for the others.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            with _whole(parameter) as tensor:
                if rank() == 0:
                    found[name] = tensor
    unset_hf_deepspeed_config()
    return {**found, **dict(model.named_buffers())} if rank() == 0 else {}


@contextmanager
def _whole(parameter: nn.Parameter) -> Iterator[Tensor]:
    if isinstance(parameter, DTensor):
        yield parameter.full_tensor().cpu()
    elif hasattr(parameter, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            yield parameter.data.cpu().clone()
    else:
        yield parameter.data
