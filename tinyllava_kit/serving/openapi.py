"""``/openapi.json``: the routes, what each takes, and in what shape it answers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ..plugin.extras import CORE
from .chat_request import ChatRequest
from .explanations import TokensRequest, WhyRequest
from .speech import SpeechRequest
from .transcriptions import TranscriptionRequest
from .typed_decisions import DecisionRequest

JSON, FORM = "application/json", "multipart/form-data"  # types of bodies
_JSON = {JSON: {"schema": {"type": "object"}}}
_EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_SOUNDS = dict.fromkeys(("audio/mpeg", "audio/ogg", "audio/flac", "audio/wav", "audio/pcm"), _BINARY)
_ERRORS = {400: "wrong", 401: "no key", 404: "not there", 408: "too slow", 413: "too large", 415: "another type"}
_LATER = {429: "too many at once", 500: "a mistake of the server", 503: "begins anew"}
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_Content = dict[str, Any]
# path -> what it does, the request, the answer
_ROUTES: dict[str, tuple[str, type[BaseModel] | None, _Content]] = {
    "/v1/chat/completions": ("Answer a conversation.", ChatRequest, {**_JSON, **_EVENTS}),
    "/v1/audio/transcriptions": ("Write down a recording.", TranscriptionRequest, {**_JSON, **_EVENTS, **_TEXT}),
    "/v1/audio/speech": ("Speak a text.", SpeechRequest, {**_SOUNDS, **_EVENTS}),
    "/v1/decisions": ("Answer typed questions with probabilities.", DecisionRequest, _JSON),
    "/v1/tokens": ("Count what a conversation takes.", TokensRequest, _JSON),
    "/v1/why": ("Answer, and show why.", WhyRequest, _JSON),
    "/v1/models": ("The model that is served.", None, _JSON),
    "/health": ("Whether answers are generated.", None, _JSON),
    "/metrics": ("Counts for Prometheus.", None, _TEXT),
    "/openapi.json": ("This description.", None, _JSON),
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def description(routes: Mapping[str, tuple[str, str | None]]) -> dict[str, Any]:
    """The whole, as JSON.

    Args:
        routes: path -> its method and the type of its body; those that are no page's files are described.
    """
    kinds = [kind for _, kind, _ in _ROUTES.values() if kind is not None]
    _, schemas = models_json_schema(
        [(kind, "validation") for kind in kinds], ref_template="#/components/schemas/{model}"
    )
    taken = {path: routes[path] for path in _ROUTES}
    paths = {path: {method.lower(): _operation(body, *_ROUTES[path])} for path, (method, body) in taken.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tinyllava serve", "version": version(CORE)},
        "paths": paths,
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _operation(body: str | None, summary: str, kind: Any, content: _Content) -> dict[str, Any]:
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    told = _ERRORS | _LATER
    made: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "the answer", "content": content},
            **{str(status): {"description": text, "content": error} for status, text in told.items()},
        },
    }
    if body is not None:
        made["requestBody"] = {"required": True, "content": {body: {"schema": _body(body, kind)}}}
    return made


def _body(body: str, kind: type[BaseModel]) -> _Content:
    if body != FORM:
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    fields = {"file": {"type": "string", "format": "binary"}, **kind.model_json_schema()["properties"]}
    return {"type": "object", "required": ["file"], "properties": fields, "additionalProperties": False}
