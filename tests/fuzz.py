"""Changed files, and what becomes of them: success, one line for the user, or a mistake of the kit.

``changes(value)`` is a strategy of what a program or an editor may make of plain JSON or YAML content, ``documents``
one of whole damaged texts, and ``failures`` tries an action with each in a process of its own, which may take 20
seconds and 4 GB. A few examples, the same each time, where ``TINYLLAVA_FUZZ`` does not say how many.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import hypothesis
from hypothesis import strategies as st

from tinyllava_kit import KitError

SECONDS, BYTES = 20, 4 << 30
SUCCESS, REFUSED = "success", "refused"

# Of every type that JSON and YAML know, with the extremes at which programs break.
JUNK: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**30,
    0.0,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "a",
    "0",
    "None",
    "../../etc/passwd",
    "/dev/zero",
    "org/name",
    "x" * 5000,
    "\x00",
    "\ud800",
    "é\u202e🙂",
    [],
    [None],
    [[]],
    [1, "a", {}],
    [0] * 1000,
    {},
    {"": None},
    {"a": {"b": []}},
    {"name": 1},
)

Path = tuple[Any, ...]


def changes(value: Any, most: int = 3) -> st.SearchStrategy[Any]:
    """`value`, changed at one to `most` places: a key gone or new, another type, another size, nonsense."""

    @st.composite
    def changed(draw: st.DrawFn) -> Any:
        new = copy.deepcopy(value)
        for _ in range(draw(st.sampled_from([1, 1, 1, *range(1, most + 1)]))):
            path = draw(st.sampled_from(list(paths(new))))
            new = _changed(draw, new, path)
        return new

    return changed()


def documents(value: Any, dump: Callable[[Any], str] = json.dumps) -> st.SearchStrategy[bytes]:
    """A file's bytes: `changes` of its content mostly, or its text damaged as a text.

    Args:
        value: plain content.
        dump: writes it. Values that it cannot write stay as they were.
    """
    whole = dump(value)

    def dumped(new: Any) -> bytes:
        try:
            return dump(new).encode("utf-8", "surrogatepass")
        except (ValueError, TypeError, OverflowError):
            return whole.encode()

    content, text = changes(value).map(dumped), damaged(whole)
    return st.integers(0, 8).flatmap(lambda number: content if number else text)


def damaged(text: str) -> st.SearchStrategy[bytes]:
    """A text, cut, empty, in another encoding, with a flipped byte, too deep, with numbers too long."""
    raw = text.encode()
    at = st.integers(0, max(0, len(raw) - 1))
    fixed = [
        b"",
        b"\n",
        b"null",
        b"[]",
        b"{}",
        b'"a"',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe" + text.encode("utf-16-le"),
        b"\xef\xbb\xbf" + raw,
        raw + raw,
        raw + b"\x00",
        raw.replace(b":", b": " + b"9" * 5000 + b', "z":', 1),
    ]
    return st.one_of(
        st.sampled_from(fixed),
        at.map(lambda end: raw[:end]),
        st.tuples(at, st.integers(0, 255)).map(lambda pair: raw[: pair[0]] + bytes([pair[1]]) + raw[pair[0] + 1 :]),
    )


def paths(value: Any, before: Path = ()) -> Iterator[Path]:
    """The places in plain content: its root, its keys and its entries; of long lists the first few."""
    yield before
    if isinstance(value, dict):
        for key in list(value)[:60]:
            yield from paths(value[key], (*before, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 4)):
            yield from paths(value[index], (*before, index))


def _changed(draw: st.DrawFn, value: Any, path: Path) -> Any:
    old = _at(value, path)
    junk = st.sampled_from(JUNK).map(copy.deepcopy)
    ways: list[st.SearchStrategy[Any]] = [junk, junk, st.sampled_from(_twisted(old))]
    if isinstance(old, dict):
        ways.append(st.tuples(st.sampled_from([*old, "new", ""]), junk).map(lambda pair: {**old, pair[0]: pair[1]}))
    if path and draw(st.integers(0, 4)) == 0:
        return _without(value, path)
    return _with(value, path, draw(st.one_of(*ways)))


def _twisted(old: Any) -> list[Any]:
    """What a value becomes by a mistake: wrapped, as text, a number for a truth, a list for a mapping."""
    twisted: list[Any] = [[old], {"a": old}, str(old)[:1000]]
    if isinstance(old, bool):
        return [*twisted, int(old), not old]
    if isinstance(old, (int, float)):
        return [*twisted, -old, old + 1, float(old) + 0.5, old * 10**9, bool(old)]
    if isinstance(old, str):
        return [*twisted, old.upper(), f"{old} ", old * 100, old[::-1]]
    if isinstance(old, list):
        return [*twisted, old[:-1], old + old, dict(enumerate(map(str, old))), old[::-1]]
    if isinstance(old, dict):
        return [*twisted, list(old), [list(pair) for pair in old.items()]]
    return twisted


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _with(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    _at(value, path[:-1])[path[-1]] = new
    return value


def _without(value: Any, path: Path) -> Any:
    del _at(value, path[:-1])[path[-1]]
    return value


# What becomes of them.


class Outcome(NamedTuple):
    """`kind`: SUCCESS, REFUSED (a `KitError`), or what went wrong, which `detail` describes."""

    kind: str
    detail: str = ""


def outcome(action: Callable[[], Any], *, seconds: float = SECONDS, num_bytes: int = BYTES) -> Outcome:
    """What becomes of an action in a process of its own, which is limited and leaves nothing behind in this one."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the child takes no thread of this one with it, and wants none
        child = os.fork()
    if child == 0:
        _in_child(action, writing, num_bytes)
    os.close(writing)
    said = _read_until(reading, time.monotonic() + seconds)
    os.close(reading)
    if said is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if said is None:
        return Outcome("endless", f"not done after {seconds} s")
    if not said:
        return Outcome("killed", f"wait status {status}")
    kind, _, detail = said.decode("utf-8", "replace").partition("\n")
    return Outcome(kind, detail)


