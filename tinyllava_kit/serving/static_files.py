"""Files of the page that is shown at ``/``: those of one folder, which nothing from elsewhere runs in."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ..pages.templating import style_digest
from .api_errors import ApiError
from .service import Service

FOLDER = Path(__file__).parent / "static"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\.(html|css|js|svg|png|ico|woff2)")
_HEADERS_BESIDE = {
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}


def _policy() -> str:
    """What the browser lets the page do: run its own files, show and play what it was given.

    The one style that stands in a page is that of the page that says why, which is shown in a frame without scripts.
    """
    return (
        f"default-src 'self'; style-src 'self' {style_digest()}; img-src 'self' data: blob:; "
        "media-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types explanation"
    )


async def static_file(request: Request, service: Service) -> Response:
    """A file of the folder; ``index.html`` where none is named.

    Raises:
        ApiError: there is none of that name.
    """
    name = request.path_params.get("name", "index.html")
    file = FOLDER / name
    if not _NAME.fullmatch(name) or not file.is_file():
        raise ApiError(f"this server has no page {name[:80]!r}", status=404, code="not_found")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(
        file.read_bytes(), media_type=kind, headers={"content-security-policy": _policy(), **_HEADERS_BESIDE}
    )
