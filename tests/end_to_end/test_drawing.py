"""A modality that only goes out, from its own distribution: assembled, trained to exact equality, saved, generated."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from tests.strokes import drawing, drawing_model  # noqa: F401 (a fixture)
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, load_pretrained
from tinyllava_kit.core.ids import TEXT
from tinyllava_kit.inference.answering import question
from tinyllava_kit.inference.replies import replies
from tinyllava_kit.inference.replies import reply as streamed
from tinyllava_kit.inference.reply import Reply
from tinyllava_kit.inference.segments import GeneratedItem
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawing")]

# Points on the grid of the toys, so that what is drawn is what was given.
SHAPES = {
    "line": [[(0.0, 0.0), (1.0, 0.5)], [(0.5, 0.5)]],
    "corner": [[(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]],
    "dot": [[(0.5, 0.0)]],
    "cross": [[(0.0, 0.0), (1.0, 1.0)], [(1.0, 0.0), (0.0, 1.0)]],
}


def prepare(folder, *, decoder="strokes", **stage):
    """A saved model, a file of drawings as pairs, and a recipe that trains what draws."""
    for part in drawing_model(folder, decoder=decoder):
        part.save_pretrained(folder / "model")
    rows = []
    for name, strokes in SHAPES.items():
        (folder / f"{name}.json").write_text(json.dumps(strokes))
        rows.append({"drawing": f"{name}.json", "text": name})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pairs = {"modality": "drawing", "prompts": ["draw a {text}"], "answer": "item"}
    stage = {
        "name": "draw",
        "data": {"path": str(folder / "rows.jsonl"), "pairs": pairs},
        "train": {"decoder.drawing": "full", "llm": "full"},
        "batch_size": 4,
        "learning_rate": 5e-3,
        "logging_steps": 10,
        "schedule": "constant_with_warmup",
        **stage,
    }
    recipe = {"model": str(folder / "model"), "output": str(folder / "runs"), "stages": [stage]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return Recipe.from_yaml(folder / "recipe.yaml")


@pytest.mark.parametrize("decoder", ["strokes", "points"])
def test_drawings_are_learned_exactly_and_each_by_its_name(decoder, tmp_path, capsys):
    trained = run_recipe(prepare(tmp_path, decoder=decoder, max_steps=120))
    assert "encoded 4 items of answers" in capsys.readouterr().out
    log = json.loads((trained / "log.json").read_text())
    groups = {"text", "drawing.move", "drawing.draw", "drawing.x", "drawing.y"}
    logged = [entry for entry in log if "loss" in entry]
    assert {key for key in logged[0] if key.startswith("ids_")} >= {f"ids_loss_{group}" for group in groups - {"move"}}
    assert logged[-1]["ids_right_drawing.x"] == 1.0
    assert logged[0]["ids_loss_drawing.x"] > 10 * logged[-1]["ids_loss_drawing.x"]
    model = TinyLlavaForConditionalGeneration.from_pretrained(trained)
    processor = TinyLlavaProcessor.from_pretrained(trained)
    batch = processor([[{"role": "user", "content": f"draw a {name}"}] for name in SHAPES])
    chosen = []
    new = model.generate(**batch, parallel=chosen, max_new_tokens=40, do_sample=False)[:, batch["input_ids"].shape[1] :]
    beside = processor.grammar.written(new, chosen).tolist() if chosen else [None] * len(new)
    for row, parallel, (name, strokes) in zip(new.tolist(), beside, SHAPES.items(), strict=True):
        words, item, *_ = processor.grammar.segments(row, parallel)
        assert (words.modality, processor.decode(words.ids, skip_special_tokens=True).strip()) == (TEXT, name)
        assert (item.modality, item.closed) == ("drawing", True)
        assert model.decoders["drawing"].decode(torch.tensor(item.ids)) == strokes


@pytest.mark.parametrize("decoder", ["strokes_talker", "points_talker"])
def test_drawings_made_of_words_are_learned_exactly_by_an_llm_that_writes_words(decoder, tmp_path, capsys):
    trained = run_recipe(prepare(tmp_path, decoder=decoder, max_steps=150))
    assert "encoded 4 items of answers" in capsys.readouterr().out
    logged = [entry for entry in json.loads((trained / "log.json").read_text()) if "loss" in entry]
    assert logged[-1]["ids_right_drawing.x"] == logged[-1]["ids_right_text"] == 1.0
    model, processor = load_pretrained(trained)
    asked = [question(f"draw a {name}", [], processor) for name in SHAPES]
    for conversation, reply, (name, strokes) in zip(
        asked, replies(model, processor, asked, force=["drawing"], max_new_tokens=20), SHAPES.items(), strict=True
    ):
        assert reply == Reply((name, GeneratedItem("drawing", strokes)))
        assert streamed(model, processor, conversation, lambda part: None, force=["drawing"]) == reply
        assert replies(model, processor, [conversation]) == [Reply((name,))]


@pytest.mark.parametrize(
    "stage",
    [
        {"packing": True, "max_length": 256},
        {"gradient_accumulation": 2, "batch_size": 2},
        {"group_by_size": True},
        {"workers": 1},
        {"train": {"decoder.drawing": "full"}},
        {"decoder": "points", "packing": True, "max_length": 256, "gradient_accumulation": 2, "batch_size": 1},
        {"decoder": "strokes_talker", "packing": True, "max_length": 256, "gradient_accumulation": 2, "batch_size": 1},
    ],
    ids=["packed", "accumulated", "grouped", "workers", "rows alone", "with streams", "of words"],
)
def test_every_way_of_making_batches_trains_it(stage, tmp_path):
    before = drawing_model(tmp_path, decoder=stage.get("decoder", "strokes"))[0].state_dict()
    trained = run_recipe(prepare(tmp_path, max_steps=2, logging_steps=1, **stage))
    owner = "decoders.drawing.codec" if stage.get("decoder") == "strokes_talker" else "decoders.drawing"
    after = TinyLlavaForConditionalGeneration.from_pretrained(trained).state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {f"{owner}.rows.embedding", f"{owner}.rows.head"} <= changed
    assert ("language_model.lm_head.weight" in changed) == ("train" not in stage)


def test_ids_are_found_again_by_the_next_run(tmp_path, capsys):
    run_recipe(prepare(tmp_path, max_steps=1))
    run_recipe(prepare(tmp_path, name="again", max_steps=1))
    assert "encoded 0 items of answers; the rest was there" in capsys.readouterr().out


def test_a_stage_that_trains_a_decoder_without_an_item_to_learn_is_refused(tmp_path):
    recipe = prepare(tmp_path, max_steps=1)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"drawing": "dot.json", "text": "dot"}))
    data = recipe.stages[0].data[0]
    asked = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    (tmp_path / "text.jsonl").write_text(json.dumps({"messages": asked}))
    stage = recipe.stages[0].model_copy(
        update={"data": (data.model_copy(update={"path": str(tmp_path / "text.jsonl"), "pairs": None}),)}
    )
    with pytest.raises(KitError, match=r"train\.decoder\.drawing: no sample of the data has drawing items"):
        run_recipe(recipe.model_copy(update={"stages": (stage,)}))


def test_a_prompt_that_holds_the_item_that_is_to_be_the_answer_is_refused(tmp_path):
    recipe = prepare(tmp_path)
    pairs = recipe.stages[0].data[0].pairs.model_copy(update={"prompts": ("copy <drawing>",)})
    data = recipe.stages[0].data[0].model_copy(update={"pairs": pairs})
    stage = recipe.stages[0].model_copy(update={"data": (data,)})
    with pytest.raises(KitError, match="'copy <drawing>' has <drawing>, but the item is the answer"):
        run_recipe(recipe.model_copy(update={"stages": (stage,)}))