def _in_child(action: Callable[[], Any], writing: int, num_bytes: int) -> None:
    """Runs the action and never returns."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_size() + num_bytes,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        try:
            action()
            said = SUCCESS
        except KitError as error:
            said = f"{REFUSED}\n{error}"
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1:]
            where = "".join(f"{frame.filename}:{frame.lineno}" for frame in last)
            said = f"{type(error).__name__}\n{str(error)[:300]} ({where})"
        os.write(writing, said.encode("utf-8", "replace")[:60_000])
    finally:
        os._exit(0)


def _read_until(reading: int, deadline: float) -> bytes | None:
    """All that the child says; None where it does not end."""
    said = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            return None
        if not (piece := os.read(reading, 65536)):
            return said
        said += piece
    return None


def _size() -> int:
    """The bytes of this process's address space."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def number_of_changes(few: int = 6) -> int:
    """How many changes are tried: what ``TINYLLAVA_FUZZ`` says, or `few`."""
    return int(os.environ.get("TINYLLAVA_FUZZ", few))


def examples(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """`count` examples of a strategy, the same each time."""
    found: list[Any] = []

    @hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def keep(example: Any) -> None:
        found.append(example)

    keep()
    return found


def failures(changed: st.SearchStrategy[Any], action: Callable[[Any], Any], *, few: int = 6) -> list[str]:
    """What went wrong, a line each: any exception but a `KitError`, too long, too much memory.

    With ``TINYLLAVA_FUZZ_SHOW``, how many of each kind there were is printed.
    """
    found = examples(changed, number_of_changes(few))
    tried = [(example, outcome(partial(action, example))) for example in found]
    if os.environ.get("TINYLLAVA_FUZZ_SHOW"):
        print(len(tried), dict(Counter(each.kind for _, each in tried)), file=sys.stderr)
    return [
        f"{result.kind}: {result.detail}\n    from {str(example)[:2000]!r}"
        for example, result in tried
        if result.kind not in (SUCCESS, REFUSED)
    ]
