"""Connections that end: idle ones, those whose head does not come, and those that nobody reads from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .api_errors import ApiError
from .limits import Limits


class BoundedConnection(H11Protocol):
    """A connection of uvicorn with bounds that uvicorn has not. `limits` are of all."""

    limits = Limits()

    def connection_made(self, transport: Any) -> None:
        """Take it, or close it where too many are open."""
        super().connection_made(transport)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing waits for it any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More of a request: its head, or its body."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._wait_for_head()

    def on_response_complete(self) -> None:
        """An answer is written; what waits for its reader goes, or is thrown away."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._after("closing", self.limits.write_seconds, self.transport.abort)
        else:
            self._wait_for_head()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._after("writing", self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read what waited."""
        super().resume_writing()
        self._stop("writing")

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for a while."""
        super().timeout_keep_alive_handler()
        self._after("closing", self.limits.write_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Answer input that is not HTTP with an error in the API's shape."""
        body = json.dumps(ApiError(msg, code="invalid_http").body()).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._after("closing", self.limits.write_seconds, self.transport.abort)

    def _wait_for_head(self) -> None:
        """Give a request that has not begun its time."""
        if self.cycle is None or self.cycle.response_complete:
            if "head" not in self._timers:
                self._after("head", self.limits.head_seconds, self.transport.abort)
        else:
            self._stop("head")

    def _after(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        self._stop(name)
        self._timers[name] = self.loop.call_later(seconds, work)

    def _stop(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
