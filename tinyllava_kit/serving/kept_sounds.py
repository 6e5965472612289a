"""Answers in sound that a later message may name, until they expire."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .api_errors import ApiError
from .limits import Limits


def new_id() -> str:
    """An id for an answer in sound."""
    return f"audio_{uuid.uuid4().hex}"


@dataclass(frozen=True)
class KeptSound:
    """An answer in sound. expires_at: Unix time."""

    sound: Any
    transcript: str
    expires_at: int


class KeptSounds:
    """The newest answers in sound, as many and as long as the limits say."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self.limits, self.clock = limits, clock
        self._kept: OrderedDict[str, KeptSound] = OrderedDict()

    def keep(self, name: str, sound: Any, transcript: str) -> int:
        """Keep one, in place of the oldest where there are too many; when it expires."""
        expires_at = int(self.clock() + self.limits.kept_seconds)
        self._kept[name] = KeptSound(sound, transcript, expires_at)
        while len(self._kept) > self.limits.kept_sounds:
            self._kept.popitem(last=False)
        return expires_at

    def find(self, name: str) -> KeptSound:
        """Find an earlier answer in sound by its id.

        Raises:
            ApiError: there is none of that id, or no longer.
        """
        kept = self._kept.get(name)
        if kept is None or kept.expires_at < self.clock():
            self._kept.pop(name, None)
            raise ApiError(
                f"the server keeps no answer in sound {name[:60]!r}; send its transcript as content",
                status=404,
                param="messages",
                code="audio_not_found",
            )
        return kept
