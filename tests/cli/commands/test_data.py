"""``tinyllava data``: what it prints, and its exit codes."""

from __future__ import annotations

import json

import pytest
import yaml

from tests import toys
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    toys.save_picture_model(folder)
    toys.picture_rows(folder)
    stage = {"name": "s", "data": str(folder / "rows.json"), "train": {"connector.image": "full"}, "batch_size": 2}
    recipe = {"model": str(folder / "model"), "output": str(folder / "out"), "stages": [stage]}
    (folder / "fine.yaml").write_text(yaml.safe_dump(recipe))
    rows = [
        {"conversations": [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "that"}]},
        {"image": "no.png", "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}]},
    ]
    (folder / "bad.json").write_text(json.dumps(rows))
    stage["data"] = str(folder / "bad.json")
    (folder / "bad.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture
def tinyllava(capfd):
    def run(*words):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main([*map(str, words)])
        return ended.value.code or 0, *capfd.readouterr()

    return run


def test_check_lists_what_is_wrong_and_ends_with_2(place, tinyllava):
    code, out, err = tinyllava("data", "check", place / "bad.yaml")
    assert code == 2
    first, *rest = out.splitlines()
    assert first == f"{place}/bad.json[1]: image '{place}/no.png' does not exist; give the path of a picture"
    assert "  rows that cannot be used    1" in rest
    assert err.splitlines()[-1] == "1 finding(s)"


def test_check_of_good_data_ends_with_0(place, tinyllava):
    code, out, _ = tinyllava("data", "check", place / "fine.yaml", "--headers")
    assert code == 0
    assert out.splitlines()[0] == "stage s"
    assert "  steps                       3" in out.splitlines()


def test_check_as_json(place, tinyllava):
    code, out, _ = tinyllava("data", "check", place / "bad.yaml", "--json")
    (report,) = json.loads(out)
    assert (code, report["stage"], report["rows"], len(report["findings"])) == (2, "s", 2, 1)


def test_a_stage_that_is_not_there_is_one_line(place, tinyllava):
    for what in ("check", "show"):
        code, _, err = tinyllava("data", what, place / "fine.yaml", "--stage", "t")
        assert (code, err) == (2, "error: the recipe has no stage 't'; it has s\n")


def test_show_prints_rows_with_their_items_and_what_is_learned(place, tinyllava):
    code, out, _ = tinyllava("data", "show", place / "fine.yaml", "-n", 2)
    assert code == 0
    assert out.count("[image: 4]") == 3
    assert "«answer 0</s>»" in out
    assert "-- " + f"{place}/rows.json[1] 'row-1'" in out


def test_show_writes_a_page(place, tinyllava):
    code, out, err = tinyllava("data", "show", place / "fine.yaml", "--html", place / "page.html")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == f"wrote {place / 'page.html'}"
    assert (place / "page.html").read_text().startswith("<!doctype html>")


def test_no_subcommand_shows_the_help(tinyllava):
    code, out, err = tinyllava("data")
    assert "check" in out + err
    assert code in (0, 2)
    code, _, err = tinyllava("data", "chek")
    assert code == 2
    assert err.startswith("error: No such command 'chek'")
