"""The server: the application on a socket, until a signal stops it."""

from __future__ import annotations

import socket

import uvicorn

from ..errors import KitError
from .connections import BoundedConnection
from .gate import Gate
from .limits import Limits

_IDLE_SECONDS = 5  # of a connection between two requests
_END_SECONDS = 10  # for answers that are being generated when the server stops


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens on a host and port: who connects before the server runs waits, and is not refused.

    Raises:
        KitError: the port is in use, or the host is not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise KitError(f"--host {host}: {error.strerror}; give an address of this machine, as 127.0.0.1") from error
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen()
    except OSError as error:
        made.close()
        raise KitError(f"cannot listen on {host}:{port}: {error.strerror}; give another --port") from error
    return made


def server_of(app: Gate, limits: Limits) -> uvicorn.Server:
    """What runs an application; ``run(sockets=[...])`` returns when a signal stops it."""
    connection = type("Connection", (BoundedConnection,), {"limits": limits})
    config = uvicorn.Config(
        app,
        http=connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_END_SECONDS,
        backlog=limits.connections,
    )
    return uvicorn.Server(config)
