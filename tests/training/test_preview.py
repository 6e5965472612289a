"""A batch shown: every position stands once, as what the model sees there."""

from __future__ import annotations

import json

import pytest
import yaml

from tests import strokes, toys
from tests.fakes import install
from tinyllava_kit import KitError, assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.training.checks.preview import first_batch, shown_rows, write_page
from tinyllava_kit.training.recipe import Recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("showing")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 9)
    return folder


def shown(place, count, **stage):
    data = {"path": str(place / "rows.json"), **stage.pop("source", {})}
    stage = {"name": "s", "data": data, "train": {"connector.image": "full"}, "batch_size": 2, **stage}
    recipe = {"model": str(place / "model"), "output": str(place / "out"), "stages": [stage]}
    (place / "r.yaml").write_text(yaml.safe_dump(recipe))
    preview = first_batch(Recipe.from_yaml(place / "r.yaml"), count=count)
    return shown_rows(preview), preview.batch, preview.processor


@pytest.mark.parametrize(
    "stage", [{}, {"packing": {"length": 128}, "max_length": 128}, {"group_by_size": True}], ids=str
)
def test_every_position_is_shown_once_as_what_it_is(place, stage):
    rows, batch, processor = shown(place, 2, **stage)
    assert len(rows) == 2
    for number, row in enumerate(rows):
        at = 0
        for sample in row.samples:
            assert sample.start == at
            for span in sample.spans:
                labels = batch["labels"][number, at : at + span.count].tolist()
                assert [label != -100 for label in labels] == [span.kind == "learned"] * span.count
                if span.kind != "item":
                    ids = batch["input_ids"][number, at : at + span.count]
                    assert span.text == processor.decode(ids)
                at += span.count
        assert at + row.padding == batch["input_ids"].shape[1]
    items = [span for row in rows for sample in row.samples for span in sample.spans if span.kind == "item"]
    assert sum(item.count for item in items) == sum(item.num_tokens for item in batch["plan"].items)


def test_samples_that_share_a_row_are_told_apart(place):
    rows, _, _ = shown(place, 1, packing={"length": 128}, max_length=128)
    names = [sample.name for sample in rows[0].samples]
    assert len(names) == len(set(names)) > 1


def test_what_is_learned_is_the_answer(place):
    rows, _, _ = shown(place, 3)
    learned = ["".join(p.text for p in row.samples[0].spans if p.kind == "learned") for row in rows]
    assert ["answer 0" in learned[0], "answer 1" in learned[1], "answer 2" in learned[2]] == [True] * 3
    assert not any("question" in text for text in learned)


def test_the_first_rows_of_a_stream_are_shown(place):
    rows, _, _ = shown(place, 3, max_steps=1, source={"stream": True, "shuffle": 1})
    assert [row.samples[0].name.rpartition("/")[2] for row in rows] == [f"rows.json[{n}] 'row-{n}'" for n in range(3)]


def test_a_page_holds_what_is_shown_and_takes_no_text_for_its_own(place):
    rows, _, _ = shown(place, 2)
    write_page(rows, place / "page.html")
    page = (place / "page.html").read_text()
    assert page.count('<div class="sample">') == 2
    assert page.count('<span class="item">image: 4</span>') == page.count('<img src="data:image/png;base64,') == 3
    assert "image 1: 0.png" in page
    assert '<span class="learned">' in page
    assert "&lt;/s&gt;" in page
    with pytest.raises(KitError, match=r"cannot write '.*no/page\.html': No such file"):
        write_page(rows, place / "no" / "page.html")


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """A model that writes drawings in ids, and two rows in which the assistant draws."""
    folder = tmp_path_factory.mktemp("drawing")
    (folder / "plugin").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        install(folder / "plugin", patch, strokes.DRAWING)
        flags = {"llm": f"llama:{toys.save_llama(folder / 'llm')}", "towers": [], "connectors": []}
        settings = [f"decoder.drawing.grid={strokes.GRID}"]
        for part in assemble(Assembly.from_flags(**flags, decoders=["drawing=points"], settings=settings)):
            part.save_pretrained(folder / "model")
        (folder / "rows.jsonl").write_text(json.dumps({"messages": strokes.drawn("a line", strokes.LINE)}))
        yield folder


@pytest.mark.parametrize("ids", [False, True])
def test_ids_that_the_llm_writes_for_an_item_are_counted_and_named_where_asked(drawing, ids):
    stage = {"name": "s", "data": str(drawing / "rows.jsonl"), "train": {"llm": "lora", "decoder.drawing": "full"}}
    recipe = Recipe.model_validate({"model": str(drawing / "model"), "output": str(drawing / "o"), "stages": [stage]})
    preview = first_batch(recipe, count=1, ids=ids)
    (row,) = shown_rows(preview)
    (written,) = [span for span in row.samples[0].spans if span.kind == "ids"]
    assert row.samples[0].learned >= written.count > 2
    assert sum(span.count for span in row.samples[0].spans) == preview.batch["input_ids"].shape[1]
    about, _, names = written.text.partition(" ids: ")
    assert about.removesuffix(" ids") == f"drawing, {written.count}"
    if ids:
        ranges = preview.processor.grammar.ranges["drawing"]
        numbers = [ranges[name][0] + int(number or 0) for name, _, number in (n.partition(".") for n in names.split())]
        whole = preview.batch["input_ids"][0].tolist()
        at = whole.index(ranges["begin"][0])
        assert numbers == whole[at : at + written.count]
        assert numbers[-1] == ranges["end"][0]
    else:
        assert not names
