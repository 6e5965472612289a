"""Errors in the API's shape: an HTTP status and ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import logging
import re
from typing import Any

from ..errors import KitError
from ..files.printable import one_line
from .answer_formats import FormatError
from .continuous_batching import WorkerDiedError
from .engine import BusyError, NoRoomError
from .item_rows import RowsInUseError
from .remote_llm import RemoteLlmError

_log = logging.getLogger(__name__)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")  # of an object
_PATH = re.compile(r"(?<![\w.:/])(?:/[\w.~+-]+){2,}/?")  # of a file of the server
_MAX_LENGTH = 500  # of a message
_INTERNAL = "the server has made a mistake, which its log describes; try again, or report it to who runs the server"
_ELSEWHERE = "the LLM, which runs elsewhere, cannot be asked; the server's log says why; ask again later"


class ApiError(Exception):
    """An error that a client gets in place of an answer.

    Args:
        message: what was wrong and what to do. param: the parameter that is wrong. code: a word for programs.
        headers: of the response.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code = status, kind, param, code
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """As JSON."""
        message = one_line(str(self))[:_MAX_LENGTH]
        return {"error": {"message": message, "type": self.kind, "param": self.param, "code": self.code}}


def as_api_error(error: BaseException) -> ApiError:
    """What a client gets of an error: the whole message where the mistake is its own, none where it is the server's."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, (BusyError, RowsInUseError)):
        later = {"retry-after": "1"}
        return ApiError(str(error), status=429, kind="rate_limit_error", code="too_many_requests", headers=later)
    if isinstance(error, RemoteLlmError):
        _log.error("%s", error)
        return ApiError(_ELSEWHERE, status=503, kind="server_error", code="service_unavailable")
    if isinstance(error, WorkerDiedError):
        later = {"retry-after": "1"}
        return ApiError(str(error), status=503, kind="server_error", code="service_unavailable", headers=later)
    if isinstance(error, NoRoomError):
        return ApiError(str(error), param="max_tokens", code="context_length_exceeded")
    if isinstance(error, FormatError):
        return ApiError(str(error), param="response_format", code="invalid_response_format")
    if isinstance(error, KitError):
        return ApiError(_PATH.sub("...", _ADDRESS.sub("...", str(error))))
    return ApiError(_INTERNAL, status=500, kind="server_error", code="internal_error")
