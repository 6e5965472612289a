"""The template that is saved for other programs, rendered by transformers alone, against what the kit asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from transformers import AutoTokenizer

from tests import toys
from tinyllava_kit import TinyLlavaProcessor, assemble
from tinyllava_kit.components.templates.plugin import tinyllava_chat_templates
from tinyllava_kit.core.conversation import ITEM, Span, Turn
from tinyllava_kit.core.interfaces import ChatTemplate
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.specs import load
from tinyllava_kit.processing.jinja import jinja_of, restore_template, save_tokenizer

TOKENIZERS = Path(__file__).parents[2] / "golden" / "data" / "tokenizers"
MARKS = {"image": "<image>", "audio": "<audio>", "smell": "(a 'smell'\n)\\"}
OWNS = [
    toys.CHAT_TEMPLATE,
    "\n  {% for m in messages %}\n    {% if m.role == 'user' %}\n[{{ m.content | trim }}]\n    {% else %}\n"
    "{{ m.content }}{{ eos_token }}{% endif %}\n{% endfor %}\n{%- if add_generation_prompt %}\n>{% endif %}\n",
]

pieces = st.sampled_from(
    ["a", "é", " ", "\n", "'", '"', "{", "}", "%", "\\", "<image>", "{{ bos_token }}", "{% raw %}"]
)
text = st.lists(pieces, max_size=5).map("".join)
part = (
    text
    | text.map(lambda each: {"type": "text", "text": each})
    | st.sampled_from(list(MARKS)).map(lambda modality: {"type": modality, modality: "file"})
)
content = text | st.lists(part, max_size=4)
words = text | st.lists(text | text.map(lambda each: {"type": "text", "text": each}), max_size=2)


@st.composite
def conversations(draw):
    """Messages as users give them: perhaps a system turn, an answer before the first question, any number of turns."""
    system = [{"role": "system", "content": draw(words)}] if draw(st.booleans()) else []
    early = [{"role": "assistant", "content": draw(words)}] if draw(st.booleans()) else []
    count = draw(st.integers(1, 5))
    said = [{"role": ("user", "assistant")[n % 2], "content": draw(content)} for n in range(count)]
    return [*system, *early, *said]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """``saved(name, own)`` -> a template of the kit, and a plain tokenizer of what is saved of it."""
    known = {}

    def make(name, own=toys.CHAT_TEMPLATE):
        if (name, own) not in known:
            spec = next(spec for spec in tinyllava_chat_templates() if spec.name == name)
            own_end = {"llama": "llama_legacy_true", "vicuna": "phi", "pretrain": "phi", "auto": "phi"}
            tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / own_end.get(name, name))
            tokenizer.chat_template = own
            template = load(spec)(tokenizer)
            place = tmp_path_factory.mktemp("saved")
            save_tokenizer(tokenizer, jinja_of(template, MARKS), place)
            known[name, own] = template, AutoTokenizer.from_pretrained(place)
        return known[name, own]

    return make


def asked(template, messages, *, answer):
    """What the kit writes, each item as its placeholder."""
    turns, marks = [], []
    for message in messages:
        text = ""
        for each in [message["content"]] if isinstance(message["content"], str) else message["content"]:
            is_text = isinstance(each, str) or each["type"] == "text"
            marks += [] if is_text else [MARKS[each["type"]]]
            text += ITEM if not is_text else each if isinstance(each, str) else each["text"]
        turns.append(Turn(message["role"], text))
    pieces = "".join(span.text for span in template.render(turns, answer=answer)).split(ITEM)
    assert len(pieces) == len(marks) + 1
    return "".join(piece + mark for piece, mark in zip(pieces, [*marks, ""], strict=True))


@pytest.mark.parametrize("name", [spec.name for spec in tinyllava_chat_templates()])
@settings(max_examples=25, deadline=None)
@given(messages=conversations(), answer=st.booleans(), own=st.sampled_from(OWNS))
def test_other_programs_write_what_the_kit_asks(saved, name, messages, answer, own):
    """Or refuse where the kit does."""
    template, tokenizer = saved(name, own if name == "auto" else OWNS[0])
    try:
        ours = asked(template, messages, answer=answer or name == "auto")
    except KitError:
        if name != "auto":
            with pytest.raises(TemplateError, match="no question to answer"):
                tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer)
        return
    theirs = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer or name == "auto")
    assert theirs == ours


@pytest.mark.parametrize("roles", ["user user", "system user user", "user system", "user assistant assistant user"])
def test_an_order_that_the_kit_refuses_is_refused(saved, roles):
    messages = [{"role": role, "content": "a"} for role in roles.split()]
    template, tokenizer = saved("vicuna")
    with pytest.raises(KitError, match="user and assistant in turn"):
        asked(template, messages, answer=False)
    with pytest.raises(TemplateError, match="user and assistant in turn"):
        tokenizer.apply_chat_template(messages, tokenize=False)


def test_a_part_that_the_model_does_not_read_is_refused(saved):
    messages = [{"role": "user", "content": [{"type": "video", "path": "a.mp4"}]}]
    for name in ("auto", "vicuna", "pretrain"):
        with pytest.raises(TemplateError, match="a part is no text, and no image, audio"):
            saved(name)[1].apply_chat_template(messages, tokenize=False)


def test_messages_of_tools_reach_the_llms_own_template_as_they_are(saved):
    own = "{% for m in messages %}{{ m.content or m.tool_calls[0].name }}{% endfor %}{{ tools | length }}"
    _, tokenizer = saved("auto", own)
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"name": "b"}], "content": None}]
    assert tokenizer.apply_chat_template(messages, tools=[{}, {}], tokenize=False) == "ab2"


def test_a_string_holds_items_where_the_program_has_strings_alone(saved):
    template, tokenizer = saved("vicuna")
    said = "what is <image> here?"
    messages = [{"role": "user", "content": said}]
    jinja = jinja_of(template, {"image": "<image>"}, parts=False, in_strings=True)
    moved = tokenizer.apply_chat_template(messages, chat_template=jinja, tokenize=False)
    assert moved.endswith("USER: <image>\nwhat is  here?")
    assert tokenizer.apply_chat_template(messages, tokenize=False).endswith(f"USER: {said}")


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("toy"))[1]


@pytest.mark.parametrize("name", ["auto", "vicuna", "pretrain"])
def test_a_saved_processor_comes_back_and_others_get_its_very_ids(processor, name, tmp_path):
    ours = processor.with_template(name)
    for folder in ("first", "second"):  # of what was loaded
        ours.save_pretrained(tmp_path / folder)
        ours = TinyLlavaProcessor.from_pretrained(tmp_path / folder)
    first, second = ((tmp_path / each / "chat_template.jinja").read_text() for each in ("first", "second"))
    assert first == second
    assert ours.tokenizer.chat_template == toys.CHAT_TEMPLATE
    asked = [
        {"role": "user", "content": "hi "},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "?"},
    ]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "second").apply_chat_template(asked, add_generation_prompt=True)
    if name == "pretrain":  # whose text begins with an item
        assert theirs["input_ids"][0] == ours.tokenizer.bos_token_id
    else:
        assert theirs["input_ids"] == ours(asked)["input_ids"][0].tolist()
    own, again = (each.with_template("auto")(asked)["input_ids"].tolist() for each in (processor, ours))
    assert own == again


def test_the_llm_of_a_saved_model_has_its_own_template_again(processor, tmp_path):
    model, _ = toys.picture_model(tmp_path / "llm")
    model.save_pretrained(tmp_path / "model")
    processor.with_template("vicuna").save_pretrained(tmp_path / "model")
    _, built = assemble(toys.picture_assembly(tmp_path / "model"))
    assert built.tokenizer.chat_template == toys.CHAT_TEMPLATE


class Plain(ChatTemplate):
    def render(self, turns, *, answer=False):
        return [Span("".join(turn.text for turn in turns))]


def test_nothing_is_saved_of_a_template_without_a_form_in_jinja(processor, tmp_path):
    """Not the LLM's own either, which the model does not ask with; an older file goes."""
    ours = processor.with_template("vicuna")
    ours.save_pretrained(tmp_path)
    ours.template = Plain(ours.tokenizer)
    ours.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template is None
    assert TinyLlavaProcessor.from_pretrained(tmp_path).tokenizer.chat_template == toys.CHAT_TEMPLATE


def test_settings_with_something_else_are_refused_and_those_of_an_earlier_version_have_none(processor):
    tokenizer = processor.tokenizer
    for wrong in (3, ["a"], {"default": 1}):
        with pytest.raises(
            KitError, match=r"'here': processor_config\.json: llm_chat_template is no chat template but"
        ):
            restore_template(tokenizer, {"llm_chat_template": wrong}, "here")
    restore_template(tokenizer, {}, "here")
    assert tokenizer.chat_template == toys.CHAT_TEMPLATE
