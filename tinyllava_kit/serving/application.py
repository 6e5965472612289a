"""The application: routes, and the gate in front of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .api_errors import ApiError
from .chat_completions import chat_completions
from .explanations import tokens, why
from .gate import Gate
from .metrics import MEDIA_TYPE
from .openapi import FORM, JSON, description
from .service import Service
from .speech import speech
from .static_files import static_file
from .transcriptions import transcriptions
from .typed_decisions import decisions

Handler = Callable[[Request, Service], Awaitable[Response]]


def application(service: Service, key: str | None = None) -> Gate:
    """A service as an ASGI application.

    Args:
        key: what clients must send; None: nothing.
    """
    app = Starlette(
        routes=[_route(*route, service) for route in ROUTES],
        exception_handlers={HTTPException: _refused, Exception: _raised, ApiError: _raised},
        lifespan=partial(_lifespan, service),
    )
    app.router.redirect_slashes = False
    return Gate(app, service.limits, key, service.metrics.observe)


@asynccontextmanager
async def _lifespan(service: Service, app: Any) -> AsyncIterator[None]:
    await service.engine.open()
    try:
        yield
    finally:
        await service.close()


def _route(path: str, method: str, handler: Handler, body: str | None, service: Service) -> Route:
    async def endpoint(request: Request) -> Response:
        request.scope["route_path"] = path
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if body is not None and kind != body:
            raise ApiError(f"expected Content-Type: {body}", status=415, code="unsupported_media_type")
        return await handler(request, service)

    return Route(path, endpoint, methods=[method])


async def _refused(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: no such path, or another method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        raise ApiError(f"this server has no {request.url.path[:80]!r}", status=404, code="not_found")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{request.url.path[:80]!r} takes {allowed}, not {request.method[:16]}"
        raise ApiError(message, status=405, code="method_not_allowed", headers={"allow": allowed})
    raise ApiError(str(error.detail), status=error.status_code)


async def _raised(request: Request, error: Exception) -> Response:
    """On to the gate, which makes it an error of the API."""
    raise error


async def models(request: Request, service: Service) -> Response:
    """The one model that is served."""
    return JSONResponse({"object": "list", "data": [service.card()]})


async def model(request: Request, service: Service) -> Response:
    """The model of a name.

    Raises:
        ApiError: another is served.
    """
    service.check_name(request.path_params["name"])
    return JSONResponse(service.card())


async def health(request: Request, service: Service) -> Response:
    """Whether answers are generated.

    Raises:
        ApiError: the worker has died, and nobody has asked since.
    """
    if not service.engine.is_alive:
        raise ApiError("the model's worker has died; the next request restarts it", status=503, kind="server_error")
    return JSONResponse({"status": "ok"})


async def metrics(request: Request, service: Service) -> Response:
    """Counts for Prometheus."""
    return Response(service.metrics.text(service.gauges()), media_type=MEDIA_TYPE)


async def openapi(request: Request, service: Service) -> Response:
    """The model that is served, for programs."""
    return JSONResponse(description({path: (method, body) for path, method, _, body in ROUTES}))


# path, method, handler, the type of the body
ROUTES: list[tuple[str, str, Handler, str | None]] = [
    ("/v1/chat/completions", "POST", chat_completions, JSON),
    ("/v1/audio/transcriptions", "POST", transcriptions, FORM),
    ("/v1/audio/speech", "POST", speech, JSON),
    ("/v1/decisions", "POST", decisions, JSON),
    ("/v1/tokens", "POST", tokens, JSON),
    ("/v1/why", "POST", why, JSON),
    ("/v1/models", "GET", models, None),
    ("/v1/models/{name:path}", "GET", model, None),
    ("/", "GET", static_file, None),
    ("/static/{name}", "GET", static_file, None),
    ("/openapi.json", "GET", openapi, None),
    ("/health", "GET", health, None),
    ("/metrics", "GET", metrics, None),
]
