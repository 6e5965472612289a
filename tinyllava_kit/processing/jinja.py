"""A model's chat template in jinja: what other programs ask with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..core.conversation import ITEM, Turn
from ..core.interfaces import ChatTemplate
from ..errors import KitError
from .encoding import begin_of

# Where a saved processor keeps the LLM's own template, and files of transformers that would hold another one.
OWN_TEMPLATE = "llm_chat_template"
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")

# A comment in which others find the mark of learned text: `return_assistant_tokens_mask` gives what the kit learns,
# whatever the template marks.
LEARNING_IS_KNOWN = "{#- learned: {% generation %} -#}"

# Answers before the first question are left out. A content of parts becomes a text. Programs that find out whether a
# template takes parts, such as vLLM, look for a loop over `content`.
_FLATTEN = """
{%- set marks = MARKS -%}
{%- set flat = namespace(messages=[], begun=false) -%}
{%- for message in messages -%}
{%- set flat.begun = flat.begun or message['role'] not in ['system', 'assistant'] -%}
{%- if message['role'] != 'assistant' or flat.begun -%}
{%- set said = namespace(content='', words='', placeholders=[]) -%}
{%- if message['content'] is string or message['content'] is none or message['content'] is undefined -%}
STRING
{%- else -%}
{%- set content = [message['content']] if message['content'] is mapping else message['content'] -%}
{%- for part in content -%}
{%- if part is mapping and part['type'] in marks -%}
{%- set said.content = said.content + marks[part['type']] -%}
{%- set said.placeholders = said.placeholders + [marks[part['type']]] -%}
{%- elif part is string or part['text'] is string -%}
{%- set said.content = said.content + (part if part is string else part['text']) -%}
{%- set said.words = said.words + (part if part is string else part['text']) -%}
{%- else -%}
{{ raise_exception('a part is no text, and no ' + (marks | join(', '))) }}
{%- endif -%}
{%- endfor -%}
ADD
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = flat.messages %}
"""
_ADD = """
{%- set flat.messages = flat.messages + [{'role': message['role'], 'content': said.content, 'words': said.words,
    'placeholders': said.placeholders}] -%}
"""
_STRING_IS_TEXT = "{%- set flat.messages = flat.messages + [message] -%}"
_STRING_HOLDS_ITEMS = (
    """
{%- set said.content = message['content'] -%}
{%- set said.words = message['content'] -%}
{%- for mark in marks.values() -%}
{%- for piece in said.words.split(mark)[1:] -%}
{%- set said.placeholders = said.placeholders + [mark] -%}
{%- endfor -%}
{%- set said.words = said.words.replace(mark, '') -%}
{%- endfor -%}
"""
    + _ADD
)


def jinja_of(
    template: ChatTemplate,
    placeholders: Mapping[str, str],
    *,
    begin: str = "",
    parts: bool = True,
    in_strings: bool = False,
) -> str | None:
    """The template in jinja, over messages as transformers' chat templates get them; None where it has no such form.

    Args:
        placeholders: modality -> the text in place of an item of it.
        begin: the text in front, for programs that put no begin token there; see `begin_in_jinja`.
        parts: take contents that are lists of parts; False: for programs that have strings alone.
        in_strings: a placeholder in a string is an item, too; where a string is text, it is not.
    """
    body = template.jinja()
    if body is None:
        return None
    if not parts and "placeholders" not in body:
        return begin + body
    string = _STRING_HOLDS_ITEMS if in_strings else _STRING_IS_TEXT
    flatten = _FLATTEN.replace("STRING", string.strip()).replace("ADD", _ADD.strip())
    marks = ", ".join(f"{quoted(modality)}: {quoted(mark)}" for modality, mark in placeholders.items())
    return flatten.replace("MARKS", f"{{{marks}}}", 1).lstrip() + begin + body


def begin_in_jinja(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    """`begin_text` as jinja writes it."""
    begin = begin_text(template, tokenizer)
    return "" if not begin else "{{ bos_token + ' ' }}" if begin.endswith(" ") else "{{ bos_token }}"


def begin_text(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    """The begin token as text, where the kit puts one in front of what the template writes.

    Programs tokenize the whole text, begin token included, as transformers' `apply_chat_template` does. The kit
    tokenizes what comes behind it alone, where some tokenizers put a space that is not there.
    """
    begin = begin_of(tokenizer) if template.add_bos else []
    if not begin:
        return ""
    text = "".join(span.text for span in template.render([Turn("user", f"{ITEM} A")], answer=True)).partition(ITEM)[0]
    spaced = f"{tokenizer.bos_token} "
    whole, alone = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (f"{spaced}{text}", text))
    return spaced if text and whole == begin + alone else str(tokenizer.bos_token)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, template: str | None, folder: Path) -> None:
    """Write a tokenizer with that template in place of its own."""
    own, tokenizer.chat_template = tokenizer.chat_template, template
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.chat_template = own


def restore_template(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any], path: str) -> None:
    """Give a tokenizer that `save_tokenizer` wrote its own template again; one of an earlier version has it.

    Raises:
        KitError: what the settings have is none.
    """
    own = settings.get(OWN_TEMPLATE, tokenizer.chat_template)
    texts = own.values() if isinstance(own, Mapping) else [own or ""]
    if not all(isinstance(text, str) for text in texts):
        raise KitError(f"{path!r}: processor_config.json: {OWN_TEMPLATE} is no chat template but {own!r:.60}")
    tokenizer.chat_template = own


def quoted(text: str) -> str:
    """A text as it is written in jinja."""
    for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return f"'{text}'"
