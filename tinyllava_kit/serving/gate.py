"""The gate: what comes from outside passes here, bounded, with a key, and ends when its client goes."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .api_errors import ApiError, as_api_error
from .limits import Limits

_log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Observe = Callable[[str, int, float], None]  # a route, its status, seconds

_OPEN = ("/health", "/", "/favicon.ico")  # paths that need no key; and those below _STATIC
_STATIC = "/static/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Gate:
    """An ASGI application in front of another.

    A body is read here, whole, up to a limit and for so long; then the application runs until it has answered or the
    client has gone, whichever is first. Whatever it raises becomes an error of the API.

    Args:
        key: what ``Authorization: Bearer`` must say; None: nothing.
        observe: told of each answer.
    """

    def __init__(self, app: App, limits: Limits, key: str | None = None, observe: Observe | None = None) -> None:
        self.app, self.limits = app, limits
        self.key = None if key is None else key.encode()
        self.observe = observe or (lambda route, status, seconds: None)
        self.held_bytes = 0  # of bodies

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = _Headers(scope)
        answer = _Answer(send, headers.request_id())
        scope["request_id"] = answer.request_id
        start = time.monotonic()
        body = bytearray()
        try:
            self._check(scope, headers)
            await self._read(body, headers, receive)
            await self._run(scope, bytes(body), receive, answer)
        except _GoneError:
            answer.status = 499  # as proxies write in their logs
        except Exception as error:
            await self._refuse(error, answer)
        finally:
            self.held_bytes -= len(body)
            self.observe(scope.get("route_path", ""), answer.status, time.monotonic() - start)

    def _check(self, scope: MutableMapping[str, Any], headers: _Headers) -> None:
        """Check a request's headers before its body is read.

        Raises:
            ApiError: a wrong key, or a body in an encoding or of a size that is not read.
        """
        path = scope["path"]
        is_open = path in _OPEN or (path.startswith(_STATIC) and scope["method"] in ("GET", "HEAD"))
        if self.key is not None and not is_open and not hmac.compare_digest(headers.key(), self.key):
            raise ApiError(
                "the key is wrong or missing; send Authorization: Bearer KEY",
                status=401,
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
            raise ApiError("a body with a Content-Encoding is not read; send it without one", status=415)
        if headers.content_length() > self.limits.body_bytes:
            raise self._too_large()

    async def _read(self, body: bytearray, headers: _Headers, receive: Receive) -> None:
        try:
            await asyncio.wait_for(self._read_all(body, headers, receive), self.limits.body_seconds)
        except asyncio.TimeoutError:
            message = f"the body did not come within {self.limits.body_seconds:g} s"
            raise ApiError(message, status=408, headers={"connection": "close"}) from None

    async def _read_all(self, body: bytearray, headers: _Headers, receive: Receive) -> None:
        more = headers.has_body()
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            chunk = message.get("body", b"")
            if len(body) + len(chunk) > self.limits.body_bytes:
                raise self._too_large()
            if self.held_bytes + len(chunk) > self.limits.bodies_bytes:
                later = {"retry-after": "1", "connection": "close"}
                raise ApiError(
                    "other requests fill the memory; ask later", status=503, kind="server_error", headers=later
                )
            body += chunk
            self.held_bytes += len(chunk)
            more = message.get("more_body", False)

    def _too_large(self) -> ApiError:
        message = f"the body has more than {self.limits.body_bytes} bytes"
        return ApiError(message, status=413, code="request_too_large", headers={"connection": "close"})

    async def _run(self, scope: MutableMapping[str, Any], body: bytes, receive: Receive, answer: _Answer) -> None:
        """The application, cancelled when the client goes."""
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def given() -> Message:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()
            raise AssertionError("the event is never set")

        running = asyncio.ensure_future(self.app(scope, given, answer.send))
        watching = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait([running, watching], return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_gone = not running.done()
            for task in (running, watching):
                task.cancel()
            done, _ = await asyncio.gather(running, watching, return_exceptions=True)
        if is_gone:
            raise _GoneError
        if isinstance(done, BaseException):
            raise done

    async def _refuse(self, error: Exception, answer: _Answer) -> None:
        told = as_api_error(error)
        if told.status >= 500 and not isinstance(error, ApiError):
            _log.error("request %s: %s", answer.request_id, told, exc_info=error if told.status == 500 else None)
        if answer.has_begun:
            raise error  # the connection is closed; streams tell of errors themselves
        await answer.whole(told)


class _GoneError(Exception):
    """The client has gone."""


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Headers:
    """The headers of a request that the gate looks at."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.values = dict(scope["headers"])

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        value: bytes = self.values.get(name, default)
        return value

    def key(self) -> bytes:
        """The key after Bearer."""
        kind, _, key = self.get(b"authorization").partition(b" ")
        return key.strip() if kind.lower() == b"bearer" else b""

    def request_id(self) -> str:
        """The client's own where it is harmless, else a new one."""
        given = self.get(b"x-request-id").decode("latin-1")
        return given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"

    def content_length(self) -> int:
        """As the client says; 0 where it does not."""
        given = self.get(b"content-length", b"0")
        return int(given) if given.isdigit() and len(given) < 20 else 0

    def has_body(self) -> bool:
        """Whether something is to be read."""
        return self.content_length() > 0 or b"transfer-encoding" in self.values


class _Answer:
    """The response, and how far it has been sent."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self.request_id = send, request_id
        self.has_begun, self.status = False, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun, self.status = True, message["status"]
            names = {name for name, _ in message.get("headers", [])}
            own = [(b"x-request-id", self.request_id.encode()), *_HEADERS]
            added = [(name, value) for name, value in own if name not in names]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await self._send(message)

    async def whole(self, error: ApiError) -> None:
        """An error as the whole answer."""
        body = json.dumps(error.body()).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": error.status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body})
