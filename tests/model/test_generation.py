"""Prompts with items in every way of generating: what processors of scores see of them, and what does not belong."""

from __future__ import annotations

import copy
from itertools import chain, pairwise

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from transformers import DynamicCache, GenerationConfig, LogitsProcessor

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import IGNORE_INDEX
from tinyllava_kit.errors import FusionError
from tinyllava_kit.inference.answering import answer, question
from tinyllava_kit.inference.chatting import Chat
from tinyllava_kit.inference.replies import replies
from tinyllava_kit.model import prompt
from tinyllava_kit.pretrained.cache_name import CACHE

NEW = 6
GREEDY = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    pictures = [{"type": "image", "image": str(folder / name)} for name in toys.save_pictures(folder)]
    model, processor = toys.picture_model(folder / "llm")
    return model.eval(), processor, pictures


@pytest.fixture(scope="module")
def asked(made):
    """Prompts of several lengths: a picture, none, two of them."""
    _, _, pictures = made
    contents = [[pictures[0], "what?"], ["no picture at all, but a longer question?"], ["a", *pictures[1:3], "which"]]
    return [[{"role": "user", "content": content}] for content in contents]


def with_filler(processor, conversations, filler):
    """A batch padded on the left whose positions without text hold the id `filler`."""
    batch = processor(conversations)
    encoded = [processor.encode(processor.conversation(each), answer=True) for each in conversations]
    inputs, layout = plan([each.spans for each in encoded], pad_id=filler, padding_side="left")
    batch["plan"], batch["input_ids"] = layout, inputs["input_ids"]
    return batch


class Frequency(LogitsProcessor):
    """A stranger's: every id costs as often as it stands there."""

    def __call__(self, input_ids, scores):
        return scores - 2.0 * torch.zeros_like(scores).scatter_add_(
            1, input_ids, torch.ones_like(scores).gather(1, input_ids)
        )


class Table(LogitsProcessor):
    """A stranger's, with a table of the vocabulary's length."""

    def __call__(self, input_ids, scores):
        return scores + torch.linspace(0, 9, 320)[None, :]


PENALTIES = {
    "repetition": {"repetition_penalty": 3.0},
    "n-grams of one": {"no_repeat_ngram_size": 1},
    "n-grams of two": {"no_repeat_ngram_size": 2},
    "of the prompt": {"encoder_repetition_penalty": 3.0},
    "n-grams of the prompt": {"encoder_no_repeat_ngram_size": 1},
    "bad words": {"bad_words_ids": [[5], [2, 7]]},
    "bias": {"sequence_bias": {(9,): 8.0, (0, 11): 20.0}},
    "a stranger's": {"logits_processor": [Frequency(), Table()]},
}
WAYS = {"greedy": {}, "beams": {"num_beams": 3}, "sampled": {"do_sample": True, "num_return_sequences": 2}}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_what_stands_where_no_text_does_changes_no_answer(made, asked, penalty, way):
    model, processor, _ = made
    answers = []
    for filler in (processor.tokenizer.eos_token_id, 0, 17, 290):
        torch.manual_seed(4)
        batch = with_filler(processor, asked, filler)
        ids = model.generate(**batch, **{**GREEDY, **penalty, **way})
        answers.append(ids[:, batch["input_ids"].shape[1] :].tolist())
    assert all(each == answers[0] for each in answers)


def slow_answer(model, processor, conversation, change):
    """Greedy without a cache, one conversation, `change(texts, written, scores)` on each step's logits.

    `texts` are the ids of each piece of text between items.
    """
    batch = processor([conversation])
    spans = processor.encode(processor.conversation(conversation), answer=True).spans
    texts, written = [list(span.ids) for span in spans if hasattr(span, "ids")], []
    embeds = model.embed(batch["input_ids"], batch.get("items"), batch["plan"])
    for _ in range(NEW):
        scores = change(texts, written, model.language_model(inputs_embeds=embeds).logits[0, -1].clone())
        written.append(int(scores.argmax()))
        new = model.get_input_embeddings()(torch.tensor([[written[-1]]]))
        embeds = torch.cat([embeds, new], 1)
    return written


