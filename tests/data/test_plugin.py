"""The readers that the kit ships: each is there and reads what its endings say, and no two claim one."""

from __future__ import annotations

import importlib.util
from collections import Counter

import pytest

from tinyllava_kit.data.plugin import tinyllava_readers
from tinyllava_kit.data.rows import iterate_rows
from tinyllava_kit.plugin.specs import load

WRITTEN = {  # a row of one text, {"a": "b"}
    ".json": '[{"a": "b"}]',
    ".jsonl": '{"a": "b"}\n',
    ".csv": "a\nb\n",
    ".tsv": "a\nb\n",
}


def test_no_two_readers_claim_an_ending_and_each_can_be_loaded():
    specs = tinyllava_readers()
    assert set(Counter(suffix for spec in specs for suffix in spec.suffixes).values()) == {1}
    assert set(Counter(spec.name for spec in specs).values()) == {1}
    for spec in specs:
        assert callable(load(spec))
        assert all(importlib.util.find_spec(package) for package in spec.packages)


@pytest.mark.parametrize(
    "spec", [s for s in tinyllava_readers() if s.suffixes and {*s.suffixes} <= {*WRITTEN}], ids=lambda spec: spec.name
)
def test_a_text_file_of_every_ending_is_read(spec, tmp_path):
    for suffix in spec.suffixes:
        (tmp_path / f"a{suffix}").write_text(WRITTEN[suffix])
        assert list(load(spec)(tmp_path / f"a{suffix}")) == list(iterate_rows(tmp_path / f"a{suffix}")) == [{"a": "b"}]
