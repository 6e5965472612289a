"""Batches that other programs put together: what stands where is read off `mm_token_type_ids`."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from tests import toys
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan
from tinyllava_kit.errors import FusionError, KitError
from tinyllava_kit.model.moved_batches import join_batches, plan_of_types

MODALITIES = ["audio", "image"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("types")
    pictures = [Image.open(folder / name) for name in toys.save_pictures(folder, 3)]
    model, processor = toys.picture_model(folder / "llm")
    return model.eval(), processor, pictures


def flushed(mask, *tensors):
    """Rows with their padding behind them, as far as all rows have some: what TRL does, written anew."""
    order = (mask == 0).int().sort(dim=1, stable=True).indices
    width = int(mask.sum(1).max())
    return [each.gather(1, order)[:, :width] for each in (mask, *tensors)]


def put_together(processor, prompts, pictures, completions):
    """Prompts padded on the left, completions behind them padded on the right, flushed; with the mask of the latter."""
    batch = processor(text=prompts, images=pictures, padding_side="left", return_tensors="pt")
    behind = processor(text=completions, padding_side="right", return_tensors="pt", add_special_tokens=False)
    names = ("attention_mask", "input_ids", "mm_token_type_ids")
    joined = {name: torch.cat([batch[name], behind[name]], 1) for name in names}
    answered = torch.cat([torch.zeros_like(batch["attention_mask"]), behind["attention_mask"]], 1)
    mask, ids, types, answered = flushed(*joined.values(), answered)
    batch["input_ids"], batch["attention_mask"] = ids, mask
    return batch, types, answered


def slow_logits(model, processor, prompt, pictures, completion):
    """The logits (t, V) of a prompt and its completion alone."""
    batch = processor(text=prompt, images=pictures)
    ids = processor.tokenizer(completion, add_special_tokens=False, return_tensors="pt")["input_ids"]
    front = model.embed(batch["input_ids"], batch.get("items"), batch.get("plan"))
    embeds = torch.cat([front, model.get_input_embeddings()(ids)], 1)
    return model.language_model(inputs_embeds=embeds).logits[0], ids[0]


@pytest.mark.parametrize("learned", ["completion", "all"])
def test_prompts_and_completions_are_learned_as_each_alone(made, learned):
    model, processor, (one, two, three) = made
    prompts = ["<image>and <image>which?", "x<image>", "none"]
    pictures, completions = [[one, two], [three], []], ["it", "no, it is another one", "so"]
    batch, types, answered = put_together(processor, prompts, pictures, completions)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORE_INDEX)
    batch["labels"] = labels.masked_fill(answered == 0, IGNORE_INDEX) if learned == "completion" else labels
    batch["mm_token_type_ids"] = types
    losses = []
    with torch.no_grad():
        got = model(**batch)
        hidden = model.base_model(**{name: value for name, value in batch.items() if name != "labels"})
        for row, (prompt, mine, words) in enumerate(zip(prompts, pictures, completions, strict=True)):
            logits, ids = slow_logits(model, processor, prompt, mine, words)
            assert torch.allclose(got.logits[row, : len(logits)], logits, atol=1e-4)
            alone = processor(text=prompt, images=mine)
            text = alone["input_ids"][0].masked_fill(alone["mm_token_type_ids"][0] != 0, IGNORE_INDEX)
            text = torch.full_like(text, IGNORE_INDEX) if learned == "completion" else text
            losses.append(F.cross_entropy(logits[:-1], torch.cat([text, ids])[1:], reduction="none"))
            learns = torch.cat([text, ids])[1:] != IGNORE_INDEX
            losses[-1] = losses[-1][learns]
    assert torch.allclose(got.loss, torch.cat(losses).mean(), atol=1e-5)
    assert torch.allclose(model.get_output_embeddings()(hidden.last_hidden_state), got.logits, atol=1e-5)


def test_prompts_that_were_padded_anew_are_answered_as_before(made):
    model, processor, (one, two, _) = made
    how = {"max_new_tokens": 3, "do_sample": False}
    batch = processor(text=["<image>and?", "a longer one <image>"], images=[one, two])
    expected = model.generate(**batch, **how)
    padded = {n: F.pad(batch[n], (2, 0)) for n in ("input_ids", "attention_mask", "mm_token_type_ids")}
    got = model.generate(**{**batch, **padded}, **how)
    assert torch.equal(got[:, 2:], expected)
    right = processor(text=["<image>", "a longer one <image>"], images=[one, two], padding_side="right")
    with pytest.raises(KitError, match="padded on the left"):
        model.generate(**right, **how)


def test_what_was_cut_is_refused_with_both_numbers(made):
    model, processor, (one, *_) = made
    batch = processor(text="<image>?", images=one)
    types = batch["mm_token_type_ids"]
    size = int((types != 0).sum())
    end = int((types != 0).nonzero()[-1, 1])  # the item's last position
    cut = {name: batch[name][:, :end] for name in ("input_ids", "attention_mask")}
    line = rf"1 image item\(s\) take {size} positions, and mm_token_type_ids keep {size - 1} of them"
    with pytest.raises(FusionError, match=line):
        model(**cut, items=batch["items"], plan=batch["plan"], mm_token_type_ids=types[:, :end])
    with pytest.raises(FusionError, match=r"mm_token_type_ids \(1, \d+\) do not belong to input_ids"):
        model(**cut, items=batch["items"], plan=batch["plan"], mm_token_type_ids=types)


def test_tensors_under_their_own_names_are_the_items_of_a_plan(made):
    """As transformers' processors and TRL give them: rows of several prompts, and a part of these rows."""
    model, processor, (one, two, three) = made
    prompts = ["<image>and <image>which?", "none", "x<image>"]
    named = processor(text=prompts, images=[[one, two], [], [three]], padding=True, return_tensors="pt")
    assert set(named) == {"input_ids", "attention_mask", "mm_token_type_ids", "pixel_values"}
    assert len(named["pixel_values"]) == 3
    inputs = {name: named[name] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    with torch.no_grad():
        logits = model(**named).logits
        for row, (prompt, mine) in enumerate(zip(prompts, [[one, two], [], [three]], strict=True)):
            alone = model(**processor(text=prompt, images=mine)).logits[0]
            assert torch.allclose(logits[row, -len(alone) :], alone, atol=1e-4)
        rest = {name: tensor[1:] for name, tensor in inputs.items()}
        part = model(**rest, pixel_values=named["pixel_values"][2:]).logits
        assert torch.allclose(part, logits[1:], atol=1e-4)
        text = {name: tensor[1:2] for name, tensor in inputs.items()}
        assert torch.allclose(model(**text, pixel_values=named["pixel_values"][:0]).logits, logits[1:2], atol=1e-4)
    how = {"max_new_tokens": 3, "do_sample": False}
    written = model.generate(**named, **how)[:, -3:]
    for row, (prompt, mine) in enumerate(zip(prompts, [[one, two], [], [three]], strict=True)):
        assert torch.equal(written[row], model.generate(**processor(text=prompt, images=mine), **how)[0, -3:])
    with pytest.raises(FusionError, match=r"5 image item\(s\) do not fill 12 positions"):
        model(**inputs, pixel_values=named["pixel_values"].repeat(2, 1, 1, 1)[:5])
    with pytest.raises(FusionError, match=r"sample 0, image 0: expected 6 rows, the connector made 4"):
        model(**inputs, pixel_values=named["pixel_values"][:2])
    with pytest.raises(FusionError, match=r"3 image item\(s\) are given, and mm_token_type_ids have no place for them"):
        model(**text, pixel_values=named["pixel_values"])


def test_several_prompts_are_lists_without_padding_where_no_tensors_are_asked_for(made):
    _, processor, (one, *_) = made
    several = [
        [{"role": "user", "content": [{"type": "image", "image": one}, {"type": "text", "text": "what is it?"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "no"}]}],
    ]
    how = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
    listed = processor.apply_chat_template(several, **how)
    padded = processor.apply_chat_template(several, **how, return_tensors="pt")
    assert set(listed) == set(padded) == {"input_ids", "attention_mask", "mm_token_type_ids", "pixel_values"}
    for row, mask in enumerate(padded["attention_mask"].bool()):
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            assert listed[name][row] == padded[name][row][mask].tolist()
    assert torch.equal(listed["pixel_values"], padded["pixel_values"])


def test_an_item_has_an_id_that_nothing_writes(made):
    model, processor, _ = made
    assert processor.image_token_id == model.config.image_token_id >= model.config.text_config.vocab_size
    for each in (processor, model.config):
        assert not hasattr(each, "audio_token_id")


def test_labels_that_are_set_before_the_ids_have_moved_keep_what_is_learned(made):
    """The padding in front of one prompt is as long as its completion: the shape is the old one, the places are not."""
    _, processor, (one, *_) = made
    batch = processor(text=["<image>", "a<image>"], images=[one, one])
    mask, types = batch["attention_mask"], batch["mm_token_type_ids"]
    assert mask.tolist()[0][0] == 0
    moved, ids = mask.roll(-1, 1).clone(), batch["input_ids"].roll(-1, 1).clone()
    moved[0, -1], ids[0, -1], moved[1], ids[1] = 1, 7, mask[1], batch["input_ids"][1]
    behind = types.clone()
    behind[0] = types[0].roll(-1)
    batch["input_ids"], batch["attention_mask"] = ids, moved
    batch["labels"] = ids.clone()
    batch["mm_token_type_ids"] = behind
    assert batch["labels"][0, -1] == 7
    assert (batch["labels"] == IGNORE_INDEX).equal(behind != 0)


def test_the_plan_of_types_is_that_of_the_spans():
    """Ragged items of two modalities, one of them without any row, padding on each side."""
    samples = [
        [TextSpan([5]), ItemSpan("image", 3), ItemSpan("image", 2), TextSpan([6, 7])],
        [ItemSpan("audio", 1), ItemSpan("image", 0), TextSpan([8])],
    ]
    for side in ("left", "right"):
        inputs, exact = plan(samples, padding_side=side, pad_id=9)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        found = plan_of_types(ids, mask, exact.types(MODALITIES), exact.items, MODALITIES)
        for name in ("attention_mask", "position_ids", "text_positions", "pad_positions"):
            assert torch.equal(getattr(found, name), getattr(exact, name)), name
        assert {m: r.tolist() for m, r in found.item_positions.items()} == {
            m: r.tolist() for m, r in exact.item_positions.items()
        }
        assert {m: [t.tolist() for t in r] for m, r in found.ragged.items()} == {
            m: [t.tolist() for t in r] for m, r in exact.ragged.items()
        }
        assert [i for i in found.items if i.num_tokens] == [i for i in exact.items if i.num_tokens]
        assert [(s.row, s.start, s.num_tokens) for s in found.samples] == [
            (s.row, s.start, s.num_tokens) for s in exact.samples
        ]
        assert found.padding_side == side


def test_batches_in_a_list_are_joined_in_order():
    _, first = plan([[ItemSpan("image", 3), TextSpan([5])], [ItemSpan("image", 3), ItemSpan("audio", 2)]])
    _, second = plan([[ItemSpan("image", 3)]])
    items = [{"image": {"x": torch.zeros(2, 5)}, "audio": {"y": torch.ones(1, 2)}}, {"image": {"x": torch.ones(1, 5)}}]
    planned, joined = join_batches([first, second], items)
    assert [(i.modality, i.index, i.sample) for i in planned] == [
        ("image", 0, 0),
        ("image", 1, 1),
        ("audio", 0, 1),
        ("image", 2, 2),
    ]
    assert joined["image"]["x"].tolist() == [[0.0] * 5, [0.0] * 5, [1.0] * 5]
    assert joined["audio"]["y"].tolist() == [[1.0, 1.0]]
    with pytest.raises(FusionError, match="the image items of this batch differ in size"):
        join_batches([second, second], [{"image": {"x": torch.ones(1, 5)}}, {"image": {"x": torch.ones(1, 7)}}])
