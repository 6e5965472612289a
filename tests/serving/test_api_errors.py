"""What a client is told of an error: all of its own mistake, nothing of one of the server."""

from __future__ import annotations

import logging

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.serving.answer_formats import FormatError
from tinyllava_kit.serving.api_errors import ApiError, as_api_error
from tinyllava_kit.serving.continuous_batching import WorkerDiedError
from tinyllava_kit.serving.engine import BusyError, NoRoomError
from tinyllava_kit.serving.item_rows import RowsInUseError
from tinyllava_kit.serving.remote_llm import RemoteLlmError


def test_the_body_has_the_apis_shape_and_one_line():
    error = ApiError("a\nb " + "x" * 900, status=413, param="messages", code="too_long")
    (body,) = error.body().values()
    assert (body["type"], body["param"], body["code"]) == ("invalid_request_error", "messages", "too_long")
    assert "\n" not in body["message"]
    assert len(body["message"]) == 500


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (BusyError("2 of 2"), 429, "too_many_requests", None),
        (RowsInUseError("no rows"), 429, "too_many_requests", None),
        (WorkerDiedError(), 503, "service_unavailable", None),
        (NoRoomError("no room"), 400, "context_length_exceeded", "max_tokens"),
        (FormatError("no schema"), 400, "invalid_response_format", "response_format"),
        (KitError("no picture"), 400, None, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_mistake_of_the_client_is_told_with_its_status(error, status, code, param):
    told = as_api_error(error)
    assert (str(told), told.status, told.code, told.param) == (str(error), status, code, param)
    assert told.headers == ({"retry-after": "1"} if status in (429, 503) else {})


def test_an_error_of_the_api_is_itself():
    error = ApiError("so")
    assert as_api_error(error) is error


def test_paths_of_the_server_and_addresses_of_objects_are_left_out():
    told = as_api_error(KitError("cannot read /home/someone/a.png: <object at 0x7f00deadbeef>, see docs/a/b"))
    assert str(told) == "cannot read ...: <object at ...>, see docs/a/b"


def test_a_mistake_of_the_server_is_not_told_and_that_of_an_llm_elsewhere_is_logged(caplog):
    assert "secret" not in str(as_api_error(ValueError("a secret")))
    assert as_api_error(ValueError("a secret")).status == 500
    with caplog.at_level(logging.ERROR):
        told = as_api_error(RemoteLlmError("the secret address refuses"))
    assert (told.status, "secret" in str(told)) == (503, False)
    assert caplog.messages == ["the secret address refuses"]
