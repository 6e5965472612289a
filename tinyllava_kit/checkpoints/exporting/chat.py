"""The chat template of a model as one in jinja."""

from __future__ import annotations

from ...core.processing import TinyLlavaProcessor
from ...templates.tokenizer import TokenizerTemplate
from ...templates.vicuna import SYSTEM, Vicuna

PLACEHOLDER = "<image>"

# Parts of a message to one text, with the placeholder where a picture stands; then the model's own template.
_FLATTEN = """
{%- set flat = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- if message['content'] is string -%}
{%- set flat.messages = flat.messages + [message] -%}
{%- else -%}
{%- set said = namespace(text='') -%}
{%- for part in message['content'] -%}
{%- set said.text = said.text + (PLACEHOLDER if part['type'] == 'image' else part['text']) -%}
{%- endfor -%}
{%- set flat.messages = flat.messages + [{'role': message['role'], 'content': said.text}] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = flat.messages -%}
"""
_VICUNA = """
{%- if messages[0]['role'] == 'system' -%}{{ messages[0]['content'] + ' ' }}{%- set messages = messages[1:] -%}
{%- else -%}{{ SYSTEM + ' ' }}{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{%- set text = message['content'] -%}
{%- if text.split(PLACEHOLDER) | length == 2 -%}
{%- set text = (PLACEHOLDER + '\\n' + (text.replace(PLACEHOLDER, '') | trim)) | trim -%}
{%- endif -%}
{{ 'USER: ' + text }}
{%- else -%}{{ ' ASSISTANT: ' + message['content'] + END }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ ' ASSISTANT:' }}{%- endif -%}
"""


def jinja_of(processor: TinyLlavaProcessor, *, placeholder: str = PLACEHOLDER, parts: bool = True) -> str | None:
    """The model's template in jinja; None where it has no such form.

    Args:
        placeholder: what stands for a picture.
        parts: also take messages whose content is a list of parts.
    """
    names = f"{{%- set PLACEHOLDER = {placeholder!r} -%}}\n"
    flatten = names + _FLATTEN if parts else ""
    if isinstance(processor.template, TokenizerTemplate):
        return flatten + str(processor.tokenizer.chat_template)
    if isinstance(processor.template, Vicuna):
        names += f"{{%- set SYSTEM = {SYSTEM!r} -%}}\n{{%- set END = {processor.template.turn_end!r} -%}}"
        return (flatten or "") + names + _VICUNA
    return None
