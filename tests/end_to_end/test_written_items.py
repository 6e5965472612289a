"""A model that writes items in ids: its LLM untouched, its rows, its losses, what it generates, saved and loaded."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from tests import toys
from tests.strokes import CORNER, LINE, drawing, drawing_model, drawn  # noqa: F401 (a fixture)
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble, load_pretrained
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.checkpoints.quantization import Quantization
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.data.sources import Pairs, check_pairs
from tinyllava_kit.errors import FusionError
from tinyllava_kit.features.item_codes import ItemCodes
from tinyllava_kit.inference.answering import question

pytestmark = pytest.mark.usefixtures("drawing")
ROWS = {"decoders.drawing.rows.embedding", "decoders.drawing.rows.head"}
both_heads = pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])


def batch_of(model, processor, conversations, **how):
    codes = ItemCodes(model, processor)
    encoded = [processor.encode(processor.conversation(c), writer=codes) for c in conversations]
    return processor.collate(encoded, labels=True, **how)


def ask(text="hello there"):
    return [{"role": "user", "content": text}]


@both_heads
def test_the_llms_own_logits_are_bit_equal_and_text_is_generated_as_before(tied, tmp_path):
    model, processor = drawing_model(tmp_path, tied=tied)
    plain, _ = assemble(Assembly.from_flags(llm=f"llama:{tmp_path / 'llm'}"))
    batch = processor([ask(), ask("a longer question is here")])
    with torch.no_grad():
        logits, expected = model(**batch).logits, plain(**batch).logits
    assert logits.shape[-1] == processor.grammar.size > expected.shape[-1]
    assert torch.equal(logits[..., : expected.shape[-1]], expected)
    how = {"max_new_tokens": 9, "do_sample": False}
    assert torch.equal(model.generate(**batch, forbid=["drawing"], **how), plain.generate(**batch, **how))


@both_heads
def test_one_step_changes_the_rows_and_nothing_else(tied, tmp_path):
    from tinyllava_kit.training.stage_settings import PartTraining
    from tinyllava_kit.training.trained_parts import OpenParts

    model, processor = drawing_model(tmp_path, tied=tied)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    OpenParts(model, {"decoder.drawing": PartTraining(mode="full")})
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(**batch_of(model, processor, [drawn("a line", LINE)])).loss.backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == ROWS
    optimizer.step()
    assert {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])} == ROWS


@pytest.mark.parametrize("pictures", [False, True])
def test_the_loss_is_that_of_the_ids_that_may_stand_there_averaged_over_each_range(pictures, tmp_path):
    model, processor = drawing_model(tmp_path, pictures=pictures)
    samples = [
        drawn("a line", LINE),
        drawn("this is a corner", CORNER),
        [*ask(), {"role": "assistant", "content": "hi"}],
    ]
    if pictures:
        name = tmp_path / toys.save_pictures(tmp_path)[0]
        samples[0][0]["content"] = [{"type": "image", "image": str(name)}, "draw it"]
    batch = batch_of(model, processor, samples)
    with torch.no_grad():
        out = model(**batch)
        found = model(**{name: value for name, value in batch.items() if name != "targets"})
        learned = model.train()(**batch)
    plan, grammar = batch["plan"], processor.grammar
    rows = plan.target_positions
    fits = grammar.allowed[grammar.state_of[batch["input_ids"].flatten()[rows]]]
    logits = out.logits.flatten(0, 1)[rows].masked_fill(~fits, -torch.inf)
    labels = batch["labels"].flatten()[rows + 1]
    expected = F.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(out.target_losses, expected, atol=1e-5)
    for group, (_, hits) in out.target_groups.items():
        assert torch.equal(hits, (logits.argmax(-1) == labels)[batch["targets"][group]])
    groups = {}
    for loss, label, previous in zip(
        expected.tolist(), labels.tolist(), batch["input_ids"].flatten()[rows].tolist(), strict=True
    ):
        groups.setdefault(slow_group(grammar, previous, label), []).append(loss)
    weights = {"text": 1.0, **dict.fromkeys(("drawing.move", "drawing.draw", "drawing.x", "drawing.y"), 0.25)}
    mean = sum(weights[name] * sum(losses) / len(losses) for name, losses in groups.items())
    assert groups.keys() == weights.keys()
    assert float(out.loss) == pytest.approx(mean, rel=1e-5)
    assert torch.allclose(learned.loss, out.loss)
    assert learned.logits is None
    assert torch.equal(found.loss, out.loss)
    embeds = {"inputs_embeds": torch.zeros(*batch["input_ids"].shape, 24), "labels": batch["labels"]}
    with pytest.raises(FusionError, match="a model whose decoders have ids learns from input_ids"):
        model(**embeds, plan=batch["plan"])


def slow_group(grammar, previous, label):
    """The range of a label; an end mark stands where a `draw` could."""
    for modality, ranges in grammar.ranges.items():
        for name, (start, size) in ranges.items():
            if start <= label < start + size:
                begins, ends = name == "begin", name in ("end", "move") and previous != grammar.begin[modality]
                return "text" if begins else f"{modality}.{'draw' if ends else name}"
    return "text"


def test_the_loss_of_a_step_does_not_depend_on_how_it_is_cut_into_batches(tmp_path):
    model, processor = drawing_model(tmp_path)
    samples = [drawn("a line", LINE), drawn("this is a corner", CORNER)]
    whole = batch_of(model, processor, samples)
    counts = torch.tensor([len(rows) for rows in whole["targets"].values()])
    with torch.no_grad():
        parts = [model(**batch_of(model, processor, [s]), num_items_in_batch=counts).loss for s in samples]
        assert torch.allclose(sum(parts), model(**whole).loss, atol=1e-5)
        assert torch.allclose(sum(parts), model(**whole, num_items_in_batch=counts.sum()).loss, atol=1e-5)


def test_packed_samples_have_the_losses_that_they_have_alone(tmp_path):
    model, processor = drawing_model(tmp_path)
    samples = [drawn("a line", LINE), drawn("this is a corner", CORNER)]
    with torch.no_grad():
        packed = model(**batch_of(model, processor, samples, packs=[2])).target_losses
        alone = [model(**batch_of(model, processor, [s])).target_losses for s in samples]
    assert torch.allclose(packed, torch.cat(alone), atol=1e-4)


@pytest.mark.parametrize(
    "how",
    [{"do_sample": False}, {"do_sample": True, "top_k": 2}, {"num_beams": 3, "do_sample": False}],
    ids=["greedy", "sampled", "beams"],
)
def test_every_item_that_is_generated_is_whole(how, tmp_path):
    model, processor = drawing_model(tmp_path)
    prompt = processor([ask(), ask("a longer question is here")])
    torch.manual_seed(0)
    options = {"force": ["drawing"], "max_new_tokens": 40, "eos_token_id": list(range(processor.grammar.num_text))}
    new = model.generate(**prompt, **options, **how)[:, prompt["input_ids"].shape[1] :]
    for row in new.tolist():
        segments = processor.grammar.segments(row)
        assert segments[0].modality == "drawing"  # every text id would end the answer, so it begins at once
        for segment in segments:
            if segment.modality == "drawing" and segment.ids:
                model.decoders["drawing"].decode(torch.tensor(segment.ids))
                assert len(segment.ids) % 3 == 0


def test_ids_and_embeddings_generate_the_same(tmp_path):
    model, processor = drawing_model(tmp_path)
    prompt = processor([ask()])
    options = {"max_new_tokens": 20, "do_sample": False, "force": ["drawing"], "eos_token_id": list(range(320))}
    from_ids = model.generate(prompt["input_ids"], **options)
    planned = model.generate(**prompt, **options)
    assert torch.equal(from_ids, planned)
    embeds = model.generate(inputs_embeds=model.embed(prompt["input_ids"]), **options)
    assert torch.equal(from_ids[:, prompt["input_ids"].shape[1] :], embeds)


def test_a_repetition_penalty_is_refused_unless_text_alone_is_written(tmp_path):
    model, processor = drawing_model(tmp_path)
    with pytest.raises(KitError, match="repetition_penalty distorts the ids of decoders"):
        model.generate(**processor([ask()]), repetition_penalty=1.1, max_new_tokens=2)
    model.generate(**processor([ask()]), repetition_penalty=1.1, max_new_tokens=2, forbid=["drawing"])


def test_a_model_without_decoders_cannot_be_forced(tmp_path):
    model, processor = assemble(Assembly.from_flags(llm=f"llama:{toys.save_llama(tmp_path)}"))
    with pytest.raises(KitError, match=r"generate writes text only, not drawing; tinyllava_kit\.replies"):
        model.generate(**processor([ask()]), force=["drawing"])


@both_heads
def test_a_saved_model_has_its_rows_and_ids_and_float32_in_any_dtype(tied, tmp_path):
    model, processor = drawing_model(tmp_path, tied=tied)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())["token_ranges"]
    assert saved["drawing"][:3] == [["begin", 320, 1], ["end", 321, 1], ["move", 322, 1]]
    for dtype in (torch.float32, torch.bfloat16):
        again = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "saved", dtype=dtype)
        assert again.language_model.dtype == dtype
        for name in ROWS:
            assert torch.equal(again.state_dict()[name], model.state_dict()[name])
    again = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "saved")
    batch = TinyLlavaProcessor.from_pretrained(tmp_path / "saved")([ask()])
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_a_plugin_whose_decoder_asks_for_other_ids_now_is_refused_on_loading(tmp_path, monkeypatch):
    model, _ = drawing_model(tmp_path)
    model.save_pretrained(tmp_path / "saved")
    from tinyllava_kit_drawing.decoder import StrokeDecoder

    monkeypatch.setattr(StrokeDecoder, "ranges", property(lambda self: {"move": 1, "draw": 1, "x": 9, "y": 7}))
    with pytest.raises(KitError, match=r"asks for \{'move': 1, 'draw': 1, 'x': 9, 'y': 7\} here; install the version"):
        TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "saved")


def test_a_saved_model_gives_its_trained_rows_to_another(tmp_path):
    model, processor = drawing_model(tmp_path, seed=5)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "saved")
    assembly = Assembly.from_flags(llm=f"llama:{tmp_path / 'llm'}", decoders=[f"drawing=strokes:{tmp_path / 'saved'}"])
    again, _ = assemble(assembly)
    for name in ROWS:
        assert torch.equal(again.state_dict()[name], model.state_dict()[name])


def test_new_rows_are_spread_as_the_llms_own(tmp_path):
    model, _ = drawing_model(tmp_path)
    rows = model.decoders["drawing"].rows
    assert rows.embedding.std().item() == pytest.approx(model.get_input_embeddings().weight.std().item(), rel=0.2)
    assert rows.head.std().item() == pytest.approx(model.get_output_embeddings().weight.std().item(), rel=0.2)


def test_every_id_of_an_item_is_learned_and_its_words_stand_in_front(tmp_path):
    model, processor = drawing_model(tmp_path)
    part = {"type": "drawing", "drawing": LINE, "text": "a line"}
    conversations = [drawn("a line", LINE), [*ask("draw"), {"role": "assistant", "content": [part]}]]
    first, second = (
        processor.encode(processor.conversation(c), writer=ItemCodes(model, processor)) for c in conversations
    )
    assert first.spans == second.spans
    *_, words, ids, end = first.spans
    assert (ids.ids, words.labels[-1], end.labels) == (ids.labels, words.ids[-1], end.ids)
    assert len(ids.ids) == processor.decoders["drawing"].num_ids(LINE) + 2
    probed = processor.probe(processor.conversation(conversations[0]))
    assert [len(span.ids) for span in probed.spans] == [len(span.ids) for span in first.spans]


def test_an_item_without_a_writer_or_in_a_question_is_refused(tmp_path):
    _, processor = drawing_model(tmp_path)
    with pytest.raises(KitError, match="the assistant gives an item of 'drawing', whose ids the model makes"):
        processor([drawn("a line", LINE)], labels=True)
    asked = [{"role": "user", "content": [{"type": "drawing", "drawing": LINE}, "what is it?"]}]
    with pytest.raises(KitError, match="the model does not read 'drawing'; it reads text only"):
        processor([asked])


def test_a_model_that_only_writes_items_does_not_pass_as_one_that_reads_them(tmp_path):
    _, processor = drawing_model(tmp_path)
    assert (processor.reads, processor.writes, list(processor.specs)) == ([], {"drawing"}, ["drawing"])
    none, item = "does not read 'drawing'; it reads text only", Item("drawing", LINE)
    with pytest.raises(KitError, match=none):
        question("what is it?", [item], processor)
    with pytest.raises(KitError, match=none):
        question("what is <drawing>?", [], processor)
    with pytest.raises(KitError, match=none):
        check_pairs(pairs("text"), processor.specs, reads=processor.reads, gives=processor.gives)
    check_pairs(pairs("item"), processor.specs, reads=processor.reads, gives=processor.gives)
    row = {"image": "a.png", "conversations": [{"from": "human", "value": "<image>?"}]}
    with pytest.raises(KitError, match=r"row: column 'image': the model does not read 'image'; it reads text only"):
        processor.conversation(row)


def pairs(answer):
    return Pairs(modality="drawing", prompts=("p",), answer=answer)


def test_an_item_that_cannot_be_written_is_refused_by_name(tmp_path):
    model, processor = drawing_model(tmp_path)
    row = {"id": "r1", "messages": drawn("a line", [[]])}
    with pytest.raises(KitError, match="row 'r1': drawing: has a stroke without a point"):
        ItemCodes(model, processor)(processor.conversation(row).items[0])


def test_lora_on_the_llm_and_rows_learn_together(tmp_path):
    from tinyllava_kit.training.stage_settings import PartTraining
    from tinyllava_kit.training.trained_parts import OpenParts

    model, processor = drawing_model(tmp_path)
    OpenParts(model, {"decoder.drawing": PartTraining(mode="full"), "llm": PartTraining(mode="lora")})
    model.train()
    model(**batch_of(model, processor, [drawn("a line", LINE)])).loss.backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learned > ROWS
    assert all("lora" in name for name in learned - ROWS)
    how = {"max_new_tokens": 5, "do_sample": False}
    assert model.eval().generate(**processor([ask()]), **how).shape[1] > 5


@pytest.mark.parametrize("bits", [8, 4])
def test_an_llm_of_few_bits_is_the_same_with_rows_beside_it_and_these_learn(bits, tmp_path):
    model, processor = drawing_model(tmp_path, hidden=64)
    plain, plain_processor = assemble(Assembly.from_flags(llm=f"llama:{tmp_path / 'llm'}"))
    for name, parts in {"drawing": (model, processor), "plain": (plain, plain_processor)}.items():
        for part in parts:
            part.save_pretrained(tmp_path / name)
    few = {n: load_pretrained(tmp_path / n, quantization=Quantization(bits=bits))[0] for n in ("drawing", "plain")}
    batch = processor([ask()])
    with torch.no_grad():
        logits, expected = few["drawing"](**batch).logits, few["plain"](**batch).logits
    assert torch.equal(logits[..., : expected.shape[-1]], expected)
    few["drawing"], _ = load_pretrained(tmp_path / "drawing", quantization=Quantization(bits=bits))
    assert few["drawing"].decoders["drawing"].rows.head.dtype == torch.float32
    few["drawing"].requires_grad_(False)
    few["drawing"].decoders["drawing"].requires_grad_(True)
    few["drawing"].train()
    few["drawing"](**batch_of(few["drawing"], processor, [drawn("a line", LINE)])).loss.backward()
    assert {name for name, p in few["drawing"].named_parameters() if p.grad is not None} == ROWS
    with pytest.raises(KitError, match="decoders stay in float32, in fewer bits they give other ids"):
        load_pretrained(tmp_path / "drawing", quantization=Quantization(bits=bits, parts=("decoder.drawing",)))


def test_a_decoder_has_no_layers_for_lora(tmp_path):
    from tinyllava_kit.training.stage_settings import PartTraining
    from tinyllava_kit.training.trained_parts import OpenParts

    model, _ = drawing_model(tmp_path)
    with pytest.raises(KitError, match=r"train\.decoder\.drawing: a decoder takes no adapters; train it full"):
        OpenParts(model, {"decoder.drawing": PartTraining(mode="lora")})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"decoders": ["image=strokes"]}, r"decoders\.image: decoder 'strokes' makes 'drawing', not 'image'"),
        ({"decoders": ["drawing=stroke"]}, "no decoder is called 'stroke'; did you mean 'strokes'"),
        ({"decoders": ["drawing=strokes:x"]}, "strokes takes no checkpoint, got 'x'"),
        ({"decoders": ["drawing=strokes"], "settings": ["decoder.drawing.grid=1"]}, "grid must be at least 2"),
        ({"settings": ["decoder.drawing.grid=1"]}, "the assembly has no decoder for 'drawing'"),
    ],
)
def test_a_decoder_that_cannot_be_used_is_refused(flags, message, tmp_path):
    llm = toys.save_llama(tmp_path)
    with pytest.raises(KitError, match=message):
        assemble(Assembly.from_flags(llm=f"llama:{llm}", **flags))
