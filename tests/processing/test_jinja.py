"""Chat templates in jinja: what they render is what the kit writes, over contents of parts, too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jinja2
import pytest

from tests.processing.test_encoding import NAMES, tokenizer_of
from tinyllava_kit import KitError
from tinyllava_kit.core.conversation import Span
from tinyllava_kit.processing.jinja import (
    begin_in_jinja,
    begin_text,
    jinja_of,
    quoted,
    restore_template,
    save_tokenizer,
)

BODY = (
    "{% for message in messages %}[{{ message['role'] }}: {{ message['content'] }}"
    "{% if message['placeholders'] %} of {{ message['placeholders'] | join }} in {{ message['words'] }}{% endif %}]"
    "{% endfor %}"
)
ENVIRONMENT = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as transformers has it
KEY = "llm_chat_template"
MARKS = {"image": "<image>", "sound": "<sound>"}


def chat_template(body: str | None = BODY, *, add_bos: bool = False, text: str = "") -> Any:
    return SimpleNamespace(jinja=lambda: body, add_bos=add_bos, render=lambda turns, answer: [Span(f"{text}\0 A")])


def rendered(messages: list[Any], **how: Any) -> str:
    def refuse(why: str) -> None:
        raise jinja2.TemplateError(why)

    written = jinja_of(chat_template(), MARKS, **how)
    assert written is not None
    template = ENVIRONMENT.from_string(written)
    return template.render(messages=messages, raise_exception=refuse, bos_token="<s>")


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_parts_become_a_text_with_placeholders() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "image"}, " b", {"type": "sound"}]
    assert rendered([user(parts)]) == "[user: a <image> b<sound> of <image><sound> in a  b]"
    assert rendered([user({"type": "image"})]) == "[user: <image> of <image> in ]"
    assert rendered([user([])]) == "[user: ]"


@pytest.mark.parametrize(
    ("in_strings", "expected"), [(False, "[user: a <image>?]"), (True, "[user: a <image>? of <image> in a ?]")]
)
def test_a_placeholder_in_a_string_is_text_unless_it_is_said_to_be_an_item(in_strings: bool, expected: str) -> None:
    assert rendered([user("a <image>?")], in_strings=in_strings) == expected


def test_answers_in_front_of_the_first_question_are_gone() -> None:
    said = [{"role": role, "content": role[0]} for role in ("system", "assistant", "user", "assistant")]
    assert rendered(said) == "[system: s][user: u][assistant: a]"


def test_a_part_that_is_none_is_refused() -> None:
    with pytest.raises(jinja2.TemplateError, match="a part is no text, and no image, sound"):
        rendered([user([{"type": "video"}])])


def test_a_template_without_such_a_form_has_none() -> None:
    assert jinja_of(chat_template(None), MARKS) is None


def test_where_contents_are_strings_alone_the_template_is_as_it_is() -> None:
    assert jinja_of(chat_template("x"), MARKS, parts=False, begin="{{ bos_token }}") == "{{ bos_token }}x"
    assert rendered([user("hi")], parts=False, begin="{{ bos_token }}") == "<s>[user: hi]"


@pytest.mark.parametrize("text", ["it's", "a\\b", "two\nlines", "\\'\n", ""])
def test_a_text_is_quoted_so_that_jinja_reads_it(text: str) -> None:
    assert ENVIRONMENT.from_string(f"{{{{ {quoted(text)} }}}}").render() == text


@pytest.mark.parametrize("name", NAMES)
def test_the_begin_token_as_text_gives_the_ids_that_the_kit_puts_together(name: str) -> None:
    tokenizer = tokenizer_of(name)
    template = chat_template(add_bos=True, text="USER: hi")
    begin = begin_text(template, tokenizer)
    alone = tokenizer("USER: hi", add_special_tokens=False)["input_ids"]
    first = [tokenizer.bos_token_id] if begin else []
    assert bool(begin) == (name in ("llama_legacy_false", "gemma"))
    assert tokenizer(f"{begin}USER: hi", add_special_tokens=False)["input_ids"] == first + alone
    written = ENVIRONMENT.from_string(begin_in_jinja(template, tokenizer))
    assert written.render(bos_token=tokenizer.bos_token) == begin
    assert begin_text(chat_template(text="USER: hi"), tokenizer) == ""


def test_a_tokenizer_is_saved_with_another_template_and_has_its_own_again(tmp_path: Any) -> None:
    saved: list[str | None] = []
    tokenizer: Any = SimpleNamespace(chat_template="own")
    tokenizer.save_pretrained = lambda folder: saved.append(tokenizer.chat_template)
    save_tokenizer(tokenizer, "another", tmp_path)
    assert (saved, tokenizer.chat_template) == (["another"], "own")
    for settings, expected in (
        ({KEY: "mine"}, "mine"),
        ({}, "own"),
        ({KEY: None}, None),
    ):
        tokenizer.chat_template = "own"
        restore_template(tokenizer, settings, "model")
        assert tokenizer.chat_template == expected
    restore_template(tokenizer, {KEY: {"default": "a", "tools": "b"}}, "model")
    for wrong in (3, {"default": 3}):
        with pytest.raises(KitError, match=r"'model': processor_config\.json: llm_chat_template is no chat template"):
            restore_template(tokenizer, {KEY: wrong}, "model")
