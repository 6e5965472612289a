"""Modules by the name of their modality."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Generic, TypeVar, cast

from torch import nn

Part = TypeVar("Part", bound=nn.Module)


class NamedParts(nn.Module, Generic[Part]):
    """Modules by name, as ``nn.ModuleDict``, which can be called: ``parts(name, ...)`` calls the one of this name.

    So a wrapper that PEFT puts around all of them (``modules_to_save=["connectors"]``) is called in their place; around
    an ``nn.ModuleDict``, which has no ``forward``, it puts none.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self[name](*args, **kwargs)

    def __getitem__(self, name: str) -> Part:
        return cast("Part", self.get_submodule(name))

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Part]:
        """The modules."""
        return cast("ValuesView[Part]", self._modules.values())

    def items(self) -> ItemsView[str, Part]:
        """Both."""
        return cast("ItemsView[str, Part]", self._modules.items())
