"""The LLM's own chat template: borders of the answers, and what is refused.

The jinja templates here have the shapes of those in use: ChatML, Llama 2, Phi 3, Qwen 3, plain text.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tinyllava_kit.components.templates.tokenizer import TokenizerTemplate
from tinyllava_kit.core.conversation import ITEM, Turn
from tinyllava_kit.core.spans import IGNORE_INDEX
from tinyllava_kit.errors import KitError
from tinyllava_kit.processing.encoding import encode_spans

TOKENIZERS = Path(__file__).parents[2] / "golden" / "data" / "tokenizers"

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "<|im_start|>assistant\n{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{{ '\n' }}"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }} {{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|endoftext|>{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THOUGHTLESS = CHATML.replace("m.content", "m.content.split('</think>')[-1]")
PLAIN = (
    "{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant:{% endif %}"
)


def template(jinja, name="qwen2_instruct"):
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / name)
    tokenizer.chat_template = jinja
    return TokenizerTemplate(tokenizer)


def talk(*said, system=None):
    """Turns in which user and assistant speak one after the other."""
    turns = [Turn(("user", "assistant")[number % 2], text) for number, text in enumerate(said)]
    return [Turn("system", system), *turns] if system else turns


def learned(spans):
    return [span.text for span in spans if span.learn]


TEXT = st.text(st.sampled_from("ab é猫\n.<|>"), max_size=12)


@settings(max_examples=40, deadline=None)
@given(said=st.lists(TEXT, min_size=2, max_size=6), system=st.sampled_from([None, "Be brief."]))
def test_labels_are_transformers_own_mask_of_what_the_assistant_says(said, system):
    ours = template(CHATML)
    turns = talk(*said, system=system)
    reference = ours.tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.text} for turn in turns],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    (span,) = encode_spans(ours.render(turns), ours.tokenizer, add_bos=ours.add_bos)
    mask = reference["assistant_masks"]
    assert span.ids == reference["input_ids"]
    assert span.labels == [i if keep else IGNORE_INDEX for i, keep in zip(span.ids, mask, strict=True)]


@pytest.mark.parametrize(
    ("jinja", "expected"),
    [
        (CHATML, ["a cat<|im_end|>", "black<|im_end|>"]),
        (LLAMA2, [" a cat <|im_end|>", " black <|im_end|>"]),
        (PHI3, ["a cat<|im_end|>", "black<|im_end|>"]),
        (PLAIN, [" a cat", " black"]),
    ],
    ids=["chatml", "llama2", "phi3", "plain"],
)
def test_an_answer_and_its_end_are_learned_and_nothing_else(jinja, expected):
    ours = template(jinja)
    turns = talk("what?", "a cat", "and the color?", "black")
    spans = ours.render(turns)
    assert learned(spans) == expected
    whole = ours.tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.text} for turn in turns], tokenize=False
    )
    assert "".join(span.text for span in spans) == whole


@pytest.mark.parametrize("jinja", [CHATML, LLAMA2, PHI3, PLAIN], ids=["chatml", "llama2", "phi3", "plain"])
def test_what_is_learned_begins_where_the_text_ends_that_asks_for_it(jinja):
    ours = template(jinja)
    turns = talk("what?", "a cat", "and the color?", "black")
    spans = ours.render(turns)
    second = max(number for number, span in enumerate(spans) if span.learn)
    (asks,) = ours.render(turns[:3], answer=True)
    assert asks.text == "".join(span.text for span in spans[:second])
    assert not asks.learn


def test_words_like_an_end_mark_inside_an_answer_do_not_end_it():
    said = "write <|im_end|> there"
    assert learned(template(CHATML).render(talk("how?", said))) == [said + "<|im_end|>"]


def test_an_answer_with_the_words_of_the_question_is_found_behind_it():
    spans = template(CHATML).render(talk("cat", "cat", "cat", "cat"))
    assert learned(spans) == ["cat<|im_end|>", "cat<|im_end|>"]
    assert spans[0].text.endswith("user\ncat<|im_end|>\n<|im_start|>assistant\n")


def test_an_empty_answer_is_its_end():
    assert learned(template(CHATML).render(talk("what?", ""))) == ["<|im_end|>"]


def test_items_stay_where_they_are():
    (asks,) = template(CHATML).render(talk(f"is {ITEM} as {ITEM}?"), answer=True)
    assert asks.text.endswith(f"is {ITEM} as {ITEM}?<|im_end|>\n<|im_start|>assistant\n")


def test_a_last_question_is_written_and_not_learned():
    spans = template(CHATML).render(talk("what?", "a cat", "and?"))
    assert learned(spans) == ["a cat<|im_end|>"]
    assert spans[-1].text == "\n<|im_start|>user\nand?<|im_end|>\n"


def test_an_answer_before_the_first_question_is_left_out():
    turns = talk("what?", "a cat", system="Be brief.")
    greeted = [turns[0], Turn("assistant", "Hello."), *turns[1:]]
    assert template(CHATML).render(greeted) == template(CHATML).render(turns)


def test_a_template_that_writes_only_the_last_answer_as_it_is_learned_takes_one_answer():
    ours = template(QWEN3)
    assert learned(ours.render(talk("what?", "a cat"))) == ["<think>\n\n</think>\n\na cat<|im_end|>"]
    with pytest.raises(KitError, match=r"turn 2 \(assistant\) differently when more turns follow; choose --template"):
        ours.render(talk("what?", "a cat", "and?", "black"))


def test_a_template_that_asks_with_more_than_it_writes_is_refused():
    ours = template(CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\nWell, {% endif %}"))
    with pytest.raises(KitError, match=r"turn 2 \(assistant\) not as the continuation of the text that asks for it"):
        ours.render(talk("what?", "a cat"))


def test_a_template_that_cuts_an_answer_is_refused():
    ours = template(THOUGHTLESS)
    with pytest.raises(KitError, match=r"turn 2 \(assistant\) in other words than it was given; choose --template"):
        ours.render(talk("what?", "<think>hm</think>a cat"))


def test_a_role_that_the_template_refuses_is_told_with_a_template_that_takes_it():
    with pytest.raises(KitError, match=r"refuses turns system, user: only user and.*choose --template qwen2_instruct"):
        template(LLAMA2).render(talk("what?", system="Be brief."), answer=True)


@pytest.mark.parametrize("turns", [[], talk("what?", "a cat"), [Turn("assistant", "Hello.")]])
def test_nothing_to_answer_is_refused(turns):
    with pytest.raises(KitError, match="no question to answer: the last turn must be a user's"):
        template(CHATML).render(turns, answer=True)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("llama_legacy_false", "llama"),
        ("gemma", "gemma"),
        ("phi", "phi"),
        ("stablelm", "phi"),
        ("qwen2_instruct", "qwen2_instruct"),
    ],
)
def test_a_tokenizer_without_a_chat_template_is_told_which_one_fits(name, advice):
    with pytest.raises(KitError, match=f"{name}' has no chat template; choose --template {advice}$"):
        template(None, name)
