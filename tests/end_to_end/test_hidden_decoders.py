"""A model whose decoder makes items of the words of an answer: where the words are, its losses, what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from tests.strokes import CORNER, LINE, drawing, drawing_model, drawn  # noqa: F401 (a fixture)
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, load_pretrained
from tinyllava_kit.checkpoints.quantization import Quantization
from tinyllava_kit.features.item_codes import ItemCodes
from tinyllava_kit.inference.answering import question
from tinyllava_kit.inference.replies import replies, reply
from tinyllava_kit.inference.segments import GeneratedItem
from tinyllava_kit.testing import check_packing
from tinyllava_kit.training.checks.data_check import check_data
from tinyllava_kit.training.checks.preview import first_batch, shown_rows
from tinyllava_kit.training.recipe import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawing")]
TEXT_ALONE = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
both = pytest.mark.parametrize("decoder", ["strokes_talker", "points_talker"])


@pytest.fixture
def made(tmp_path):
    return drawing_model(tmp_path, decoder="strokes_talker")


def batch_of(model, processor, conversations, **how):
    processor.writer = ItemCodes(model, processor)
    encoded = [processor.encode(processor.conversation(c)) for c in conversations]
    return processor.collate(encoded, labels=True, **how)


@both
def test_losses_are_those_of_one_id_after_another_alone(decoder, tmp_path):
    """A slow loop: every id of every item by itself, the whole sequence before it without padding."""
    model, processor = drawing_model(tmp_path, decoder=decoder)
    batch = batch_of(model, processor, [drawn("a line", LINE), TEXT_ALONE, drawn("this is a corner", CORNER)])
    with torch.no_grad():
        out = model(**batch)
        found = model(**{name: value for name, value in batch.items() if name != "targets"})
    assert torch.equal(found.loss, out.loss)
    talker, layout = model.decoders["drawing"], batch["plan"]
    expected: dict[str, list[float]] = {}
    for row, name, shape in ((0, "a line", LINE), (2, "this is a corner", CORNER)):
        length = int(layout.attention_mask[row].sum())
        with torch.no_grad():
            embeds = model.embed(batch["input_ids"][row : row + 1, :length])
            hidden = model.get_decoder()(inputs_embeds=embeds).last_hidden_state
        start = int((batch["labels"][row] != -100).nonzero()[0])
        stop = start + len(processor.tokenizer(name, add_special_tokens=False)["input_ids"])
        words = [each[:, start:stop] for each in (hidden, embeds)]
        for group, loss in slow_losses(talker, *words, talker.encode(shape)):
            expected.setdefault(f"drawing.{group}", []).append(loss)
    for group, losses in expected.items():
        got = out.target_groups[group][0]
        assert torch.allclose(got.sort().values, torch.tensor(losses).sort().values, atol=1e-5), group
    assert set(out.target_groups) == {"text", *(f"drawing.{name}" for name in talker.loss_weights)}
    means = {group: sum(losses) / len(losses) for group, losses in expected.items()}
    weighted = sum(talker.loss_weights[group.partition(".")[2]] * mean for group, mean in means.items())
    text = out.target_groups["text"][0].mean()
    assert float(out.loss) == pytest.approx(float(text) + weighted, rel=1e-5)


@torch.no_grad()
def slow_losses(talker, hidden, embeds, ids):
    """Group and loss of every id of an item, of words (1, P, D)."""
    rows, firsts = talker.codec.rows, {}
    at = 2
    for name, size in talker.codec.ranges.items():
        firsts[name] = at
        at += size
    beside = {}
    for name, side in talker.codec.parallel.items():
        beside[name] = at
        at += side.size
    prefix = talker.join(torch.cat([talker.hidden_norm(hidden), talker.embedding_norm(embeds)], -1))
    steps = ids[:, None] if ids.ndim == 1 else ids
    for count in range(1, len(steps)):
        vectors = []
        for main, *parallel in steps[:count].tolist():
            vector = rows.embedding[main].clone()
            for start, side in zip(beside.values(), parallel, strict=True):
                vector += rows.embedding[start + side] if side >= 0 else 0
            vectors.append(vector)
        sequence = torch.cat([prefix, torch.stack(vectors)[None]], 1)
        state = talker.transformer(inputs_embeds=sequence).last_hidden_state[0, -1]
        label, *parallel = steps[count].tolist()
        previous = range_of(firsts, int(steps[count - 1, 0]))
        follows = talker.codec.follows[previous]
        fits = [1] if "end" in follows else []
        for name in follows:
            fits += range(firsts[name], firsts[name] + talker.codec.ranges[name]) if name != "end" else []
        logits = rows.head[sorted(fits)] @ state
        expected = next(name for name in follows if name != "end")
        yield expected, float(F.cross_entropy(logits[None], torch.tensor([sorted(fits).index(label)])))
        for (name, start), side in zip(beside.items(), parallel, strict=True):
            if side >= 0:
                logits = rows.head[start : start + talker.codec.parallel[name].size] @ state
                yield name, float(F.cross_entropy(logits[None], torch.tensor([side])))


def range_of(firsts, each):
    return "begin" if each == 0 else max((first, name) for name, first in firsts.items() if first <= each)[1]


@both
def test_losses_and_gradients_are_the_same_in_packs(decoder, tmp_path):
    model, processor = drawing_model(tmp_path, decoder=decoder)
    processor.writer = ItemCodes(model, processor)
    check_packing(model, processor, [drawn("a line", LINE), TEXT_ALONE, drawn("this is a corner", CORNER)])


@both
def test_a_batch_without_an_item_has_the_same_groups_and_its_text_alone_counts(decoder, tmp_path):
    model, processor = drawing_model(tmp_path, decoder=decoder)
    groups = list(batch_of(model, processor, [drawn("a line", LINE)])["targets"])
    batch = batch_of(model, processor, [TEXT_ALONE])
    assert list(batch["targets"]) == groups
    out = model.train()(**batch)
    assert out.loss.item() == pytest.approx(out.target_losses.mean().item())


def test_the_llm_writes_words_alone(made):
    model, processor = made
    assert (processor.writes, processor.makes, processor.gives) == (set(), {"drawing"}, {"drawing"})
    assert model.config.token_ranges == {}
    batch = processor([[{"role": "user", "content": "draw"}]])
    with torch.no_grad():
        expected = model.language_model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        assert torch.equal(model(**batch).logits, expected)


@both
def test_pieces_joined_are_the_item_and_a_batch_answers_as_each_alone(decoder, tmp_path):
    model, processor = drawing_model(tmp_path, decoder=decoder)
    asked = [question(text, [], processor) for text in ("draw", "draw a much longer line")]
    history = processor.conversation([*drawn("a line", LINE), {"role": "user", "content": "again"}])
    how = {"force": ["drawing"], "max_new_tokens": 7, "eos_token_id": []}
    together = replies(model, processor, [*asked, history], **how)
    for conversation, whole in zip([*asked, history], together, strict=True):
        shown = []
        assert reply(model, processor, conversation, shown.append, **how) == whole
        pieces = [part.item for part in shown if isinstance(part, GeneratedItem)]
        (item,) = whole.items("drawing")
        assert processor.modalities["drawing"].join(pieces) == item.item
        assert len(pieces) > 1
        assert "".join(part for part in shown if isinstance(part, str)).strip() == whole.text


def test_an_item_that_is_not_ended_says_so(made):
    model, processor = made
    rows = model.decoders["drawing"].codec.rows
    rows.head.data[1] = 0  # the end mark is never the likeliest
    rows.head.data[2:4] *= 100
    model.decoders["drawing"].config["max_ids"] = 12
    (said,) = replies(model, processor, [question("draw", [], processor)], force=["drawing"], max_new_tokens=3)
    (item,) = said.items("drawing")
    assert (item.closed, sum(map(len, item.item)), item.dropped) == (False, 3, 2)


def test_sampling_draws_others(made):
    model, processor = made
    how = {"force": ["drawing"], "max_new_tokens": 4, "do_sample": True, "temperature": 3.0}
    torch.manual_seed(0)
    drawings = [replies(model, processor, [question("draw", [], processor)], **how)[0].items("drawing") for _ in "1234"]
    assert len(set(map(str, drawings))) > 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_model_makes_the_same_in_float32_whatever_the_llm_is_in(made, dtype, tmp_path):
    model, processor = made
    for part in made:
        part.save_pretrained(tmp_path / "saved")
    loaded = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "saved", dtype=dtype)
    again = TinyLlavaProcessor.from_pretrained(tmp_path / "saved")
    decoder, state = loaded.decoders["drawing"], model.decoders["drawing"].state_dict()
    assert {p.dtype for p in decoder.parameters()} == {torch.float32}
    assert all(torch.equal(value, state[name]) for name, value in decoder.state_dict().items())
    ours = dict(model.decoders["drawing"].named_buffers())
    assert all(torch.equal(value, ours[name]) for name, value in decoder.named_buffers())
    (said,) = replies(loaded, again, [question("draw", [], again)], force=["drawing"], max_new_tokens=4)
    assert said.items("drawing")
    if dtype == torch.float32:
        assert [said] == replies(
            model, processor, [question("draw", [], processor)], force=["drawing"], max_new_tokens=4
        )


@pytest.mark.parametrize("bits", [8, 4])
def test_beside_an_llm_of_few_bits_it_learns(bits, tmp_path):
    for part in drawing_model(tmp_path, decoder="strokes_talker", hidden=64):
        part.save_pretrained(tmp_path / "saved")
    model, processor = load_pretrained(tmp_path / "saved", quantization=Quantization(bits=bits))
    model.requires_grad_(False)
    decoder = model.decoders["drawing"].requires_grad_(True)
    model.train()
    model(**batch_of(model, processor, [drawn("a line", LINE)])).loss.backward()
    assert all(p.grad is not None for p in decoder.parameters() if p.requires_grad)


def test_an_item_without_words_is_refused_by_name(made):
    model, processor = made
    processor.writer = ItemCodes(model, processor)
    conversation = processor.conversation(drawn("", LINE), name="row 3")
    message = "row 3: the assistant gives an item of 'drawing', which its decoder makes of the words in front of it"
    with pytest.raises(KitError, match=message):
        processor.encode(conversation)


@both
def test_data_are_checked_and_shown_with_what_is_made(decoder, tmp_path):
    for part in drawing_model(tmp_path, decoder=decoder):
        part.save_pretrained(tmp_path / "model")
    (tmp_path / "line.json").write_text(json.dumps(LINE))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"drawing": "line.json", "text": "a line"}))
    pairs = {"modality": "drawing", "prompts": ["draw {text}"], "answer": "item"}
    data = {"path": str(tmp_path / "rows.jsonl"), "pairs": pairs}
    stage = {"name": "s", "data": data, "train": {"decoder.drawing": "full"}}
    recipe = {"model": str(tmp_path / "model"), "output": str(tmp_path / "runs"), "stages": [stage]}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    recipe = Recipe.from_yaml(tmp_path / "recipe.yaml")
    (report,) = check_data(recipe)
    assert (report.findings, report.made) == ([], {"drawing": 11 if decoder == "strokes_talker" else 5})
    (row,) = shown_rows(first_batch(recipe, count=1))
    kinds = [(piece.kind, piece.text) for piece in row.samples[0].spans]
    assert kinds[1:3] == [("learned", "a line"), ("made", "drawing")]
    assert report.learned == sum(piece.count for piece in row.samples[0].spans if piece.kind == "learned")
    from tinyllava_kit_cli import app

    said = CliRunner().invoke(app.cli, ["data", "show", str(tmp_path / "recipe.yaml")])
    assert "«a line»[made: drawing]" in said.output
    said = CliRunner().invoke(app.cli, ["data", "check", str(tmp_path / "recipe.yaml")])
    assert "ids of drawing, made of words" in said.output


def test_dropout_hides_ids_in_training_and_not_otherwise(tmp_path):
    model, processor = drawing_model(tmp_path, decoder="strokes_talker", dropout=0.5)
    batch = batch_of(model, processor, [drawn("a line", LINE)])
    torch.manual_seed(0)
    losses = {mode: [model.train(mode)(**batch).loss.item() for _ in "12"] for mode in (True, False)}
    assert losses[True][0] != losses[True][1]
    assert losses[False][0] == losses[False][1]


def test_words_of_an_earlier_turn_are_not_those_of_an_item(made):
    model, processor = made
    processor.writer = ItemCodes(model, processor)
    turns = [*TEXT_ALONE, {"role": "user", "content": "draw"}]
    alone = {"role": "assistant", "content": [{"type": "drawing", "drawing": LINE}]}
    with pytest.raises(KitError, match="and there are none; write them, or give the item's 'text'"):
        processor.encode(processor.conversation([*turns, alone]))


def test_every_item_has_its_own_words_in_front_of_it(made):
    model, processor = made
    content = [{"type": "drawing", "drawing": shape, "text": text} for shape, text in ((LINE, "one"), (CORNER, "two"))]
    batch = batch_of(
        model, processor, [[{"role": "user", "content": "draw"}, {"role": "assistant", "content": content}]]
    )
    plan_ = batch["plan"]
    said = [processor.decode(batch["input_ids"].flatten()[row[row >= 0]]) for row in plan_.generated["drawing"].words]
    assert [text.strip() for text in said] == ["one", "two"]


def test_an_item_of_more_ids_than_are_made_is_refused(tmp_path):
    model, processor = drawing_model(tmp_path, decoder="strokes_talker", max_ids=10)
    processor.writer = ItemCodes(model, processor)
    with pytest.raises(KitError, match="an item of 11 ids, and the model's talker writes 10 at most"):
        processor.encode(processor.conversation(drawn("a line", LINE)))
    with pytest.raises(KitError, match="an item of 11 ids"):
        processor.probe(processor.conversation(drawn("a line", LINE)))


def test_several_answers_to_one_question(made):
    model, processor = made
    how = {"force": ["drawing"], "max_new_tokens": 4, "do_sample": True, "num_return_sequences": 3}
    said = replies(model, processor, [question("draw", [], processor), question("two", [], processor)], **how)
    assert [len(each.items("drawing")) for each in said] == [1] * 6


@pytest.mark.parametrize("size", [{"width": 30}, {"heads": 0}, {"layers": 0}, {"max_ids": 0}])
def test_sizes_that_no_transformer_has_are_refused(size, tmp_path):
    with pytest.raises(KitError, match=r"a talker of width .* expected numbers from 1, and a width that twice the"):
        drawing_model(tmp_path, decoder="strokes_talker", **size)
