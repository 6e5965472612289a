"""A request's body as JSON: strict, bounded, and checked before anything is made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import near, shown
from .api_errors import ApiError
from .limits import Limits

_Model = TypeVar("_Model", bound=BaseModel)
_TEXTS = re.compile(rb'"[^"]*"')  # of a body without escapes
_OTHER = re.compile(rb"[^\[\]{}]")
_SHOWN = 80  # characters of a value in a message


class StrictModel(BaseModel):
    """A part of a body: its own names alone, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ModelRequest(StrictModel):
    """The body of a request that names a model, or leaves it to the server."""

    model: str | None = None


def read_json(body: bytes, limits: Limits) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ApiError: not UTF-8, not JSON, not an object, a name twice, a number that JSON has not, or more values or
            levels than there may be.
    """
    if not body:
        raise ApiError("the request has no body; expected a JSON object")
    commas = sum(body.count(mark) for mark in (b",", b"[", b"{"))
    if commas > limits.json_values:  # only then: texts hold them, too
        commas = sum(_without_texts(body).count(mark) for mark in (b",", b"[", b"{"))
    if commas > limits.json_values:
        raise ApiError(f"the body holds more than {limits.json_values} values", status=413, code="too_many_values")
    if _depth(body) > limits.json_depth:
        raise ApiError(f"the body has more than {limits.json_depth} levels", code="too_deep")
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ApiError(f"the body is not UTF-8: byte {error.start}", code="invalid_json") from error
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not JSON: {str(error)[:_SHOWN]}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError(f"the body is {type(value).__name__}, expected a JSON object", code="invalid_json")
    return value


def _depth(body: bytes) -> int:
    """How deep its brackets go."""
    if body.count(b"[") + body.count(b"{") <= 1:
        return 1
    deepest = depth = 0
    for mark in _OTHER.sub(b"", _without_texts(body)):
        depth += 1 if mark in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _without_texts(body: bytes) -> bytes:
    return _TEXTS.sub(b"", body.replace(b"\\\\", b"").replace(b'\\"', b""))


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ApiError(f"the body names {shown(twice)} twice in one object", code="invalid_json")
    return made


def _no_constant(word: str) -> NoReturn:
    raise ApiError(f"the body holds {word}, which is not a number in JSON", code="invalid_json")


def parsed(kind: type[_Model], values: dict[str, Any]) -> _Model:
    """Values as a request of a kind.

    Raises:
        ApiError: an unknown parameter, or one of another type; names it.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(str(each) for each in first["loc"]) or None
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            known = [field.alias or name for name, field in kind.model_fields.items()]
            message = f"unknown parameter {shown(param)}; {near(str(param)[:_SHOWN], known)}"
            raise ApiError(message, param=param, code="unknown_parameter") from error
        if first["type"] == "missing":
            raise ApiError(f"{param} is missing", param=param, code="missing_required_parameter") from error
        message = f"{param}: {first['msg']}, got {shown(first['input'])[:_SHOWN]}"
        raise ApiError(message, param=param, code="invalid_value") from error
