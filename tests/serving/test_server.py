"""The server around an application."""

from __future__ import annotations

import socket

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.serving.connections import BoundedConnection
from tinyllava_kit.serving.limits import Limits
from tinyllava_kit.serving.server import bound, server_of


def test_who_connects_before_the_server_runs_waits():
    with bound("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname(), timeout=10) as client:
        assert client.getpeername() == listening.getsockname()


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("256.0.0.1", r"--host 256\.0\.0\.1: .*; give an address of this machine"),
        ("192.0.2.1", r"cannot listen on 192\.0\.2\.1:0"),
    ],
)
def test_a_host_that_is_not_here_is_refused(host, message, monkeypatch):
    found = socket.getaddrinfo

    def resolved(name, *args, **how):
        if name == "256.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found(name, *args, **how)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with pytest.raises(KitError, match=message):
        bound(host, 0)


def test_a_port_that_is_taken_is_refused():
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(KitError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*; give another --port"):
            bound("127.0.0.1", port)


def test_connections_have_the_limits_that_are_given():
    limits = Limits(connections=7)
    config = server_of(None, limits).config
    assert issubclass(config.http, BoundedConnection)
    assert config.http.limits is limits
    assert config.backlog == 7
    assert BoundedConnection.limits == Limits()
