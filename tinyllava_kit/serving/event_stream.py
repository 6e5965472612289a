"""Answers that are sent while they are generated: server-sent events, and bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .api_errors import as_api_error

_log = logging.getLogger(__name__)
DONE = "[DONE]"


class StreamedResponse(Response):
    """Bytes as they come. It begins with the first, so an earlier error is sent with its status.

    Args:
        chunks: to send.
    """

    def __init__(self, chunks: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(media_type=media_type)
        self.chunks = chunks
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.chunks) as chunks:
            first = await anext(chunks, b"")
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def events(values: AsyncGenerator[dict[str, Any], None], *, done: bool = True) -> StreamedResponse:
    """Server-sent events, a JSON object each; one that goes wrong ends with its error.

    Args:
        done: end with ``[DONE]``, as chat does.
    """
    return StreamedResponse(_lines(values, done), "text/event-stream; charset=utf-8")


async def _lines(values: AsyncGenerator[dict[str, Any], None], done: bool) -> AsyncGenerator[bytes, None]:
    has_begun = False
    async with aclosing(values) as given:
        try:
            async for value in given:
                yield _line(json.dumps(value, ensure_ascii=False))
                has_begun = True
        except Exception as error:
            if not has_begun:
                raise
            told = as_api_error(error)
            if told.status == 500:
                _log.exception("an answer ended in the middle")
            yield _line(json.dumps(told.body()))
    if done:
        yield _line(DONE)


def _line(text: str) -> bytes:
    return f"data: {text}\n\n".encode()
