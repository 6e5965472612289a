"""Items as a page shows them: a picture small, a sound to play."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ...core.conversation import Item
from ...pages.media import Inline, inline, inline_file

MOST_BYTES = 1_000_000  # of a file that is shown without conversion
SIDE = 256  # pixels of a picture, at most


def shown_item(item: Item) -> Inline | None:
    """An item in the page itself; None where browsers cannot show it, or it cannot be read."""
    source = item.source
    try:
        if isinstance(source, Image.Image):
            return _small(source, "")
        if isinstance(source, (bytes, bytearray)):
            return _opened(io.BytesIO(source), "")
        if isinstance(source, (str, os.PathLike)):
            return _of_file(Path(source))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return None


def _of_file(file: Path) -> Inline | None:
    try:
        return _opened(file, file.name)
    except UnidentifiedImageError:  # no picture
        return inline_file(file) if file.stat().st_size <= MOST_BYTES else None


def _opened(source: Any, name: str) -> Inline:
    with Image.open(source) as picture:
        return _small(picture, name)


def _small(picture: Image.Image, name: str) -> Inline:
    shown = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
    shown.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    shown.save(out, "PNG")
    return inline(out.getvalue(), alt=name)
