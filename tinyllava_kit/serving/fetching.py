"""Fetching an address that a request names: from hosts that were allowed, and from nowhere inside."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import shown
from .api_errors import ApiError
from .limits import Limits

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")  # a name; numbers are refused behind it
_PLAIN = re.compile(r"[!-\[\]-~]{1,4096}")  # printable ASCII without spaces and backslashes
_CHUNK = 1 << 16
_CONNECT_SECONDS = 5.0


class Address(NamedTuple):
    """Where to fetch: read once, and used as it was read."""

    scheme: str
    host: str
    port: int
    path: str


class Fetcher:
    """Fetches addresses.

    Args:
        hosts: the names that are allowed, ``host`` or ``host:port``; none: no address is fetched.
    """

    def __init__(self, hosts: Collection[str], limits: Limits) -> None:
        self.hosts = {host.lower() for host in hosts}
        self.limits = limits

    def fetch(self, url: str) -> bytes:
        """The content of an address.

        Raises:
            ApiError: its host is not allowed or has an address inside, a redirect or an error, too many bytes,
                or too slow.
        """
        address = self.parse(url)
        end = time.monotonic() + self.limits.fetch_seconds
        try:
            return self._content(address, _resolved(address), end)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError(f"{shown(url)} cannot be fetched: {type(error).__name__}") from error

    def parse(self, url: str) -> Address:
        """Parse an address, and check that its host is allowed.

        Raises:
            ApiError: see `fetch`.
        """
        if not self.hosts:
            raise ApiError(
                f"{shown(url)} is an address, and this server fetches none; send the content, as a data: URL or base64"
            )
        if not _PLAIN.fullmatch(url):
            raise ApiError(f"{shown(url)} is not an address to fetch: it holds spaces, backslashes or other letters")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ApiError(f"{shown(url)} is not an address") from error
        scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
        if scheme not in _PORTS or "@" in parts.netloc or not _HOST.fullmatch(host):
            raise ApiError(f"{shown(url)} is not fetched; expected http:// or https:// and the name of a host")
        named = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
        if named not in self.hosts:
            raise ApiError(f"{shown(url)}: the host {shown(named)} is not allowed; send the content instead")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Address(scheme, host, port or _PORTS[scheme], path)

    def _content(self, address: Address, place: str, end: float) -> bytes:
        connection = _Pinned(address, place, min(_CONNECT_SECONDS, self.limits.fetch_seconds))
        try:
            connection.request("GET", address.path, headers={"Accept": "*/*", "Accept-Encoding": "identity"})
            response = connection.getresponse()
            if response.status != 200:
                raise ApiError(f"the address answered {response.status}; redirects are not followed")
            content = bytearray()
            while chunk := response.read1(_CHUNK):
                content += chunk
                if len(content) > self.limits.fetch_bytes:
                    raise ApiError(f"the address has more than {self.limits.fetch_bytes} bytes", status=413)
                if time.monotonic() > end:
                    raise ApiError(f"the address did not answer within {self.limits.fetch_seconds:g} s")
            return bytes(content)
        finally:
            connection.close()


class _Pinned(http.client.HTTPConnection):
    """A connection to the address of a machine that was looked at."""

    def __init__(self, address: Address, place: str, timeout: float) -> None:
        super().__init__(address.host, address.port, timeout=timeout)
        self.address, self.place = address, place

    def connect(self) -> None:
        """To that machine, whatever its name resolves to by now."""
        self.sock = socket.create_connection((self.place, self.address.port), self.timeout)
        if self.address.scheme == "https":
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self.address.host)


def _resolved(address: Address) -> str:
    """The machine that a host's name resolves to.

    Raises:
        ApiError: one of its addresses is not public.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    places = [str(each[4][0]) for each in found]
    if not places or not all(map(is_public, places)):
        raise ApiError(f"the host {shown(address.host)} has an address that is not public; it is not fetched from")
    return places[0]


def is_public(place: str) -> bool:
    """Whether an IP address is one of the open net: not private, loopback, link-local, or one that hides such."""
    ip = ipaddress.ip_address(place.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        hidden = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if hidden:
            return is_public(str(hidden))
    return ip.is_global and not ip.is_multicast
