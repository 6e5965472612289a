"""A YAML file that a user wrote: a mapping of plain values, however it is written. Light."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable
from typing import Any

import yaml

from ..errors import KitError, shown
from .opening import open_file
from .paths import meant
from .printable import one_line

MOST_BYTES, MOST_VALUES, MOST_DEPTH = 300_000, 100_000, 50
_BITS = 63


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A YAML file that holds a mapping of text, numbers, truth values, lists and mappings.

    A date is the text that it is written as.

    Raises:
        KitError: missing, not YAML (with line and column), a key twice or that is no text, not a mapping, or larger
            than anybody writes one, with its anchors expanded.
    """
    try:
        with open_file(path) as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise KitError(f"{path}: has more than {MOST_BYTES:,} bytes; expected a file that a person writes")
        data = yaml.load(raw.decode("utf-8-sig"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        advice = meant(str(path), files=True) if isinstance(error, FileNotFoundError) else ""
        said = f"{getattr(error, 'strerror', None) or error}; {advice}".removesuffix("; ")
        raise KitError(f"cannot read {shown(str(path))}: {said}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        kind = "" if isinstance(error, _Refused) else "not YAML: "
        raise KitError(f"{path}{at}: {kind}{one_line(getattr(error, 'problem', None) or str(error))}") from error
    if not isinstance(data, dict):
        raise KitError(f"{path}: needs a mapping, got {type(data).__name__}")
    return data


def read_value(text: str, where: str) -> Any:
    """A value as a YAML file may hold it, from a command line.

    Raises:
        KitError: not YAML, or more than a file may hold; names `where` it stands.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        problem = one_line(getattr(error, "problem", None) or str(error))
        raise KitError(f"{where}: {shown(text)} is not YAML: {problem}") from error


class _Refused(yaml.MarkedYAMLError):
    """YAML, and more than a user's file may hold."""


class _Loader(yaml.SafeLoader):
    """Composes no more values than there may be, with those of aliases, and makes plain ones of them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of nodes, by identity; a node that is not done has none

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        mark: Any = event.start_mark
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _Refused(None, None, f"more than {MOST_DEPTH} levels deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise _Refused(None, None, "an alias of a value that contains it", mark)
        elif node is not None:
            self._sizes[id(node)] = size = 1 + sum(self._sizes[id(each)] for each in _inside(node))
            if size > MOST_VALUES:
                raise _Refused(None, None, f"more than {MOST_VALUES:,} values", mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if key.tag != _TEXT:
                what = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                raise _problem(f"a key that is no text, {what}; write it in quotes", key)
            if key.value in seen:
                raise _problem(f"{key.value!r} is given twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        text = str(self.construct_scalar(node))
        if "\0" in text:
            raise _problem("a text that holds a NUL", node)
        return text

    def construct_int(self, node: yaml.ScalarNode) -> int:
        try:
            number: int = self.construct_yaml_int(node)
        except (ValueError, IndexError) as error:
            raise _problem("a number that cannot be read", node) from error
        if number.bit_length() > _BITS:
            raise _problem(f"a number of more than {_BITS} bits", node)
        return number

    def construct_float(self, node: yaml.ScalarNode) -> float:
        try:
            number: float = self.construct_yaml_float(node)
        except (ValueError, IndexError) as error:
            raise _problem("a number that cannot be read", node) from error
        if not math.isfinite(number):
            raise _problem("a number that is not finite", node)
        return number

    def construct_truth(self, node: yaml.ScalarNode) -> bool:
        truth = self.bool_values.get(str(self.construct_scalar(node)).lower())
        if truth is None:
            raise _problem("neither true nor false", node)
        return truth

    def refuse(self, node: yaml.Node) -> None:
        raise _problem(f"{node.tag!r} is not read; write text, a number, true, false, a list or a mapping", node)


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"


def _problem(what: str, node: yaml.Node) -> _Refused:
    return _Refused(None, None, what, node.start_mark)


_Loader.yaml_constructors = {
    "tag:yaml.org,2002:map": _Loader.construct_yaml_map,
    "tag:yaml.org,2002:seq": _Loader.construct_yaml_seq,
    _TEXT: _Loader.construct_text,
    "tag:yaml.org,2002:null": _Loader.construct_yaml_null,
    "tag:yaml.org,2002:timestamp": _Loader.construct_text,
    "tag:yaml.org,2002:int": _Loader.construct_int,
    "tag:yaml.org,2002:float": _Loader.construct_float,
    "tag:yaml.org,2002:bool": _Loader.construct_truth,
    None: _Loader.refuse,
}
