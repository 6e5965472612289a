"""Requests as they have broken servers: each is an error in the API's shape, and the server goes on."""

from __future__ import annotations

import json

import pytest

from tests.serving.asking import CHAT, HELLO, KEY, ask_guarded, is_error
from tests.serving.conftest import png

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("goes_on")]


@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer é"])
def test_without_the_key_nothing_is_told(guarded, key):
    headers = {"authorization": key.encode().decode("latin-1")} if key else {}
    for path in (CHAT, "/v1/tokens"):
        status, said = guarded.post(path, {"messages": HELLO}, **headers)
        assert (status, said["error"]["code"]) == (401, "invalid_api_key")
        assert KEY not in json.dumps(said)
    assert guarded.send("GET", "/v1/models", **headers)[0] == 401
    assert guarded.send("GET", "/metrics", **headers)[0] == 401
    assert guarded.send("GET", "/health")[0] == 200


def nested(depth):
    value = "x"
    for _ in range(depth):
        value = [value]
    return value


BODIES = {
    "no body": (b"", 400, "the request has no body"),
    "no JSON": (b"{", 400, "the body is not JSON"),
    "no object": (b"[1]", 400, "the body is list, expected a JSON object"),
    "a name twice": (b'{"messages": [], "messages": []}', 400, "names 'messages' twice"),
    "not UTF-8": (b'{"model": "\xff"}', 400, "the body is not UTF-8: byte 11"),
    "a lone surrogate": (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400, "half of a character"),
    "NaN": (b'{"temperature": NaN}', 400, "the body holds NaN, which is not a number"),
    "infinity": (b'{"temperature": -Infinity}', 400, "holds -Infinity"),
    "a number of 5000 digits": (b'{"seed": ' + b"9" * 5000 + b"}", 400, "the body is not JSON"),
    "10^5 levels": (b'{"messages": ' + b"[" * 100_000, 413, "holds more than 2000 values"),
    "levels": (json.dumps({"messages": nested(50)}).encode(), 400, "more than 32 levels"),
    "many values": (json.dumps({"messages": [0] * 3000}).encode(), 413, "holds more than 2000 values"),
    "33 MiB": (b'{"messages": "' + b" " * 400_000 + b'"}', 413, "the body has more than 300000 bytes"),
    "a temperature of 1e400": (b'{"temperature": 1e400, "messages": [1]}', 400, "temperature"),
    "true for a number": (b'{"max_tokens": true, "messages": [1]}', 400, "max_tokens: Input should be a valid integer"),
    "a text for a number": (b'{"n": "1", "messages": [1]}', 400, "n: Input should be a valid integer"),
    "a number for messages": (b'{"messages": [7]}', 400, "messages.0 is 7; expected an object"),
    "no role": (b'{"messages": [{"content": "a"}]}', 400, "role None"),
    "a role of a list": (b'{"messages": [{"role": [], "content": "a"}]}', 400, "role []"),
    "no content": (b'{"messages": [{"role": "user"}]}', 400, "messages.0 has no content"),
    "a deep schema": (
        b'{"messages": [1], "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": '
        + b'{"items": ' * 40
        + b"{}"
        + b"}" * 43,
        *(400, "more than 32 levels"),
    ),
    "a schema without a name": (
        b'{"messages": [1], "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}',
        *(400, "response_format.json_schema.name is missing"),
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_request(guarded, name):
    body, expected, message = BODIES[name]
    status, said = ask_guarded(guarded, body)
    assert status == expected, said
    assert message in is_error(said)


NUMBERS = [
    *({"max_tokens": value} for value in (-1, 0, 10**30, 1.5, "3", 2**31)),
    *({"n": value} for value in (0, -1, 10**6, 2**80)),
    *({"temperature": value} for value in (-1, 1e30, "hot")),
    *({"top_p": value} for value in (0, -1, 2)),
    *({"seed": value} for value in (2**80, -(2**80), 1.5)),
    *({"presence_penalty": 3}, {"frequency_penalty": -3}),
    *({"stop": ["x"] * 1000}, {"stop": ["x" * 10_000]}, {"stop": [1]}, {"stop": {}}),
    *({"logit_bias": {"9999999": 1}}, {"logit_bias": {"-1": 1}}, {"logit_bias": {"1": 1000}}, {"logit_bias": []}),
    *({"top_logprobs": 1000, "logprobs": True}, {"logprobs": "yes"}),
    *({"stream": "yes"}, {"stream_options": {"include_usage": True}}, {"modalities": ["smell"]}),
]


@pytest.mark.parametrize("how", NUMBERS, ids=str)
def test_a_number_that_is_none(guarded, how):
    status, said = ask_guarded(guarded, {"messages": HELLO, **how})
    assert 400 <= status < 500, said
    assert next(iter(how)) in f"{said['error']['param']} {is_error(said)}"


def test_more_than_there_may_be(guarded):
    many = [{"type": "image_url", "image_url": {"url": png()}}] * 5
    cases = [
        ({"messages": [{"role": "user", "content": many}]}, "more than 4 items"),
        ({"messages": HELLO * 21}, "more than 20 messages"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, "the texts have more than 20000 characters"),
        ({"messages": [{"role": "user", "content": "x " * 9_000}]}, "512 are there for both"),
    ]
    for body, message in cases:
        status, said = ask_guarded(guarded, body)
        assert (status, message in is_error(said)) == (400, True), said


def test_other_paths_methods_and_types_are_errors_of_the_api(guarded):
    head = {"authorization": f"Bearer {KEY}"}
    cases = [
        ("GET", "/nothing", None, {}, 404, "not_found"),
        ("GET", "/../etc/passwd", None, {}, 404, "not_found"),
        ("GET", CHAT, None, {}, 405, "method_not_allowed"),
        ("POST", CHAT, b"{}", {"content_type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", CHAT, b"{}", {"content_encoding": "gzip"}, 415, None),
        ("POST", "/v1/audio/transcriptions", b"{}", {}, 415, "unsupported_media_type"),
    ]
    for method, path, body, headers, expected, code in cases:
        status, _, content = guarded.send(method, path, body, **head, **headers)
        said = json.loads(content)
        assert is_error(said)
        assert (status, said["error"]["code"]) == (expected, code), path


def test_no_path_of_the_server_and_no_address_of_an_object_is_told(guarded, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("/home/someone/model: <object at 0x7f0000000000>")

    monkeypatch.setattr(guarded.service.engine, "encode", fails)
    status, said = ask_guarded(guarded, {"messages": HELLO})
    assert (status, said["error"]["code"]) == (500, "internal_error")
    assert "someone" not in is_error(said)
