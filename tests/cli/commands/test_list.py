"""``tinyllava list``: a row for each component, as wide as the terminal."""

from __future__ import annotations

import json

import pytest

from tests.cli.running import run
from tests.fakes import FakeSite, modality, offering, tower
from tinyllava_kit_cli import printing

pytestmark = pytest.mark.usefixtures("core")


def test_list_is_a_table_of_kind_name_owner_and_summary(site: FakeSite) -> None:
    llm = "LanguageModelSpec(name='tiny', target='a:b', summary='a small one')"
    site.plugin("noses", tower("nose") + modality("smell") + offering("tinyllava_llms", llm))
    assert run("list").stdout.splitlines() == [
        "modality  smell  tinyllava-kit-noses 0.1.0",
        "tower     nose   tinyllava-kit-noses 0.1.0",
        "llm       tiny   tinyllava-kit-noses 0.1.0  a small one",
    ]
    assert run("list", "llm").stdout == "llm  tiny  tinyllava-kit-noses 0.1.0  a small one\n"
    assert run("list").stderr == ""


def test_list_says_how_many_plugins_need_attention_and_where_to_look(site: FakeSite) -> None:
    site.plugin("good", tower("nose"))
    site.plugin("bad", "1 / 0")
    site.plugin("future", "", group="tinyllava_kit.plugins.v2")
    result = run("list")
    assert result.exit_code == 0
    assert result.stdout == "tower  nose  tinyllava-kit-good 0.1.0\n"
    assert result.stderr == "2 plugin(s) need attention; run 'tinyllava doctor'\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_list_fits_the_terminal_and_loses_nothing(site: FakeSite, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    summary = "looks at each of the patches of what it is given, and at no other, " * 2
    llm = f"LanguageModelSpec(name='a_long_name_of_a_model', target='a:b', summary={summary.strip()!r})"
    site.plugin("noses", tower("nose") + offering("tinyllava_llms", llm))
    whole = run("list").stdout
    monkeypatch.setattr(printing, "terminal_width", lambda: width)
    said = run("list").stdout
    assert max(map(len, said.splitlines())) <= width
    assert sorted(said.split()) == sorted(whole.split())
    assert (said == whole) == (width == 200)


def test_a_conflict_is_one_row_with_both_owners(site: FakeSite) -> None:
    site.plugin("left", tower("nose"))
    site.plugin("right", tower("nose"))
    result = run("list")
    assert result.stdout == (
        "tower  nose  CONFLICT  offered by tinyllava-kit-left, tinyllava-kit-right: write DISTRIBUTION/nose\n"
    )
    assert result.stderr.startswith("2 plugin(s) need attention")


def test_list_as_json_has_a_row_for_each_offer(site: FakeSite) -> None:
    site.plugin("left", tower("nose"))
    site.plugin("right", tower("nose"))
    rows = json.loads(run("list", "tower", "--json").stdout)
    both = ["tinyllava-kit-left", "tinyllava-kit-right"]
    assert rows[0] == {
        "kind": "tower",
        "name": "nose",
        "distribution": "tinyllava-kit-left",
        "version": "0.1.0",
        "plugin": "left",
        "summary": "",
        "conflict": both,
    }
    assert [row["distribution"] for row in rows] == both


def test_an_empty_list_says_so_on_stderr() -> None:
    result = run("list", "decoder")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr == "no decoder is installed; add a plugin with pip install\n"
    assert run("list", "decoder", "--json").stdout == "[]\n"


def test_an_unknown_kind_gets_the_near_one() -> None:
    result = run("list", "towers")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: no kind of component is called 'towers'; did you mean 'tower'?\n"


# info


# doctor


# the frame