def penalised(texts, written, scores):
    for each in {*chain(*texts), *written}:
        scores[each] = scores[each] / 3.0 if scores[each] > 0 else scores[each] * 3.0
    return scores


def favoured(texts, written, scores):
    for each in set(chain(*texts)):
        scores[each] = scores[each] * 3.0 if scores[each] > 0 else scores[each] / 3.0
    return scores


def unrepeated(texts, written, scores):
    """No two ids twice behind one another, of a piece of text or of the last piece and the answer."""
    for row in [*texts[:-1], texts[-1] + written]:
        for first, second in pairwise(row):
            if first == (texts[-1] + written)[-1]:
                scores[second] = -torch.inf
    return scores


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"repetition_penalty": 3.0}, penalised),
        ({"encoder_repetition_penalty": 3.0}, favoured),
        ({"no_repeat_ngram_size": 2}, unrepeated),
    ],
    ids=["repetition", "of the prompt", "n-grams"],
)
def test_penalties_are_those_of_the_text_alone(made, asked, options, change):
    model, processor, _ = made
    with torch.no_grad():
        expected = [slow_answer(model, processor, each, change) for each in asked]
    batch = with_filler(processor, asked, processor.tokenizer.eos_token_id)
    got = model.generate(**batch, **{**GREEDY, **options})[:, batch["input_ids"].shape[1] :]
    assert got.tolist() == expected


def test_padding_of_plain_ids_is_no_text_either(made):
    model, _, _ = made
    ids = torch.tensor([[11, 12, 13]])
    alone = model.generate(ids, **GREEDY, no_repeat_ngram_size=1)[0, 3:]
    padded, mask = torch.tensor([[2, 2, 11, 12, 13]]), torch.tensor([[0, 0, 1, 1, 1]])
    options = {**GREEDY, "no_repeat_ngram_size": 1}
    assert model.generate(padded, attention_mask=mask, **options)[0, 5:].tolist() == alone.tolist()


@pytest.mark.parametrize("options", [{}, {"no_repeat_ngram_size": 1}, {"repetition_penalty": 3.0, "num_beams": 2}])
def test_a_mask_that_is_not_given_is_that_of_the_padding(made, options):
    """The padding is what the model would say: a penalty of it would be seen."""
    model, _, _ = made
    short, long = torch.tensor([[11, 12, 13]]), torch.tensor([[24, 25, 21, 22, 23]])
    pad = model.generate(short, **GREEDY)[0, 3].item()
    padded = torch.cat([torch.nn.functional.pad(short, (2, 0), value=pad), long])
    options = {**GREEDY, **options, "pad_token_id": pad}
    alone = [model.generate(each, **options)[0, each.shape[1] :] for each in (short, long)]
    with_mask = model.generate(padded, attention_mask=(padded != pad).long(), **options)
    got = model.generate(padded, **options)
    assert got.tolist() == with_mask.tolist()
    for row, expected in zip(got[:, 5:].tolist(), alone, strict=True):
        assert row == expected.tolist()
    plain = model.language_model.generate(padded, **{**GREEDY, "pad_token_id": pad})
    assert model.generate(input_ids=padded, **{**GREEDY, "pad_token_id": pad}).tolist() == plain.tolist()


def test_the_score_of_the_end_is_its_logit_where_the_prompt_does_not_hold_it(made, asked):
    model, processor, _ = made
    end = next(i for i in range(3, 320) if not any((processor([c])["input_ids"] == i).any() for c in asked))
    options = {**GREEDY, "max_new_tokens": 1, "repetition_penalty": 2.0, "eos_token_id": end, "pad_token_id": end}
    batch = with_filler(processor, asked, end)
    out = model.generate(**batch, **options, return_dict_in_generate=True, output_scores=True, output_logits=True)
    assert torch.equal(out.scores[0][:, end], out.logits[0][:, end])


