"""Pictures and sounds that lie in a page itself."""

from __future__ import annotations

import base64
import mimetypes
from dataclasses import dataclass
from pathlib import Path

_TAGS = {"image": "img", "audio": "audio"}


@dataclass(frozen=True)
class Inline:
    """A file in the page: the tag that shows it, its content as a URI, and its text for people who cannot see.

    Templates show it with ``parts.media``.
    """

    tag: str
    uri: str
    alt: str = ""


def inline(content: bytes, kind: str = "image/png", *, alt: str = "") -> Inline:
    """A picture or a sound of this kind, ``image/png`` or ``audio/wav``."""
    return Inline(_TAGS[kind.partition("/")[0]], f"data:{kind};base64,{base64.b64encode(content).decode()}", alt)


def inline_file(file: Path) -> Inline | None:
    """A file in the page itself; None where its name is not that of something that browsers show or play."""
    kind = mimetypes.guess_type(file.name)[0] or ""
    return inline(file.read_bytes(), kind, alt=file.name) if kind.partition("/")[0] in _TAGS else None
