"""Control tokens that a text spells: they stay text, so that no question and no row leaves its turn."""

from __future__ import annotations

import re
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from ..core.conversation import CUT, Conversation, Turn


def as_text(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, *, answers_too: bool = True
) -> Conversation:
    """The same, each control token that its turns spell cut behind its first character: it is tokenized as text.

    Control tokens are those that transformers' ``sanitize_control_tokens`` means: the special tokens of the tokenizer,
    and other added tokens that its chat template writes.

    Args:
        answers_too: the latter in turns of the assistant, too. A row that teaches a model to think or to call a tool
            spells ``<think>`` or ``<tool_call>`` there, and means the token.
    """
    special, written = (_pattern(tokenizer, written=written) for written in (False, True))
    turns = []
    for turn in conversation.turns:
        pattern = special if turn.role == "assistant" and not answers_too else written
        turns.append(Turn(turn.role, pattern.sub(lambda found: found[0][0] + CUT + found[0][1:], turn.text)))
    return replace(conversation, turns=tuple(turns))


def _pattern(tokenizer: PreTrainedTokenizerBase, *, written: bool) -> re.Pattern[str]:
    """Finds special tokens, and with `written` those that the tokenizer's chat template writes."""
    template = tokenizer.chat_template if written and isinstance(tokenizer.chat_template, str) else ""
    added = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if (token.special or token.content in template) and len(token.content.strip()) > 1
    ]
    return re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or "(?!)")
