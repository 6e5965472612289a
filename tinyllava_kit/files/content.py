"""What a file holds is of no type until it is checked: the door for what a model's directory says.

`checked` compares plain content with a type and says where it differs. `arguments` does so for what a function takes:
its annotations are the schema.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from ..errors import KitError, near
from .failures import first_line


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Some programs write whole numbers with a point: 20.0.
WholeNumber = Annotated[int, BeforeValidator(_whole)]
# Sizes that a configuration may hold: larger ones are nonsense, and would be counted to.
Size = Annotated[WholeNumber, Field(ge=0, le=2**31)]
Count = Annotated[WholeNumber, Field(ge=1, le=2**31)]
# More layers than any network has; each would be built, one after another.
MOST_LAYERS = 1000
Layers = Annotated[int, Field(le=MOST_LAYERS)]
# Numbers to compute with in 32 bits: larger ones, and smaller divisors, make infinities.
Finite = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Divisor = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]

_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


def read_as(kind: Any, file: Path, advice: str) -> Any:
    """A file of JSON that a program of ours has written, as `kind`, a type or a pydantic schema.

    Args:
        advice: what to do where it is damaged.

    Raises:
        KitError: it cannot be read, or holds something else; names the file and the place in it.
    """
    try:
        return _adapter(kind).validate_json(file.read_bytes(), strict=True)
    except ValidationError as error:
        raise KitError(f"{said(error, str(file))}; {advice}") from error
    except OSError as error:
        raise KitError(f"cannot read {str(file)!r}: {error.strerror}; {advice}") from error


def checked(kind: Any, value: Any, where: str) -> Any:
    """Plain content as `kind`, a type or a pydantic schema: nothing is converted but whole numbers to fractions.

    Args:
        where: the file and the place in it, for the message.

    Raises:
        KitError: names the place, the value there and what was expected.
    """
    try:
        return _adapter(kind).validate_json(json.dumps(value), strict=True)  # JSON writes a tuple as a list
    except ValidationError as error:
        raise KitError(said(error, where)) from error
    except (RecursionError, TypeError, ValueError) as error:
        raise KitError(f"{where}: holds what JSON does not: {first_line(error)}") from error


def arguments(function: Callable[..., Any], content: Any, where: str, *, given: tuple[str, ...] = ()) -> dict[str, Any]:
    """The keyword arguments of `function`, a class or a method, that `content` holds, checked against its annotations.

    Args:
        where: the file and the place in it, for the message.
        given: names that the caller gives itself; `content` must not hold them.

    Raises:
        KitError: no mapping, an argument that there is not, that is missing or of another type.
    """
    content = checked(dict[str, Any], content, where)
    hints = _hints(function)
    parameters = {
        name: each for name, each in inspect.signature(function).parameters.items() if name not in ("self", *given)
    }
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    known = [name for name, each in parameters.items() if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]
    for name in content:
        if name not in known and not (takes_any and name not in given):
            raise KitError(f"{where}: unknown key {_short(name)}; {near(str(name), known)}")
    for name in known:
        if name not in content and parameters[name].default is inspect.Parameter.empty:
            raise KitError(f"{where}.{name}: is missing")
    return {name: checked(hints.get(name, Any), value, f"{where}.{name}") for name, value in content.items()}


def said(error: ValidationError, where: str) -> str:
    """One line: where in the file, what was expected, what was found."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(map(str, (where, *problem["loc"])))[:300]
    if problem["type"] == "missing":
        return f"{place}: is missing"
    if problem["type"] == "json_invalid":
        return f"{where}: not JSON: {problem['ctx']['error']}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{place}: expected {message}, got {_short(problem['input'])}"


def _short(value: Any) -> str:
    shown = ascii(value) if isinstance(value, str) else repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


@lru_cache(maxsize=256)
def _cached_adapter(kind: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(kind, config=_STRICT)
    except PydanticUserError as error:  # a schema with a configuration of its own
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(kind)
    except PydanticSchemaGenerationError:
        return TypeAdapter(Any)


def _adapter(kind: Any) -> TypeAdapter[Any]:
    try:
        hash(kind)
    except TypeError:
        return TypeAdapter(kind, config=_STRICT)
    return _cached_adapter(kind)


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Annotations of parameters; a class's are its ``__init__``'s. None where a name in them is not to be found."""
    try:
        return get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    except (NameError, TypeError):
        return {}
