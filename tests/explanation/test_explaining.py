"""An explanation is what one full pass of transformers' own model says, and slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from tests import toys
from tinyllava_kit import assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.explanation.explaining import answer_run, explain, nearest_words, split_words
from tinyllava_kit.inference.answering import answer, question

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(7)
TOKENS = 6


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A model that says nothing but words."""
    model, processor = toys.picture_model(tmp_path_factory.mktemp("explaining") / "llm")
    tokens = enumerate(processor.tokenizer.convert_ids_to_tokens(range(320)))
    model.generation_config.suppress_tokens = [n for n, text in tokens if not (text[0] == "▁" and text[1:].isalpha())]
    return model, processor


@pytest.fixture(scope="module")
def asked(pair):
    pictures = [Item("image", RNG.integers(0, 256, (30, 33, 3), dtype=np.uint8)) for _ in range(2)]
    return question("Is <image> like <image>?", pictures, pair[1])


@pytest.fixture(scope="module")
def explained(pair, asked):
    return explain(*pair, asked, max_new_tokens=TOKENS)


@pytest.fixture(scope="module")
def whole(pair, asked):
    """Prompt and answer in one pass of the LLM with eager attention: ids, length of the prompt, logits, attention."""
    model, processor = pair
    batch = processor(asked, answer=True)
    length = batch["input_ids"].shape[1]
    ids = model.generate(**batch, max_new_tokens=TOKENS, do_sample=False)[0, length:]
    embeds = torch.cat([model.embed(batch["input_ids"], batch["items"], batch["plan"]), embedded(model, ids)], dim=1)
    model.language_model.set_attn_implementation("eager")
    out = model.language_model(inputs_embeds=embeds, output_attentions=True)
    model.language_model.set_attn_implementation("sdpa")
    return ids, length, out.logits[0].detach(), torch.cat(out.attentions).detach().mean((0, 1)), batch["plan"]


def embedded(model, ids):
    return model.get_input_embeddings()(ids[None])


def test_the_answer_is_that_of_ask(pair, asked, explained):
    assert [explained.answer] == answer(*pair, [asked], max_new_tokens=TOKENS)
    assert explained.question == "Is <image> like <image>?"


def test_probabilities_are_those_of_one_full_pass(explained, whole):
    ids, length, logits, _, _ = whole
    expected = logits.softmax(-1)
    assert len(explained.choices) == len(ids)
    for at, (token, choice) in enumerate(zip(ids, explained.choices, strict=True)):
        row = expected[length - 1 + at]
        assert choice.probability == pytest.approx(float(row[token]), abs=1e-5)
        assert [value for _, value in choice.likeliest] == pytest.approx(row.topk(5).values.tolist(), abs=1e-5)


def test_attention_is_that_of_one_full_pass_where_each_token_was_chosen(explained, whole):
    _, length, _, attention, plan = whole
    assert len(plan.items) == len(explained.items) == 2
    for place, rows in zip(plan.items, explained.items, strict=True):
        assert rows.attention.shape == (len(explained.words), place.num_tokens)
        for word, found in zip(explained.words, rows.attention, strict=True):
            chosen = [
                attention[length - 1 + token, place.start : place.start + place.num_tokens]
                for token in range(word.first, word.last)
            ]
            torch.testing.assert_close(found, torch.stack(chosen).mean(0), atol=1e-5, rtol=0)


def test_the_shares_of_a_word_are_all_of_its_attention(explained):
    assert explained.words
    for number, word in enumerate(explained.words):
        assert sum(word.shares) == pytest.approx(1, abs=1e-5)
        for item, rows in enumerate(explained.items):
            assert word.shares[item] == pytest.approx(float(rows.attention[number].sum()), abs=1e-6)


def test_attention_between_words_is_that_of_one_full_pass(explained, whole):
    _, length, _, attention, _ = whole
    assert len(explained.words) > 1
    for number, word in enumerate(explained.words):
        for before, other in enumerate(explained.words[:number]):
            rows = [attention[length - 1 + token] for token in range(word.first, word.last)]
            slow = sum(float(row[length + other.first : length + other.last].sum()) for row in rows) / len(rows)
            assert float(explained.between[number, before]) == pytest.approx(slow, abs=1e-5)


def test_a_few_positions_at_a_time_are_the_same(pair, asked, explained, monkeypatch):
    monkeypatch.setattr("tinyllava_kit.explanation.explaining.AT_ONCE", 4)
    found = explain(*pair, asked, max_new_tokens=TOKENS)
    assert len(found.choices) > 4
    for ours, theirs in zip(found.choices, explained.choices, strict=True):
        assert ours.probability == pytest.approx(theirs.probability, abs=1e-5)
    torch.testing.assert_close(found.between, explained.between, atol=1e-5, rtol=0)
    for ours, theirs in zip(found.items, explained.items, strict=True):
        torch.testing.assert_close(ours.attention, theirs.attention, atol=1e-5, rtol=0)


