"""A bound on what a configuration builds: it may ask for a thousand million layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from ..errors import KitError

MAX_MODULES_AND_PARAMETERS = 500_000  # a mixture of 15 000 experts has about 120 000


@contextmanager
def bounded(where: str) -> Iterator[None]:
    """Ends the building of a part as soon as it has more than `MAX_MODULES_AND_PARAMETERS`.

    Args:
        where: the configuration that says how many, for the message.

    Raises:
        KitError: it has.
    """
    count = 0

    def counted(module: nn.Module, name: str, registered: nn.Module | Tensor | None) -> None:
        nonlocal count
        count += 1
        if count > MAX_MODULES_AND_PARAMETERS:
            most = MAX_MODULES_AND_PARAMETERS
            raise KitError(f"{where}: makes more than {most} modules and weights; check its numbers of layers")

    hooks = (register_module_module_registration_hook, register_module_parameter_registration_hook)
    handles = [register(counted) for register in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
