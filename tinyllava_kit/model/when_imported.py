"""Changes to another package, made when it is imported, so that they cost nothing where it is not. Light."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def when_imported(package: str, call: Callable[[], None]) -> None:
    """Call once the top-level `package` has been imported; at once, where it has been."""
    if package in sys.modules:
        call()
    else:
        sys.meta_path.insert(0, _Watcher(package, call))


def is_importing(package: str) -> bool:
    """Whether a module inside `package` is being imported now."""
    inside = [module for name, module in list(sys.modules.items()) if name.startswith(f"{package}.")]
    return any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in inside)


class _Watcher(MetaPathFinder):
    """Finds nothing itself; adds a call behind the execution of one package, once."""

    def __init__(self, package: str, call: Callable[[], None]) -> None:
        self._package, self._call = package, call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._package or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_call(module: ModuleType) -> None:
                execute(module)
                self._call()

            spec.loader.exec_module = execute_and_call  # type: ignore[method-assign]
        return spec
