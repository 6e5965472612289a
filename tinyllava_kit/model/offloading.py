"""Parts that accelerate keeps on the CPU or the disk: their weights are brought where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from accelerate.utils import align_module_device
from torch import nn


@contextmanager
def at_hand(part: nn.Module) -> Iterator[None]:
    """All weights of a part are there within the block.

    accelerate brings the weights of a module when its own ``forward`` is called. A tower that reads a weight of a
    transformers module without that, the class token of its embeddings, would find an empty tensor.
    """
    with ExitStack() as stack:
        if not torch.compiler.is_compiling():  # a compiled model has no hooks
            for module in part.modules():
                if hasattr(module, "_hf_hook"):
                    stack.enter_context(align_module_device(module))
        yield