def test_answers_replies_and_chats_penalise_text_alone(made):
    model, processor, pictures = made
    picture = Item("image", pictures[0]["image"])
    told = {"max_new_tokens": NEW, "repetition_penalty": 3.0, "eos_token_id": -1}
    before, said = processor.tokenizer.pad_token, []
    try:
        for filler in (before, "</s>", "a"):
            processor.tokenizer.pad_token = filler
            one = question("what?", [picture], processor)
            chat = Chat(model, processor, **told)
            chat.attach(picture)
            said.append([answer(model, processor, [one], **told)[0], replies(model, processor, [one], **told)[0].text])
            said[-1] += [chat.say("what?"), chat.say("and now?")]
    finally:
        processor.tokenizer.pad_token = before
    assert said[0] == said[1] == said[2]
    assert said[0][0] == said[0][1] == said[0][2] != ""


ASSISTED = {"lookup": {"prompt_lookup_num_tokens": 3}, "assistant": {"assistant_model": None}}


def assisted(model, options):
    """The options; an assistant is another model, so that some of what it offers is wrong."""
    if "assistant_model" not in options:
        return options
    other = copy.deepcopy(model)
    torch.nn.init.normal_(other.language_model.lm_head.weight[5:40])
    return {"assistant_model": other}


@pytest.mark.parametrize("way", ASSISTED.values(), ids=ASSISTED)
def test_assisted_text_is_greedy_text(made, way):
    model, processor, _ = made
    batch = processor([[{"role": "user", "content": "what is it, what is it, what is"}]])
    expected = model.language_model.generate(batch["input_ids"], **{**GREEDY, "max_new_tokens": 12})
    got = model.generate(**batch, **{**GREEDY, "max_new_tokens": 12}, **assisted(model, way))
    assert got.tolist() == expected.tolist()


@pytest.mark.parametrize("items", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cache_implementation": "offloaded"},
            "'offloaded' cannot be used on a CPU: it moves the cache .* leave it out",
        ),
        ({"cache_implementation": "offloaded_static"}, "'offloaded_static' cannot be used on a CPU"),
        ({"cache_implementation": "offloaded_hybrid"}, "'offloaded_hybrid' cannot be used on a CPU"),
        ({"cache_implementation": "quantized"}, "'quantized' needs optimum-quanto, .*: pip install optimum-quanto, or"),
        (
            {"cache_implementation": "quantized", "cache_config": {"backend": "hqq"}},
            "'quantized' needs hqq, which is not installed: pip install hqq, or leave it out",
        ),
    ],
)
def test_a_cache_that_there_is_not_here_is_refused(made, asked, monkeypatch, options, message, items):
    monkeypatch.setattr(prompt, "_QUANTIZING", {k: (v, lambda: False) for k, (v, _) in prompt._QUANTIZING.items()})
    model, processor, _ = made
    with pytest.raises(KitError, match=f"cache_implementation={message}"):
        model.generate(**processor([asked[0 if items else 1]]), **GREEDY, **options)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_other_caches_change_no_answer(made, asked, kind):
    model, processor, _ = made
    batch = processor(asked)
    expected = model.generate(**batch, **GREEDY)
    assert model.generate(**batch, **GREEDY, cache_implementation=kind).tolist() == expected.tolist()


TEXT_WAYS = [{}, {"num_beams": 3}, {"repetition_penalty": 2.0}, {"use_cache": False}, {"prefill_chunk_size": 4}]


@pytest.mark.parametrize("options", [*TEXT_WAYS, {"do_sample": True, "num_return_sequences": 2, "top_k": 9}])
def test_text_alone_is_answered_as_the_llm_by_itself_does(made, options):
    model, processor, _ = made
    batch = processor([[{"role": "user", "content": "what is it?"}], [{"role": "user", "content": "no"}]])
    mask, options = batch["attention_mask"], {**GREEDY, **options}
    torch.manual_seed(0)
    expected = model.language_model.generate(batch["input_ids"], attention_mask=mask, **options)
    torch.manual_seed(0)
    assert model.generate(**batch, **options).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"assistant_model": None}, "assisted generation cannot be used with items"),
        ({"prompt_lookup_num_tokens": 3}, "assisted generation cannot be used with items"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive search cannot be used with items"),
        ({"dola_layers": "low"}, "dola generation cannot be used with items"),
        ({"num_beams": 4, "num_beam_groups": 2}, "group beam search cannot be used with items"),
        ({"num_beams": 2, "force_words_ids": [[5]]}, "constrained beam search cannot be used with items"),
        (
            {"custom_generate": lambda model, input_ids, **others: input_ids},
            "custom_generate cannot be used with items",
        ),
        ({"token_healing": True}, "token_healing cannot be used with items"),
        ({"prefill_chunk_size": 4}, "prefill_chunk_size cannot be used with items"),
        ({"cache_implementation": "paged"}, "cache_implementation='paged' cannot be used with this model"),
        ({"assistant_early_exit": 1}, "assistant_early_exit cannot be used with this model"),
    ],
)
def test_ways_that_read_the_prompt_as_ids_are_refused(made, asked, options, what):
    model, processor, _ = made
    options = assisted(model, options)
    with pytest.raises(KitError, match=what):
        model.generate(**processor(asked[:1]), **GREEDY, **options)


