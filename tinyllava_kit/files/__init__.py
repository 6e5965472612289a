"""What a user names on disk: opened within bounds, written whole or not at all. Light; the names here are public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .atomic import atomic_directory as atomic_directory
    from .content import Count as Count
    from .content import Divisor as Divisor
    from .content import Finite as Finite
    from .content import Size as Size
    from .content import arguments as arguments
    from .content import checked as checked
    from .failures import first_line as first_line
    from .failures import read_mapping as read_mapping
    from .failures import reading as reading
    from .writing import write_file as write_file

__getattr__, __dir__ = lazy(
    __name__,
    {
        "atomic_directory": ".atomic",
        "Count": ".content",
        "Divisor": ".content",
        "Finite": ".content",
        "Size": ".content",
        "arguments": ".content",
        "checked": ".content",
        "first_line": ".failures",
        "read_mapping": ".failures",
        "reading": ".failures",
        "write_file": ".writing",
    },
)
