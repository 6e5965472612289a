"""The server around an application."""

from __future__ import annotations

import socket

from tinyllava_kit.serving.server import bound


def test_who_connects_before_the_server_runs_waits():
    with bound("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname(), timeout=10) as client:
        assert client.getpeername() == listening.getsockname()
