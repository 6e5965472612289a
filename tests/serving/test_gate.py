"""What comes from outside, as it has broken servers: each is an error in the API's shape, and the server goes on."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.serving.conftest import Served, png, wav
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.files.item_sources import AddressContent
from tinyllava_kit.inference.answering import question
from tinyllava_kit.serving import fetching
from tinyllava_kit.serving.limits import Limits

pytestmark = pytest.mark.slow

KEY = "a-key-of-many-letters"
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hi"}]
LIMITS = Limits(
    body_bytes=300_000,
    json_values=2_000,
    text_chars=20_000,
    item_bytes=100_000,
    decoded_bytes=40_000_000,
    pixels=4_000_000,
    seconds=5.0,
    items=4,
    messages=20,
    connections=12,
    head_seconds=0.5,
    body_seconds=0.5,
    write_seconds=0.5,
)


@pytest.fixture(scope="module")
def guarded(another):
    """The toy behind a key and narrow limits."""
    made = Served(another(), key=KEY, limits=LIMITS)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def goes_on(guarded):
    """Behind every test the server answers, and nothing is left."""
    yield
    deadline = time.monotonic() + 30
    engine = guarded.service.engine
    while engine.in_flight and time.monotonic() < deadline:
        time.sleep(0.02)
    status, said = ask(guarded, {"messages": HELLO, "max_tokens": 1})
    assert (status, said["object"]) == (200, "chat.completion")
    assert (engine.in_flight, engine.batched, engine.rows.pinned) == (0, 0, 0)


def ask(guarded, body, **headers):
    return guarded.post(CHAT, body, **{"authorization": f"Bearer {KEY}", **headers})


def of(part):
    return {"messages": [{"role": "user", "content": [part]}], "max_tokens": 1}


def url(content):
    return f"data:;base64,{base64.b64encode(content).decode()}"


def is_error(said):
    assert said.keys() == {"error"}
    assert said["error"].keys() == {"message", "type", "param", "code"}
    return said["error"]["message"]


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


def picture_of(width, height):
    """A PNG whose header says more than it holds."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def frames(number):
    """A GIF of so many."""
    first, *rest = [Image.new("L", (3, 3), color % 256) for color in range(number)]
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest)
    return file.getvalue()


def silence(seconds):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(seconds * 1000, np.int16), 1000, format="FLAC")
    return file.getvalue()


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
    status, said = ask(guarded, body)
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
    status, said = ask(guarded, {"messages": HELLO, **how})
    assert 400 <= status < 500, said
    assert next(iter(how)) in f"{said['error']['param']} {is_error(said)}"


ITEMS = {
    "a picture of 13000 x 13000": ("image", picture_of(13_000, 13_000), (400, "is too large: 13000 x 13000 pixels")),
    "one of 3000 x 3000": ("image", picture_of(3000, 3000), (413, "a picture of 9000000 pixels; at most 4000000")),
    "one that is cut": ("image", picture_of(300, 300)[:60], (400, "cannot read image")),
    "no picture": ("image", b"<svg/>" * 20, (400, "damaged, or not one of")),
    "a sound of hours": ("audio", silence(9000), (400, "is longer than 7200 s")),
    "one of a minute": ("audio", silence(60), (413, "a sound of 60 s; at most 5 s are read")),
    "no sound": ("audio", b"RIFF" * 20, (400, "data: address")),
    "too many bytes": ("audio", b"x" * 120_000, (413, "at most 100000 are read")),
    "a bomb": ("audio", zlib.compress(bytes(10_000_000)), (400, "cannot decode")),
}


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_that_cannot_be_read(guarded, name):
    modality, content, (expected, message) = ITEMS[name]
    status, said = ask(guarded, of({"type": f"{modality}_url", f"{modality}_url": {"url": url(content)}}))
    assert (status, message in is_error(said)) == (expected, True), said


@pytest.mark.parametrize("content", [picture_of(1, 1), frames(500)], ids=["1 x 1", "500 frames"])
def test_a_strange_picture_is_read(guarded, content):
    assert ask(guarded, of({"type": "image_url", "image_url": {"url": url(content)}}))[0] == 200


def test_more_than_there_may_be(guarded):
    many = [{"type": "image_url", "image_url": {"url": png()}}] * 5
    cases = [
        ({"messages": [{"role": "user", "content": many}]}, "more than 4 items"),
        ({"messages": HELLO * 21}, "more than 20 messages"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, "the texts have more than 20000 characters"),
        ({"messages": [{"role": "user", "content": "x " * 9_000}]}, "512 are there for both"),
    ]
    for body, message in cases:
        status, said = ask(guarded, body)
        assert (status, message in is_error(said)) == (400, True), said


def test_all_items_together_are_bounded(guarded):
    large = [{"type": "image_url", "image_url": {"url": url(picture_of(1990 - n, 2000))}} for n in range(4)]
    status, said = ask(guarded, {"messages": [{"role": "user", "content": large}]})
    assert (status, said["error"]["code"]) == (413, "items_too_large")


ADDRESSES = [
    *("http://2130706433/a.png", "http://[::ffff:7f00:1]/a.png", "http://allowed@127.0.0.1/a.png"),
    *("http:\\\\127.0.0.1\\a.png", "http://0x7f.1/", "http://017700000001/", "file:///etc/passwd", "ftp://a/b"),
    *("HTTP://LOCALHOST/", "https://example.org", "http://a b/", "//127.0.0.1/x", "http://exa\u0301mple.org/"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_fetched(guarded, address, monkeypatch):
    monkeypatch.setattr(fetching, "_resolved", None)
    status, said = ask(guarded, of({"type": "image_url", "image_url": {"url": address}}))
    message = is_error(said)
    assert status == 400
    assert "this server fetches none" in message or "neither a data: URL nor base64" in message


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
    status, said = ask(guarded, {"messages": HELLO})
    assert (status, said["error"]["code"]) == (500, "internal_error")
    assert "someone" not in is_error(said)


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
    said = guarded.service.metrics.completion_tokens["text"]
    assert said < 800


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


def test_the_header_of_a_sound_is_read_once(served, monkeypatch):
    processor = served.service.engine.processor
    audio, seen = type(processor.modalities["audio"]), []
    probe = audio.probe

    def counted(self, source):
        seen.append(isinstance(source, bytes))
        return probe(self, source)

    monkeypatch.setattr(audio, "probe", counted)
    served.service.items.check(question("what?", [Item("audio", AddressContent(wav()))], processor))
    assert seen.count(True) == 1
