"""What a stage leaves for a reader: a card of facts, a page with curves and answers, the history of the model."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import yaml

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.card import CARD_MARK, card, write_card
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.core.conversation import Conversation, Item, Turn
from tinyllava_kit.data.sources import Source
from tinyllava_kit.training.output.history import StageRecord, _command_line
from tinyllava_kit.training.output.recorded_settings import check_same, settings_of, write_settings
from tinyllava_kit.training.output.report import Answered, report
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcome")
    toys.save_picture_model(folder)
    rows = str(toys.picture_rows(folder))
    stage = {"data": rows, "max_steps": 3, "batch_size": 3, "logging_steps": 1}
    first = {"name": "first", "train": {"connector.image": "full"}, **stage}
    second = {
        "name": "second",
        "train": {"llm": "lora", "connector.image": {"mode": "full", "weight_decay": 0.1}},
        **stage,
    }
    recipe = {"model": str(folder / "model"), "output": str(folder / "out"), "stages": [first, second]}
    run_recipe(Recipe.model_validate(recipe))
    return folder / "out"


class Page(HTMLParser):
    """Tags that are open, and those that were seen; fails where they do not nest."""

    void = ("meta", "img", "polyline")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_has_curves_answers_parts_and_the_command(place):
    page = Page()
    page.feed((place / "second" / "run.html").read_text(encoding="utf-8"))
    assert not page.open
    text = " ".join(page.text)
    assert {"polyline", "table", "img"} <= set(page.seen)
    assert page.seen.count("svg") == 3  # loss, rate, speed
    for said in ("stage second", "loss_image", "learning rate", "3 steps", "connector.image", "lora", "question 0?"):
        assert said in text
    assert _command_line() in text  # that was typed
    model, processor = load_pretrained(place / "second")
    asked = [{"role": "user", "content": "no picture 2?"}]
    ids = model.generate(**processor(asked), max_new_tokens=64, do_sample=False, pad_token_id=0)
    said = processor.decode(ids[0][processor(asked)["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert said in text


def test_what_may_be_given_away_names_no_folder_of_this_machine(place, monkeypatch):
    for file in (place / "second").rglob("*"):
        if file.is_file() and "checkpoints" not in file.parts:
            assert str(place.parent).encode() not in file.read_bytes(), file.name
    config = json.loads((place / "second" / "config.json").read_text())
    assert (config["llm"]["checkpoint"], config["towers"]["image"]["checkpoint"]) == ("llm", toys.CLIP.name)
    (stage,) = json.loads((place / "first" / "training.json").read_text())
    assert stage["settings"]["data"][0]["path"] == stage["recipe"]["data"][0]["path"] == "rows.json"
    monkeypatch.setattr("sys.argv", ["/usr/bin/tinyllava", "train", "/home/me/a recipe.yaml", "--stage=/x/joint"])
    assert _command_line() == "tinyllava train 'a recipe.yaml' --stage=joint"


def test_a_stage_knows_its_settings_without_their_folders(place, tmp_path):
    stage = Recipe.model_validate(
        {"model": "m", "output": "o", "stages": [{"name": "s", "data": "/data/rows.json", "train": {"llm": "full"}}]}
    ).stages[0]
    settings = settings_of(stage, place, 0)
    write_settings(settings, tmp_path)
    assert "/data" not in (tmp_path / "stage.json").read_text()
    check_same(settings, stage, tmp_path)
    (tmp_path / "stage.json").write_text(json.dumps(settings))  # as a version before wrote it
    check_same(settings, stage, tmp_path)
    other = settings_of(stage.model_copy(update={"data": (Source(path="/other/rows.json"),)}), place, 0)
    with pytest.raises(KitError, match=r"was trained with data .*rows.json \(in a folder of digest "):
        check_same(other, stage, tmp_path)


def test_text_of_others_cannot_write_the_card(place, tmp_path):
    attack = "a | <img src=x> [b](http://c) `d` *e*\n# f \x1b[2J"
    config = json.loads((place / "first" / "config.json").read_text())
    config["towers"]["image"]["licence"] = attack
    (tmp_path / "config.json").write_text(json.dumps(config))
    history = json.loads((place / "first" / "training.json").read_text())
    history[0]["recipe"]["data"] = [{"path": "```\n<img>\n````"}]
    history[0]["command"] = "tinyllava `<img>`"
    (tmp_path / "training.json").write_text(json.dumps(history))
    text = card(tmp_path, [attack])
    row = next(line for line in text.split("\n") if line.startswith("| tower.image"))
    said = r"a \| &lt;img src=x&gt; \[b\](http://c) \`d\` \*e\* # f \\x1b\[2J"
    assert row.endswith(f"| {said} |")
    assert f"- {said}\n" in text
    assert "- command: `tinyllava '<img>'`\n" in text
    assert "\n`````yaml\n" in text


def test_text_of_the_data_cannot_write_the_page(tmp_path):
    turns = (Turn("user", "<script>\x00</p>"), Turn("assistant", "&"))
    answered = Answered(Conversation(turns, (Item("<b>", tmp_path / "no.png"),), "<i>"), "</div>")
    record = StageRecord(
        name="<u>", command="<s>", settings={}, recipe={"name": "</pre><s>"}, parts=(), samples=1, skipped=0, steps=1,
        seconds=1.0, device="<s>", loss=0.5,
    )  # fmt: skip
    page = Page()
    page.feed(report(record, [], [answered]))
    assert not page.open
    assert not {"script", "i", "u", "s"} & set(page.seen)
    assert "<script>" in "".join(page.text)


def test_the_card_has_the_facts_and_no_more(place):
    text = (place / "second" / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["tinyllava_kit", "image"],
    }
    config = json.loads((place / "second" / "config.json").read_text())
    tower, connector = config["towers"]["image"], config["connectors"]["image"]
    options = " (depth=2)" if connector.get("options") == {"depth": 2} else ""
    row = f"| tower.image | clip | {tower['distribution']} {tower['version']} | {tower['checkpoint']} | not recorded |"
    assert row in body
    assert (
        f"| connector.image | mlp2x_gelu{options} | {connector['distribution']} {connector['version']} | - | - |"
        in body
    )
    assert body.index("## Stage first") < body.index("## Stage second")
    assert re.search(r"- trained: connector.image \(full, [\d,]+ parameters\)\n", body)
    assert re.search(r"- 3 steps in 0:00:\d\d on .*, last loss \d", body)
    assert re.search(r"- AdamW, learning rate \S+ \(connector.image\), \w+, warm-up \d+%; batches of \d+ x 1", body)
    assert "Nothing was measured on this model." in body
    assert f"pip install '{tower['distribution']}=={tower['version']}'" in body
    assert body.startswith(CARD_MARK)
    assert "# second" in body


def test_the_history_goes_with_the_model(place):
    first, second = json.loads((place / "second" / "training.json").read_text())
    assert json.loads((place / "first" / "training.json").read_text()) == [first]
    assert (first["name"], second["name"]) == ("first", "second")
    assert first["samples"] == 6
    parts = {part["name"]: part for part in second["parts"]}
    assert parts["connector.image"]["weight_decay"] == 0.1
    assert parts["llm"]["mode"] == "lora"
    model, _ = load_pretrained(place / "second")
    assert parts["llm"]["parameters"] == sum(p.numel() for p in model.language_model.parameters())
    assert 0 < parts["llm"]["trained"] < parts["llm"]["parameters"]


def test_results_stand_in_the_card_and_a_card_of_ones_own_stays(place):
    write_card(place / "first", ["easy.json: accuracy 0.5, shuffled 0.2"])
    assert "- easy.json: accuracy 0.5, shuffled 0.2" in (place / "first" / "README.md").read_text(encoding="utf-8")
    (place / "first" / "README.md").write_text("mine")
    write_card(place / "first")
    assert (place / "first" / "README.md").read_text() == "mine"


def test_a_licence_that_all_parts_have_is_that_of_the_card(place, tmp_path):
    config = json.loads((place / "first" / "config.json").read_text())
    config["towers"]["image"]["licence"] = config["llm"]["licence"] = "mit"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "license: mit" in card(tmp_path)
    config["llm"]["licence"] = "apache-2.0"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "license:" not in card(tmp_path)
