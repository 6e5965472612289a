"""What a stage leaves for a reader: a card of facts."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml

from tinyllava_kit.checkpoints.card import CARD_MARK, card, write_card

pytestmark = pytest.mark.slow


def test_text_of_others_cannot_write_the_card(left, tmp_path):
    attack = "a | <img src=x> [b](http://c) `d` *e*\n# f \x1b[2J"
    config = json.loads((left / "first" / "config.json").read_text())
    config["towers"]["image"]["licence"] = attack
    (tmp_path / "config.json").write_text(json.dumps(config))
    history = json.loads((left / "first" / "training.json").read_text())
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


def test_the_card_has_the_facts_and_no_more(left):
    text = (left / "second" / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["tinyllava_kit", "image"],
    }
    config = json.loads((left / "second" / "config.json").read_text())
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


def test_results_stand_in_the_card_and_a_card_of_ones_own_stays(left, tmp_path):
    shutil.copytree(left / "first", tmp_path / "first")
    write_card(tmp_path / "first", ["easy.json: accuracy 0.5, shuffled 0.2"])
    assert "- easy.json: accuracy 0.5, shuffled 0.2" in (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "first" / "README.md").write_text("mine")
    write_card(tmp_path / "first")
    assert (tmp_path / "first" / "README.md").read_text() == "mine"


def test_a_licence_that_all_parts_have_is_that_of_the_card(left, tmp_path):
    config = json.loads((left / "first" / "config.json").read_text())
    config["towers"]["image"]["licence"] = config["llm"]["licence"] = "mit"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "license: mit" in card(tmp_path)
    config["llm"]["licence"] = "apache-2.0"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "license:" not in card(tmp_path)
