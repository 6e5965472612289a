"""Answers that are sent as they come: what is wrong before the first has a status, what is wrong later is an event."""

from __future__ import annotations

import asyncio
import json

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.serving.event_stream import StreamedResponse, events


async def given(*values):
    """The values; one that is an exception is raised."""
    for value in values:
        if isinstance(value, Exception):
            raise value
        yield value


def sent(response):
    """What a response sends."""
    found = []

    async def send(message):
        found.append(message)

    asyncio.run(response({"type": "http"}, None, send))
    return found


def test_pieces_are_sent_as_they_come_between_a_head_and_an_end():
    head, *bodies = sent(StreamedResponse(given(b"a", b"bc"), "text/x"))
    assert head["status"] == 200
    assert dict(head["headers"])[b"content-type"].startswith(b"text/x")
    assert b"content-length" not in dict(head["headers"])
    assert [(each["body"], each["more_body"]) for each in bodies] == [(b"a", True), (b"bc", True), (b"", False)]


def test_no_piece_is_an_empty_body():
    _, *bodies = sent(StreamedResponse(given(), "text/x"))
    assert [each["body"] for each in bodies] == [b"", b""]


@pytest.mark.parametrize(("done", "end"), [(True, ["data: [DONE]", ""]), (False, [""])])
def test_events_are_a_json_object_each(done, end):
    _, *bodies = sent(events(given({"a": "é"}, {"b": 1}), done=done))
    assert b"".join(each["body"] for each in bodies).decode().split("\n\n") == [
        'data: {"a": "é"}',
        'data: {"b": 1}',
        *end,
    ]


def test_what_is_wrong_before_the_first_event_is_raised():
    with pytest.raises(KitError, match="no room"):
        sent(events(given(KitError("no room"))))


def test_what_is_wrong_later_is_the_last_event_and_that_of_the_server_is_logged(caplog):
    for error, told, logged in ((KitError("no more"), "no more", 0), (ValueError("secret"), "made a mistake", 1)):
        caplog.clear()
        _, *bodies = sent(events(given({"a": 1}, error, {"never": 1})))
        first, second, done, _ = b"".join(each["body"] for each in bodies).decode().split("\n\n")
        assert (first, done) == ('data: {"a": 1}', "data: [DONE]")
        message = json.loads(second.removeprefix("data: "))["error"]["message"]
        assert told in message
        assert "secret" not in message
        assert len(caplog.records) == logged


def test_the_source_is_closed_when_nobody_takes_more():
    closed = []

    async def endless():
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    async def send(message):
        if message["type"] == "http.response.body":
            raise OSError("the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        asyncio.run(StreamedResponse(endless(), "text/x")({"type": "http"}, None, send))
    assert closed == [True]
