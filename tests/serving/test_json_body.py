"""A body as JSON: the same as Python reads, but for what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyllava_kit.serving.api_errors import ApiError
from tinyllava_kit.serving.json_body import read_json
from tinyllava_kit.serving.limits import Limits

LIMITS = Limits(json_values=3000, json_depth=8)
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('a"\\[{,')
)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
def test_what_is_within_the_limits_is_read_as_it_is(value):
    body = json.dumps(value).encode()
    if depth(value) > LIMITS.json_depth:
        with pytest.raises(ApiError, match="the body has more than 8 levels"):
            read_json(body, LIMITS)
    else:
        assert read_json(body, LIMITS) == value


def test_letters_of_texts_are_no_values():
    text = ",[{" * 1000
    assert read_json(json.dumps({"a": text}).encode(), LIMITS) == {"a": text}
    with pytest.raises(ApiError, match="the body holds more than 3000 values"):
        read_json(json.dumps({"a": [0] * 4000}).encode(), LIMITS)


def test_brackets_that_do_not_close_are_no_json():
    for body in (b'{"a": [}', b'{"a": ["', b"{]", b'{"a": "' + b"\\" * 99):
        with pytest.raises(ApiError, match="the body is not JSON"):
            read_json(body, LIMITS)
