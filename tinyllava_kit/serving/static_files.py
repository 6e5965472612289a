"""Files of the page that is shown at ``/``: those of one folder, which nothing from elsewhere runs in."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ..explanation.page import PAGE_STYLE
from ..pages.html import STYLE
from .api_errors import ApiError
from .service import Service

FOLDER = Path(__file__).parent / "static"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\.(html|css|js|svg|png|ico|woff2)")
# The style of the page that says why, which is shown in a frame without scripts.
_WHY_STYLE = base64.b64encode(hashlib.sha256((STYLE + PAGE_STYLE).encode()).digest()).decode()
_POLICY = (
    f"default-src 'self'; style-src 'self' 'sha256-{_WHY_STYLE}'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types explanation"
)
_PAGE_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}


async def static_file(request: Request, service: Service) -> Response:
    """A file of the folder; ``index.html`` where none is named.

    Raises:
        ApiError: there is none of that name.
    """
    name = request.path_params.get("name", "index.html")
    file = FOLDER / name
    if not _NAME.fullmatch(name) or not file.is_file():
        raise ApiError(f"there is no page {name[:80]!r} here", status=404, code="not_found")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(file.read_bytes(), media_type=kind, headers=_PAGE_HEADERS)
