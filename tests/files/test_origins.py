"""What a file says of where something came from."""

from __future__ import annotations

import pytest

from tinyllava_kit.files.origins import origin, row_of, said_of, sealed, without_places, word_of


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("org/name", "org/name"),
        ("models/llm", "models/llm"),
        ("../llm", "../llm"),
        ("", ""),
        ("/home/me/llm", "llm"),
        ("/home/me/llm/", "llm"),
        ("~/my models/the llm", "the llm"),
        ("/data/{000..012}.tar", "{000..012}.tar"),
        ("/c/hub/models--org--name/snapshots/1f2e", "org/name"),
    ],
)
def test_an_origin_is_a_name_or_relative(place: str, name: str) -> None:
    assert origin(place) == name
    assert origin(name) == name


def test_a_sealed_origin_tells_folders_apart() -> None:
    assert sealed("rows.json") == "rows.json"
    assert sealed("/a/rows.json") != sealed("/b/rows.json")
    assert "/" not in sealed("/a/rows.json")
    assert sealed(sealed("/a/rows.json")) == sealed("/a/rows.json")


def test_configurations_are_cleaned_at_any_depth() -> None:
    config = {"llm": {"checkpoint": "/a/b", "config": {"_name_or_path": "/c/d", "path": "/e"}}, "towers": None, "n": 1}
    cleaned = {"llm": {"checkpoint": "b", "config": {"_name_or_path": "d", "path": "/e"}}, "towers": None, "n": 1}
    assert without_places(config) == cleaned


def test_a_relative_folder_that_is_there_is_no_name_of_the_hub(tmp_path, monkeypatch) -> None:
    (tmp_path / "models" / "llm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = {"llm": {"checkpoint": "models/llm"}, "towers": {"image": {"checkpoint": "org/tower"}}}
    cleaned = without_places(config)
    assert cleaned == {"llm": {"checkpoint": "llm"}, "towers": {"image": {"checkpoint": "org/tower"}}}
    assert without_places(cleaned) == cleaned


def test_words_and_rows_keep_what_is_no_folder() -> None:
    assert word_of("--root=/a/b") == "--root=b"
    assert word_of("https://host/x") == "https://host/x"
    assert word_of("learning_rate=1e-3") == "learning_rate=1e-3"
    assert row_of("/a/rows.json[3] 'coco/1.jpg'") == "rows.json[3] 'coco/1.jpg'"
    assert row_of("data/rows.json[0]") == "data/rows.json[0]"
    assert row_of("/a[1]/b [2]/rows.json[3] 'x[4]'") == "rows.json[3] 'x[4]'"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "/a b/r.json[3] 7",
            "/a b/r.json[3] 7: role 'x'; did you mean 'user'?",
            "r.json[3] 7: role 'x'; did you mean 'user'?",
        ),
        ("/a/r.json[3]", "cannot open '/a/images/1.png': no such file", "cannot open 'images/1.png': no such file"),
        ("/a/r.json[3]", "cannot open '/o ther/x/1.png': no such file", "cannot open '1.png': no such file"),
        ("/a/r.json[3]", "see /b/c/out/skipped.jsonl, line 2", "see skipped.jsonl, line 2"),
        ("r.json[3]", "in \"/b/c.png\" and '~/d/e.png'", "in \"c.png\" and 'e.png'"),
        ("org/name[3]", "'https://x.org/a/b.png' <image></image> and/or 1/2/3", ...),
        ("data/r.json[3]", "data/r.json[3]: 'data/images/1.png' is truncated", ...),
    ],
)
def test_what_is_said_of_a_row_holds_no_folder_of_this_machine(name, text, said) -> None:
    assert said_of(name, text) == (text if said is ... else said)
