"""A device that is not the CPU, imitated: what a network puts on a fixed device, and what it reads back, shows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_DEVICE = "cuda"
_REAL = "Please convert all Tensors to FakeTensors"  # how torch's message about a tensor of another device begins


def check_on_device(module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Run ``module(**inputs)`` with weights and inputs on an imitated device.

    Raises:
        AssertionError: it takes something from another device, or moves something to the CPU.
    """
    with FakeTensorMode() as mode:
        there = _moved(module, mode)
        given = {name: _on_device(value) for name, value in inputs.items()}
        try:
            with torch.no_grad(), _Watched():
                output = there(**given)
        except _TakenBack:
            raise
        except Exception as error:
            raise AssertionError(f"on a device that is not the CPU: {_told(error)}") from error
    places = {each.device.type for each in tree_leaves(output) if isinstance(each, Tensor)}
    assert places == {_DEVICE}, f"inputs on {_DEVICE} give outputs on {', '.join(sorted(places))}"


def _moved(module: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """A copy of the module with each parameter and buffer, and nothing else, on the device."""
    with torch.utils._python_dispatch._disable_current_modes():
        there = copy.deepcopy(module)
    for part in there.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(_on_device(value), requires_grad=value.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = _on_device(buffer)
    return there


def _on_device(value: Tensor) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype, device=_DEVICE)


def _told(error: BaseException) -> str:
    """The first line of an error; of torch's own about a real tensor, what that is."""
    text = str(error).strip().splitlines()
    if text and text[0].startswith(_REAL):
        return "it takes a tensor that is neither parameter, buffer nor input, and stays where it was made"
    return f"{type(error).__name__}: {text[0] if text else ''}"


class _TakenBack(AssertionError):
    """What was on the device is on the CPU."""


class _Watched(TorchDispatchMode):
    """Fails where something on the device becomes something on the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        before = {each.device.type for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        after = {each.device.type for each in tree_leaves(output) if isinstance(each, Tensor)}
        back = _DEVICE in before and "cpu" in after
        if back:
            raise _TakenBack(f"moves a tensor from the device to the CPU: {func.name()}")
        return output
