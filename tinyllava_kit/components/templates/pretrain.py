"""Captions: items, then their text. For training a connector alone."""

from __future__ import annotations

from collections.abc import Sequence

from tinyllava_kit.core.conversation import ITEM, Span, Turn
from tinyllava_kit.core.interfaces import ChatTemplate

from .turns import ALTERNATE, alternate

_JINJA = """
{%- for message in ([system] if system else []) + messages -%}
{%- if message['role'] == 'assistant' -%}{{ message['content'] + '\\n' }}
{%- else -%}{{ message['placeholders'] | default([]) | join }}
{%- endif -%}
{%- endfor -%}
""".strip()


class Pretrain(ChatTemplate):
    """Of a question only its items are kept; each answer ends with a line break.

    As TinyLLaVA_Factory's template of the same name, which however writes one ``<image>`` for each turn, whatever
    the turn holds.
    """

    def render(self, turns: Sequence[Turn], *, answer: bool = False) -> list[Span]:
        system, turns = alternate(turns, answer=answer)
        spans = []
        for turn in system + turns:
            if turn.role == "assistant":
                spans.append(Span(turn.text + "\n", learn=True))
            elif ITEM in turn.text:
                spans.append(Span(ITEM * turn.text.count(ITEM)))
        return spans

    def jinja(self) -> str:
        return ALTERNATE + _JINJA
