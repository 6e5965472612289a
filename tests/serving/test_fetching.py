"""Addresses from hosts that are allowed: pinned, bounded, and never inside."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.serving.asking import ask_guarded, is_error, of
from tinyllava_kit.serving import fetching
from tinyllava_kit.serving.api_errors import ApiError
from tinyllava_kit.serving.fetching import Fetcher, is_public
from tinyllava_kit.serving.limits import Limits

LIMITS = Limits(fetch_bytes=1000, fetch_seconds=2)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.headers["Host"]
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 5000 if self.path == "/large" else f"{host}{self.path}".encode())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def port():
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def names(monkeypatch):
    """Which address each name stands for."""
    known = {}

    def resolve(host, port, *how, **more):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in known.get(host, [host])]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


def test_a_host_that_is_allowed_is_asked_at_the_place_that_was_looked_at(port, names, monkeypatch):
    names["media.example"] = ["127.0.0.1"]
    monkeypatch.setattr(fetching, "is_public", lambda place: True)
    fetcher = Fetcher([f"media.example:{port}"], LIMITS)
    assert fetcher.fetch(f"http://media.example:{port}/a?b=c") == f"media.example:{port}/a?b=c".encode()
    with pytest.raises(ApiError, match="the address answered 302; redirects are not followed"):
        fetcher.fetch(f"http://media.example:{port}/redirect")
    with pytest.raises(ApiError, match="the address has more than 1000 bytes"):
        fetcher.fetch(f"http://MEDIA.example:{port}/large")


def test_a_name_that_stands_for_a_machine_inside_is_not_fetched_from(names):
    fetcher = Fetcher(["media.example"], LIMITS)
    for places in (["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["169.254.169.254"], ["::ffff:7f00:1"], []):
        names["media.example"] = places
        with pytest.raises(ApiError, match=r"'media\.example' has an address that is not public"):
            fetcher.fetch("https://media.example/a.png")


@pytest.mark.parametrize(
    "url",
    [
        *("http://other.example/", "http://media.example:81/", "http://media.example@127.0.0.1/", "http://127.0.0.1/"),
        *("http://2130706433/", "http://0x7f000001/", "http://[::1]/", "http://[::ffff:7f00:1]/"),
        *(
            "http:\\\\media.example/",
            "http://media.example\\@127.0.0.1/",
            "http://media.example /",
            "file:///etc/passwd",
        ),
        *("ftp://media.example/", "http://media.example.evil.example/", "http://u:p@media.example/", "http://a:b/"),
        *("http://media.example:99999/", "http://mediа.example/", f"http://media.example/{'a' * 5000}"),
    ],
)
def test_any_other_address_is_refused_before_a_name_is_looked_up(names, url):
    with pytest.raises(ApiError):
        Fetcher(["media.example"], LIMITS).fetch(url)


def test_without_hosts_nothing_is_fetched(names):
    with pytest.raises(ApiError, match=r"'http://media\.example/' is an address, and this server fetches none"):
        Fetcher([], LIMITS).fetch("http://media.example/")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        *((place, True) for place in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946")),
        *((place, False) for place in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254")),
        *((place, False) for place in ("::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "2002:7f00:1::", "224.0.0.1")),
        *((place, False) for place in ("0.0.0.0", "100.64.0.1", "fe80::1%eth0", "::")),
    ],
)
def test_what_is_public(place, expected):
    assert is_public(place) is expected


ADDRESSES = [
    *("http://2130706433/a.png", "http://[::ffff:7f00:1]/a.png", "http://allowed@127.0.0.1/a.png"),
    *("http:\\\\127.0.0.1\\a.png", "http://0x7f.1/", "http://017700000001/", "file:///etc/passwd", "ftp://a/b"),
    *("HTTP://LOCALHOST/", "https://example.org", "http://a b/", "//127.0.0.1/x", "http://exa\u0301mple.org/"),
]


@pytest.mark.slow
@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_fetched(guarded, address, monkeypatch):
    monkeypatch.setattr(fetching, "_resolved", None)
    status, said = ask_guarded(guarded, of({"type": "image_url", "image_url": {"url": address}}))
    message = is_error(said)
    assert status == 400
    assert "this server fetches none" in message or "neither a data: URL nor base64" in message