def test_code_of_a_hub_is_never_asked_about(made, monkeypatch):
    model, processor, _ = made
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks on the terminal"))
    batch = processor([[{"role": "user", "content": "what?"}]])
    with pytest.raises(ValueError, match="requires `trust_remote_code=True`"):
        model.generate(**batch, **GREEDY, penalty_alpha=0.6, top_k=4)


def test_ids_beside_the_llms_own_are_taken_as_the_models_settings_say(made):
    model = copy.copy(made[0])
    model.generation_config = GenerationConfig(do_sample=True, temperature=1e-9)
    logits = torch.tensor([[0.0, 1.0, 0.5]])
    assert all(int(model.sample_as({})(logits)) == 1 for _ in range(20))
    assert len({int(model.sample_as({"temperature": 1e9})(logits)) for _ in range(60)}) > 1
    assert int(model.sample_as({"do_sample": False})(logits)) == 1


def longer(tensor, by=2):
    return torch.cat([tensor, tensor[:, :1].expand(-1, by)], 1)


@pytest.mark.parametrize("name", ["input_ids", "attention_mask", "position_ids", "labels"])
def test_inputs_of_another_shape_than_the_plan_are_refused(made, asked, name):
    model, processor, _ = made
    batch = processor(asked, padding_side="left")
    batch["labels"] = torch.full_like(batch["input_ids"], IGNORE_INDEX)
    batch[name] = longer(batch[name])
    batch_size, length = batch["plan"].shape
    message = rf"{name} \({batch_size}, {length + 2}\) does not belong to the plan, which lays out \(3, {length}\)"
    for call in (model, lambda **inputs: model.generate(**inputs, **GREEDY)):
        with pytest.raises(FusionError, match=message):
            call(**batch)


def test_items_of_another_batch_are_refused(made, asked):
    model, processor, _ = made
    batches = [processor([each]) for each in asked]
    for mine, theirs, message in (
        (0, 2, r"the plan has 1 image item\(s\), 2 came with the batch"),
        (2, 0, r"the plan has 2 image item\(s\), 1 came with the batch"),
        (1, 0, "the batch brings image items, and the plan has no place for them"),
    ):
        mixed = {**batches[mine], "items": batches[theirs]["items"]}
        with pytest.raises(FusionError, match=message):
            model(**mixed)
    for call in (model, model.generate):
        with pytest.raises(FusionError, match="image items come with input_ids and would be ignored"):
            call(input_ids=batches[0]["input_ids"], items=batches[0]["items"])


def test_what_is_left_out_is_as_the_plan_says(made, asked):
    model, processor, _ = made
    batch = processor(asked, padding_side="left")
    least = {name: batch[name] for name in ("input_ids", "items", "plan")}
    with torch.no_grad():
        expected = model(**batch).logits
        got = model(**least).logits
    assert torch.equal(got, expected)
    assert torch.equal(model.generate(**least, **GREEDY), model.generate(**batch, **GREEDY))


def test_a_cache_goes_on_with_a_longer_plan_and_not_with_its_own(made):
    model, processor, pictures = made
    asked = [{"role": "user", "content": [pictures[0], "what?"]}]
    cache = DynamicCache(config=model.config.text_config)
    batch = processor(asked)
    model.generate(**batch, **GREEDY, **{CACHE: cache})
    with pytest.raises(FusionError, match=rf"{CACHE}: \d+ positions are held, and the plan lays out \d+"):
        model.generate(**batch, **GREEDY, **{CACHE: cache})
    cache.crop(-NEW)
    again = model.generate(**batch, **GREEDY, **{CACHE: cache})
    assert torch.equal(again, model.generate(**batch, **GREEDY))


