"""The order of turns: which are left out before a template writes them, and which a fixed prompt can write."""

from __future__ import annotations

from collections.abc import Sequence

from tinyllava_kit.core.conversation import ITEM, Turn
from tinyllava_kit.errors import KitError

# `alternate` in jinja: takes the system turn, if there is one, out of ``messages``, into ``system``.
ALTERNATE = """
{%- set system = none -%}
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set system = messages[0] -%}
{%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] -%}
{{ raise_exception('this template writes user and assistant in turn') }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and (not messages or messages[-1]['role'] != 'user') -%}
{{ raise_exception('there is no question to answer: the last turn must be a user') }}
{%- endif -%}
""".strip()


def asked(turns: Sequence[Turn], *, answer: bool) -> list[Turn]:
    """The turns without the answers that stand before the first question.

    LLaVA's rows sometimes begin with one, and its code leaves it out.

    Raises:
        KitError: such an answer holds an item; nothing is left; with `answer`, the last turn is not a user's.
    """
    kept: list[Turn] = []
    for turn in turns:
        if turn.role == "assistant" and all(before.role == "system" for before in kept):
            if ITEM in turn.text:
                raise KitError("the assistant's turn before the first question holds an item; begin with a user's turn")
        else:
            kept.append(turn)
    if not kept or (answer and kept[-1].role != "user"):
        raise KitError("there is no question to answer: the last turn must be a user's")
    return kept


def alternate(turns: Sequence[Turn], *, answer: bool) -> tuple[list[Turn], list[Turn]]:
    """The system turn, if there is one, and what follows it: user and assistant in turn.

    Raises:
        KitError: another order, or as `asked`.
    """
    kept = asked(turns, answer=answer)
    first = 1 if kept[0].role == "system" else 0
    for number, turn in enumerate(kept[first:]):
        if turn.role != ("user", "assistant")[number % 2]:
            order = ", ".join(turn.role for turn in turns)
            raise KitError(f"this template writes user and assistant in turn, got {order}; choose --template auto")
    return kept[:first], kept[first:]
