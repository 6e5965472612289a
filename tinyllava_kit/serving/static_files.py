"""Files of the page that is shown at ``/``: those of one folder, which nothing from elsewhere runs in."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from .api_errors import ApiError
from .service import Service

FOLDER = Path(__file__).parent / "static"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\.(html|css|js|svg|png|ico|woff2)")
_POLICY = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; frame-ancestors 'none'"


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
    return Response(file.read_bytes(), media_type=kind, headers={"content-security-policy": _POLICY})