@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_a_cache_is_taken_under_each_name_that_transformers_has_had_for_it(made, name):
    model, processor, pictures = made
    batch = processor([[{"role": "user", "content": [pictures[0], "what?"]}]])
    with torch.no_grad():
        start = model(**batch, use_cache=True)
        written = start.logits[:, -1:].argmax(-1)  # (1, 1)
        got = model(input_ids=written, use_cache=True, **{name: start[CACHE]})
        held = got[CACHE].get_seq_length()
        embeds = model.embed(batch["input_ids"], batch["items"], batch["plan"])
        whole = torch.cat([embeds, model.get_input_embeddings()(written)], 1)
        expected = model.language_model(inputs_embeds=whole).logits[:, -1:]
    assert held == whole.shape[1]
    assert torch.allclose(got.logits, expected, atol=1e-5)


def test_outputs_as_a_tuple_are_in_the_order_of_transformers(made):
    model, processor, pictures = made
    batch = processor([[{"role": "user", "content": [pictures[0], "what?"]}]])
    with torch.no_grad():
        logits, cache = model(**batch, use_cache=True, return_dict=False)
        hidden, _ = model.base_model(**batch, use_cache=True, return_dict=False)
    assert cache.get_seq_length() == logits.shape[1]
    assert torch.allclose(model.get_output_embeddings()(hidden), logits)


def of_peft(test):
    """peft says more than it must."""
    said = ("`is_gradient_checkpointing` is deprecated:FutureWarning", "Position ids are not supported:UserWarning")
    for each in said:
        test = pytest.mark.filterwarnings(f"ignore:{each}")(test)
    return test


def labelled(processor, pictures):
    said = [{"role": "user", "content": [pictures[0], "what?"]}, {"role": "assistant", "content": "a dog"}]
    return processor([said], labels=True)


@of_peft
@pytest.mark.parametrize(
    "config",
    [PromptTuningConfig(num_virtual_tokens=4), PromptEncoderConfig(num_virtual_tokens=4, encoder_hidden_size=24)],
    ids=["prompt tuning", "p-tuning"],
)
def test_rows_that_are_put_in_front_are_refused(made, config):
    model, processor, pictures = made
    tuned = get_peft_model(copy.deepcopy(model), type(config)(**{**config.to_dict(), "task_type": "CAUSAL_LM"}))
    with pytest.raises(FusionError, match="image items come with inputs_embeds and would be ignored"):
        tuned(**labelled(processor, pictures))
    text = processor([[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]], labels=True)
    with pytest.raises(FusionError, match=r"inputs_embeds .* does not belong to the plan"):
        tuned(**text)
    with pytest.raises(KitError, match="prompt and prefix tuning cannot"):
        tuned.generate(**processor([[{"role": "user", "content": [pictures[0]]}]]), **GREEDY)


@of_peft
def test_a_prefix_is_learned_in_front_of_the_picture(made):
    model, processor, pictures = made
    batch = labelled(processor, pictures)
    tuned = get_peft_model(copy.deepcopy(model), PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"))
    with torch.no_grad():
        got = tuned(**batch)
        embeds = model.embed(batch["input_ids"], batch["items"], batch["plan"])
        logits = model.language_model(inputs_embeds=embeds, **{CACHE: tuned.get_prompt(1)}).logits
    expected = torch.nn.functional.cross_entropy(logits[0, :-1], batch["labels"][0, 1:])
    assert torch.allclose(got.loss, expected, atol=1e-5)


@of_peft
def test_adapters_of_peft_learn_and_answer(made):
    model, processor, pictures = made
    batch, asked = labelled(processor, pictures), processor([[{"role": "user", "content": [pictures[0], "what?"]}]])
    adapted = get_peft_model(copy.deepcopy(model), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert torch.allclose(adapted(**batch).loss, model(**batch).loss)
    assert torch.equal(adapted.generate(**asked, **GREEDY), model.generate(**asked, **GREEDY))
