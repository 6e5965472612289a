"""What a user names on disk: opened within bounds, written whole or not at all. Light; the names here are public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .atomic import whole_directory as whole_directory
    from .content import Count as Count
    from .content import Divisor as Divisor
    from .content import Finite as Finite
    from .content import Size as Size
    from .content import arguments as arguments
    from .content import checked as checked
    from .reading import first_line as first_line
    from .reading import read_mapping as read_mapping
    from .reading import reading as reading

__getattr__, __dir__ = lazy(
    __name__,
    {
        "whole_directory": ".atomic",
        "Count": ".content",
        "Divisor": ".content",
        "Finite": ".content",
        "Size": ".content",
        "arguments": ".content",
        "checked": ".content",
        "first_line": ".reading",
        "read_mapping": ".reading",
        "reading": ".reading",
    },
)
