"""Connections that bring no request, or take no answer: each ends, and the server goes on."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress

import pytest

from tests.serving.asking import CHAT, HELLO, KEY, is_error

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("goes_on")]


def raw(guarded, content, wait=3.0):
    """Bytes on a connection; what came back until it was closed."""
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=wait) as connection:
        connection.sendall(content)
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except (TimeoutError, ConnectionError):
            pass
        return found


HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n".encode()
BODY = json.dumps({"messages": HELLO, "max_tokens": 1}).encode()


def test_a_body_in_chunks_of_a_byte_is_read(guarded):
    chunks = b"".join(b"1\r\n%c\r\n" % each for each in BODY) + b"0\r\n\r\n"
    said = raw(guarded, HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks)
    assert said.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (HEAD + b"Content-Length: 1000\r\n\r\n" + BODY, b"408"),  # more is promised than comes
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"400"),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", b"413"),
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 900_000 + b"\r\n\r\n", b"400"),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", b"413"),
    ],
)
def test_what_is_hardly_http(guarded, content, status):
    said = raw(guarded, content)
    assert said.split(b" ", 2)[1] == status
    assert is_error(json.loads(said.rpartition(b"\r\n\r\n")[2]))


def test_idle_connections_are_closed_and_too_many_are_not_taken(guarded):
    open_ones = [socket.create_connection(("127.0.0.1", guarded.port), timeout=5) for _ in range(30)]
    start = time.monotonic()
    for each in open_ones:
        with suppress(ConnectionError):
            assert each.recv(1) == b""
        each.close()
    assert time.monotonic() - start < 5


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(guarded):
    def drip(connection):
        for each in HEAD * 100:
            connection.sendall(bytes([each]))
            time.sleep(0.02)

    closed = pytest.raises((ConnectionError, TimeoutError))
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=5) as connection, closed:
        drip(connection)


def test_a_client_that_goes_ends_its_generation(guarded):
    body = json.dumps({"messages": HELLO, "max_tokens": 400, "stream": True}).encode()
    said = guarded.service.metrics.completion_tokens["text"]
    for stream in (True, False):
        content = body if stream else body.replace(b'"stream": true', b'"stream": false')
        with socket.create_connection(("127.0.0.1", guarded.port), timeout=30) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content)
            if stream:
                connection.recv(1)
            else:
                time.sleep(0.3)
        deadline = time.monotonic() + 30
        while guarded.service.engine.in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert guarded.service.metrics.completion_tokens["text"] - said < 800


def test_a_client_that_does_not_read_is_left(guarded):
    body = {"messages": HELLO, "max_tokens": 480, "stream": True, "logprobs": True, "top_logprobs": 20}
    content = json.dumps(body).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(("127.0.0.1", guarded.port))
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content)
        deadline = time.monotonic() + 40
        while guarded.service.engine.in_flight == 0:
            time.sleep(0.01)
        while guarded.service.engine.in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.05)
