"""Operators that make a GPU's host wait for it, seen on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_SYNCS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal.default")


class NoSync(TorchDispatchMode):
    """Fails where a value would be read back from the device, unless it is paused.

    Raises:
        AssertionError: an operator within ``with NoSync():`` makes a GPU's host wait; names it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._paused = False

    def pause(self, paused: bool) -> None:
        """Let what follows read, or no more."""
        self._paused = paused

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name() + ("" if "." in func.name() else ".default")
        reads = name.startswith("aten::index.")
        writes = name.startswith(("aten::index_put", "aten::_index_put")) and args[2].numel() > 1
        masked = (reads or writes) and any(each is not None and each.dtype == torch.bool for each in args[1])
        syncs = masked or any(each in name for each in _SYNCS)
        assert self._paused or not syncs, f"reads back from the device: {func.name()}{' with a mask' * masked}"
        return func(*args, **(kwargs or {}))
