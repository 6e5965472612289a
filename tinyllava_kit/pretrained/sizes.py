"""A bound on what a configuration builds: a number in it may stand for a thousand million layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from ..errors import KitError

MAX_PIECES = 500_000  # modules and parameters; a mixture of 15 000 experts has about 120 000


@contextmanager
def bounded(where: str) -> Iterator[None]:
    """Ends the building of a part that has more than `MAX_PIECES` modules and parameters, while it is built.

    Args:
        where: the configuration that says how many, for the message.

    Raises:
        KitError: it has.
    """
    count = 0

    def counted(module: nn.Module, name: str, piece: nn.Module | Tensor | None) -> None:
        nonlocal count
        count += 1
        if count > MAX_PIECES:
            raise KitError(f"{where}: makes more than {MAX_PIECES} modules and weights; check its numbers of layers")

    hooks = (register_module_module_registration_hook, register_module_parameter_registration_hook)
    handles = [register(counted) for register in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