def test_the_llm_attends_as_before_afterwards(pair, asked):
    explain(*pair, asked, max_new_tokens=1)
    assert pair[0].language_model.config._attn_implementation == "sdpa"


def test_an_answer_of_one_token_is_explained(pair, asked):
    found = explain(*pair, asked, max_new_tokens=1)
    assert len(found.choices) == 1


def test_a_question_without_items_is_explained(pair):
    found = explain(*pair, question("What?", [], pair[1]), max_new_tokens=3)
    assert found.items == ()
    assert all(sum(word.shares) == pytest.approx(1, abs=1e-5) for word in found.words)


def test_nearest_words_are_those_of_a_slow_loop():
    torch.manual_seed(0)
    table, rows = torch.randn(11, 5), torch.randn(3, 5)
    ids, cosines = nearest_words(table, rows, 4)
    for number, row in enumerate(rows):
        slow = [float((row @ word) / (row.norm() * word.norm())) for word in table]
        order = sorted(range(11), key=lambda word: -slow[word])[:4]
        assert ids[number].tolist() == order
        assert cosines[number].tolist() == pytest.approx([slow[word] for word in order], abs=1e-6)


def test_the_nearest_word_of_an_items_row_is_of_its_own_rows(pair, asked, explained, whole):
    model, processor = pair
    batch = processor(asked, answer=True)
    embeds = model.embed(batch["input_ids"], batch["items"], batch["plan"])[0]
    for place, rows in zip(whole[-1].items, explained.items, strict=True):
        table = model.get_input_embeddings().weight
        ids, _ = nearest_words(table, embeds[place.start : place.start + place.num_tokens].detach(), 1)
        assert [nearest[0][0] for nearest in rows.nearest] == [processor.decode(token) for token in ids]


def test_an_llm_with_a_window_tells_no_attention_where_it_has_dropped_rows(tmp_path):
    toys.save_llama(tmp_path / "llm")
    torch.manual_seed(1)
    sizes = {"hidden_size": 24, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(**sizes, vocab_size=320, num_key_value_heads=2, sliding_window=5, eos_token_id=2)
    MistralForCausalLM(config).save_pretrained(tmp_path / "llm")
    model, processor = assemble(Assembly.from_flags(llm=f"causal_lm:{tmp_path / 'llm'}", towers=[], connectors=[]))
    found = explain(model, processor, question("What is it then?", [], processor), max_new_tokens=3)
    assert all(word.shares == () for word in found.words)
    assert all(0 < choice.probability <= 1 for choice in found.choices)


def test_the_logits_do_not_depend_on_the_prompt_having_one_position(pair):
    model, _ = pair
    prompt, ids = embedded(model, torch.tensor([5])), torch.tensor([6, 7])
    logits, attention = answer_run(model, prompt, ids)
    expected = model.language_model(input_ids=torch.tensor([[5, 6]])).logits[0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert attention.shape == (2, 2)


class Saying:
    """A processor whose tokens are the given texts; <end> is special."""

    def __init__(self, *pieces):
        self.pieces, self.tokenizer = pieces, self
        self.all_special_ids = [n for n, piece in enumerate(pieces) if piece == "<end>"]

    def decode(self, ids, **options):
        said = b"".join(self.pieces[n].encode("latin-1" if self.pieces[n] in BYTES else "utf-8") for n in ids)
        return said.decode(errors="replace").replace("<end>", "")


BYTES = "你".encode().decode("latin-1")  # each of them is a token that writes a byte


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["a", " red", " tri", "angle", ".", "<end>"], [("a", 0, 1), ("red", 1, 2), ("triangle.", 2, 5)]),
        (["<end>"], []),
        ([" ", "\n", "yes"], [("yes", 2, 3)]),
        (["红", "色", "的 ", "box"], [("红", 0, 1), ("色", 1, 2), ("的box", 2, 4)]),
        ([*BYTES, "好"], [("你", 0, 3), ("好", 3, 4)]),
        (["a", "<end>", "b"], [("a", 0, 1), ("b", 2, 3)]),
        (["a", BYTES[0]], [("a\ufffd", 0, 2)]),
        ([], []),
    ],
)
def test_words_begin_with_a_space_or_where_a_script_writes_none(pieces, words):
    found = list(split_words(Saying(*pieces), range(len(pieces))))
    assert [(text.replace(" ", ""), first, last) for text, first, last in found] == words
