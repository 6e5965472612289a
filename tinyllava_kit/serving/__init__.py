"""A model behind an OpenAI-style API: the engine, the gate and the routes. The name here is public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .hosting import asgi_app as asgi_app

__getattr__, __dir__ = lazy(__name__, {"asgi_app": ".hosting"})
