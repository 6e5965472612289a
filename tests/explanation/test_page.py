"""An explanation as a page that needs nothing beside it."""

from __future__ import annotations

import pytest
import torch

from tests import toys
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.explanation.explaining import Explanation, Rows, Word, explain
from tinyllava_kit.explanation.page import _between, _places, write_page
from tinyllava_kit.inference.answering import question


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("page") / "llm")


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it_and_quotes_what_it_says(pair, tmp_path):
    model, processor = pair
    [name] = toys.save_pictures(tmp_path, 1)
    file = tmp_path / "<b>.png"
    (tmp_path / name).rename(file)
    asked = question("is <image> <script>?", [Item("image", str(file))], processor)
    files = write_page(explain(model, processor, asked, max_new_tokens=4), processor, tmp_path / "out")
    names = [path.name for path in files]
    assert names == ["index.html", "image-1-attention.png", "image-1-words.png"][: len(names)]
    assert all(path.exists() for path in files)
    page = files[0].read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == len(files) - 1 == page.count("<img")
    assert "<script" not in page
    assert "<b>" not in page
    assert "is &lt;image&gt; &lt;script&gt;?" in page


def words(*texts):
    return tuple(Word(text=text, first=n, last=n + 1, shares=()) for n, text in enumerate(texts))


def explanation(between, *texts):
    return Explanation(question="q", answer="a", choices=(), words=words(*texts), between=between, items=())


def test_each_word_has_its_shares_of_those_before_it():
    between = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.1, 0.4, 0.0]])
    found = _between(explanation(between, "one", "two", "three"))
    assert [row["word"] for row in found] == ["one", "two", "three"]
    largest = [[largest for _, largest in row["shares"]] for row in found]
    assert largest == [[None] * 3, [pytest.approx(0.5), None, None], [pytest.approx(0.25), 1.0, None]]
    assert [share for share, _ in found[2]["shares"]] == pytest.approx([0.1, 0.4, 0.0])


def test_without_a_share_or_a_word_before_there_is_no_table():
    assert _between(explanation(None, "one", "two")) == []
    assert _between(explanation(torch.zeros(1, 1), "one")) == []
    nothing = _between(explanation(torch.zeros(2, 2), "one", "two"))
    assert nothing[1]["shares"] == [(0.0, 0.0), (0.0, None)]


def rows(**others):
    known = {"modality": "image", "source": "a", "part": None, "preprocessor": None, "num_features": 6, "grid": None}
    given = {**known, "sources": None, "attention": None, "nearest": ((), ()), **others}
    return Rows(**given)


def test_it_says_what_is_known_of_where_rows_come_from():
    made = "6 features of the tower became 2 rows of the LLM"
    assert _places(rows()).startswith(f"{made}; each depends on all features")
    assert _places(rows(sources=[[0], [1]])).startswith(f"{made}. A row's attention")
    assert _places(rows(sources=[[0], [1]], grid=(2, 3))).startswith(f"{made}, a raster of 2 x 3. ")
