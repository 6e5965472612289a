"""Where an item comes from, as rows and parts of messages say it: a file's name, an address, or its content. Light."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from ..errors import KitError, shown
from .absence import absent

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DATA = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
# No name of a file: that has a point before its ending, or is a hash in hexadecimal digits.
_BASE64 = re.compile(r"(?![0-9a-f/]*$)[A-Za-z0-9+/\r\n]{80,}={0,2}\s*")
# With - and _ in place of + and /, and often unpadded. A name so long has seldom letters of both cases and digits.
_URL_SAFE = re.compile(r"(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])(?=[^0-9]*[0-9])[A-Za-z0-9_\-\r\n]{80,}={0,2}\s*")


class AddressContent(bytes):
    """The content of a ``data:`` address."""

    name = "data: address"  # how messages call it


def is_address(source: str) -> bool:
    """Whether a text is an address (``https://...``, ``file://...``) and no name of a file."""
    return _ADDRESS.match(source) is not None


def is_name(source: Any) -> bool:
    """Whether a source is the name of a file."""
    return isinstance(source, str) and not (is_address(source) or _DATA.match(source) or _is_base64(source))


def decoded(source: Any, where: str) -> Any:
    """A source with its content as bytes, where it holds it as text: a ``data:`` URL or base64, alone or in a mapping
    with ``bytes``, ``data`` or ``url``. Any other source is returned unchanged.

    Raises:
        KitError: a text that is to be base64 and is not; names `where` it stands.
    """
    if isinstance(source, Mapping):
        if isinstance(source.get("bytes"), str):
            return {**source, "bytes": _from_base64(source["bytes"], where)}
        if isinstance(source.get("data"), str):
            return (
                _from_url(source["data"], where) if _DATA.match(source["data"]) else _from_base64(source["data"], where)
            )
        return decoded(source["url"], where) if "url" in source else source
    if not isinstance(source, str):
        return source
    if _DATA.match(source):
        return _from_url(source, where)
    return _from_base64(source, where) if _is_base64(source) else source


def as_list(value: Any) -> list[Any]:
    """A column's sources, a list or one; a pair of array and rate is one, and an empty text or null is none."""
    given = value if isinstance(value, list) else [value]
    return [source for source in given if not absent(source) and not (isinstance(source, str) and source == "")]


def _is_base64(source: str) -> bool:
    if len(source) < 80:
        return False
    if _BASE64.fullmatch(source) and len("".join(source.split())) % 4 == 0:
        return True
    return _URL_SAFE.fullmatch(source) is not None and len("".join(source.split()).rstrip("=")) % 4 != 1


def _from_url(source: str, where: str) -> bytes:
    head, _, content = source.partition(",")
    in_base64 = head.lower().endswith(";base64")
    return AddressContent(_from_base64(content, where) if in_base64 else unquote_to_bytes(content))


def _from_base64(text: str, where: str) -> bytes:
    """Of the usual alphabet or that for addresses, padded or not."""
    content = "".join(text.split())
    content += "=" * (-len(content) % 4)
    try:
        return base64.b64decode(content, "-_" if "-" in content or "_" in content else None, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KitError(f"{where}: {shown(text[:40])}... is not base64: {error}") from error
