"""The harness of changed files finds what it is there to find."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.fuzz import REFUSED, SUCCESS, changes, documents, examples, failures, outcome
from tinyllava_kit import KitError

pytestmark = pytest.mark.slow

CONTENT = {"a": 1, "b": {"c": [1, 2, 3], "d": "text"}, "e": True}


def _refuse() -> None:
    raise KitError("b.c: expected a list")


def test_outcomes_are_told_apart() -> None:
    assert outcome(lambda: None).kind == SUCCESS
    assert outcome(_refuse) == (REFUSED, "b.c: expected a list")
    assert outcome(lambda: {}["a"]).kind == "KeyError"
    assert outcome(lambda: time.sleep(60), seconds=0.2).kind == "endless"
    assert outcome(lambda: bytearray(1 << 32), num_bytes=1 << 30).kind == "MemoryError"


def test_changes_reach_every_place_and_leave_the_content_as_it_was() -> None:
    before = json.dumps(CONTENT)
    found = examples(changes(CONTENT), 300)
    assert json.dumps(CONTENT) == before
    mappings = [each for each in found if isinstance(each, dict)]
    assert len(mappings) < len(found)  # the whole may be anything
    for key in CONTENT:
        assert any(key not in each for each in mappings), key
        assert len({str(each.get(key)) for each in mappings}) > 10, key
    assert any(isinstance(each.get("b"), dict) and each["b"].get("c") != [1, 2, 3] for each in mappings)


def test_documents_are_bytes_of_which_some_are_no_json() -> None:
    def parses(content: bytes) -> bool:
        try:
            json.loads(content)
        except (ValueError, RecursionError):
            return False
        return True

    found = examples(documents(CONTENT), 200)
    assert all(isinstance(each, bytes) for each in found)
    assert {parses(each) for each in found} == {True, False}


def test_failures_are_lines_with_the_place_and_the_example() -> None:
    def read(content: Any) -> None:
        if not isinstance(content, dict):
            raise KitError("expected a mapping")
        content["a"] + 1

    found = failures(changes(CONTENT), read, few=30)
    assert found
    assert all("test_fuzz.py" in line and "from " in line for line in found)
    assert not failures(changes(CONTENT), lambda _: None, few=10)
