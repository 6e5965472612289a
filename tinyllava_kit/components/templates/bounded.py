"""Jinja that ends: templates come with checkpoints, and a line of one may loop for years or fill the memory.

transformers' sandbox keeps a template from the machine and leaves it its time. Here each turn of a loop, each call,
filter and operator costs steps, by the size of what it works on, and no value may become larger than a conversation is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from datetime import datetime
from functools import lru_cache, partial
from threading import get_ident
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_STEPS = 300_000  # of a rendering: some turn each loop a few times for each message
MAX_SIZE = 16 << 20  # characters of a text, items of a list, of the whole; more than an LLM can read
_AT_ONCE = 1 << 10  # characters that a step works on
_MAX_LOOKS = 100_000  # at the items within a value
_MAX_BITS = 1 << 12  # of a number
# Filters and methods that read a value, and do not write it.
_LOOKING = {
    *("count", "default", "d", "dictsort", "first", "get", "items", "keys", "last", "length", "list", "map", "reject"),
    *("rejectattr", "reverse", "select", "selectattr", "sort", "unique", "values"),
}
_WIDTH = re.compile(r"\d{6}|\*")  # in a format


class Endless(TemplateError):
    """A template that was stopped."""


def render(template: str, variables: Mapping[str, Any]) -> str:
    """What a chat template makes of its variables, with the filters and functions that transformers gives it.

    Raises:
        TemplateError: it is not jinja, refuses the variables, or was stopped: `Endless`.
    """
    compiled = _compiled(template, get_ident())
    environment = compiled.environment
    assert isinstance(environment, Bounded)
    environment.steps = environment.size = 0
    try:
        return "".join(compiled.generate(**variables))
    except (RecursionError, MemoryError, OverflowError) as error:
        raise Endless(f"it goes past its bounds ({type(error).__name__})") from error


class Bounded(ImmutableSandboxedEnvironment):
    """A sandbox in which everything that may take long is counted."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.steps = self.size = 0
        self.turn = 1  # steps of a turn of a loop or a call, which may write all that the template holds
        self.finalize = self._written
        self.filters = {name: _counted(self, name, made) for name, made in self.filters.items()}
        self.filters |= {"_turns": self._turns, "_joined": self._joined}

    def spend(self, steps: int, size: int = 0) -> None:
        """Count steps and characters of a rendering, within its bounds.

        Raises:
            Endless: more steps than a rendering has, or more text.
        """
        self.steps += steps
        self.size += size
        if self.steps > MAX_STEPS:
            raise Endless("it loops without an end in sight")
        if self.size > MAX_SIZE:
            raise Endless("it writes without an end in sight")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        self.turn = 1 + len(source) // _AT_ONCE
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = _filter(loop.iter, "_turns")
        for joined in list(tree.find_all(nodes.Concat)):  # a ~ b cannot be intercepted
            joined.nodes = [_filter(nodes.List(joined.nodes), "_joined")]
        return tree

    def _turns(self, values: Any) -> Any:
        if isinstance(values, Sized):
            self.spend(len(values) * self.turn)
            return values
        return self._endless_turns(values)

    def _endless_turns(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self.spend(self.turn)
            yield value

    def _written(self, value: Any) -> Any:
        size = _length(value)
        self.spend(size // _AT_ONCE, size)
        return value

    def _joined(self, values: list[Any]) -> str:
        self.check("~", sum(_length(value) for value in values))
        return "".join(map(str, values))

    def check(self, what: str, size: int) -> None:
        """Count a step that makes a value of `size` characters or items, before it runs.

        Raises:
            Endless: the value would be larger than `MAX_SIZE`.
        """
        if size > MAX_SIZE:
            raise Endless(f"{what!r} would make a value of {size} characters or items")
        self.spend(1 + size // _AT_ONCE)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = [value for value in (left, right) if isinstance(value, int)]
        sizes = [_items(value) for value in (left, right) if not isinstance(value, int)]
        if len(numbers) == 2:
            bits = (
                left.bit_length() * max(abs(right), 1) if operator == "**" else left.bit_length() + right.bit_length()
            )
            if bits > _MAX_BITS:
                raise Endless(f"{operator!r} would make a number of {bits} bits")
        elif operator == "*" and sizes and numbers:
            self.check("*", sizes[0] * max(numbers[0], 0))
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
            self.check("%", len(left) + _length(right) * max(left.count("%"), 1))
        else:
            self.check(operator, sum(sizes))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, called: Any, *args: Any, **kwargs: Any) -> Any:
        self.spend(self.turn)
        method = getattr(called, "__wrapped__", called)  # the sandbox's own format
        _check_call(self, getattr(method, "__name__", ""), getattr(method, "__self__", None), args, kwargs)
        return super().call(context, called, *args, **kwargs)


def _filter(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None)


def _counted(environment: Bounded, name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is counted before it runs; what jinja hands it first (its context) stays first."""
    handed = int(getattr(made, "jinja_pass_arg", None) is not None)

    def counted(*args: Any, **kwargs: Any) -> Any:
        value, rest = args[handed], args[handed + 1 :]
        if isinstance(value, Iterator):
            value = [*environment._endless_turns(value)]
        _check_call(environment, name, value, rest, kwargs)
        return made(*args[:handed], value, *rest, **kwargs)

    counted.__dict__.update(getattr(made, "__dict__", {}))
    return counted


def _check_call(environment: Bounded, name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Estimate the size of what a call returns, and count it before the call runs.

    Raises:
        Endless: a method or filter of that name would make of `value` more than a value may be.
    """
    given = [*args, *kwargs.values()]
    numbers = [abs(each) for each in given if isinstance(each, int)]
    measure = _items if value is None or name in _LOOKING else _length
    size = measure(value) + sum(map(measure, given))
    if name == "replace" and isinstance(value, str) and len(args) > 1 and isinstance(args[0], str):
        size += value.count(args[0]) * _length(args[1])
    elif name == "join":
        items, between = (
            (given[0] if given else "", value) if isinstance(value, str) else (value, given[0] if given else "")
        )
        items = items if isinstance(items, (list, tuple, Mapping, str)) else ()
        size += sum(_length(each) for each in items) + len(items) * _length(between)
    elif name in ("format", "format_map"):
        _check_format(value)
        size *= 1 + (value.count("{") + value.count("%") if isinstance(value, str) else 0)
        size += max([*numbers, 0])  # which may be a width
    elif name in ("indent", "wordwrap", "tojson", "expandtabs", "translate", "batch", "slice", "lipsum", "pprint"):
        size = (1 + _length(value)) * (1 + max([*numbers, *map(_length, given), 4]))
    elif numbers:  # a width, a start, a number of times
        size += max(numbers) if name in ("center", "ljust", "rjust", "zfill", "range", "round", "truncate") else 0
    environment.check(name or "a call", size)


def _check_format(text: Any) -> None:
    if isinstance(text, str) and _WIDTH.search(text):
        raise Endless("a format asks for a width of its own")


def _items(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple, Mapping, range)) else 1


def _length(value: Any) -> int:
    """Characters and items of a value, those of lists and mappings within counted: what writing it takes.

    A list may hold another twice, and that one a third, and so on: no more than a rendering's steps are looked at.
    """
    waiting, size, looks = [value], 0, 0
    while waiting:
        each, looks = waiting.pop(), looks + 1
        size += _items(each)
        if isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple)):
            waiting += each
        if looks > _MAX_LOOKS or size > MAX_SIZE:
            return MAX_SIZE + 1
    return size


class _Generation(Extension):
    """``{% generation %}``: marks learned text, for programs that ask; here its content alone."""

    tags = {"generation"}  # noqa: RUF012 (as jinja declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Plain(Namespace):
    """A namespace without names that begin with an underscore: such reach into Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        attributes = dict(*args[1:], **kwargs)
        list(map(_check_name, attributes))
        Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a name that begins with an underscore: {name!r}")


def _refuse(message: Any) -> NoReturn:
    raise TemplateError(str(message))


def _to_json(value: Any, ensure_ascii: bool = False, **how: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **how)


@lru_cache(maxsize=32)
def _compiled(template: str, thread: int) -> Template:
    """Each thread has its own, with a count of its own."""
    environment = Bounded(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _counted(environment, "tojson", _to_json)
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "namespace": _Plain,
        "dict": partial(dict),
    }
    environment.globals.pop("lipsum", None)
    try:
        return environment.from_string(template)
    except (RecursionError, MemoryError, SyntaxError, ValueError) as error:  # of Python's compiler
        raise Endless(f"it goes past its bounds ({type(error).__name__})") from error
