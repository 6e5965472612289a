"""Control tokens that a text spells: they stay text where this is asked for."""

from __future__ import annotations

import re
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from ..core.conversation import CUT, Conversation, Turn


def as_text(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Conversation:
    """The same, each control token that its turns spell cut behind its first character: it is tokenized as text.

    Control tokens are those that transformers' ``sanitize_control_tokens`` means: the special tokens of the tokenizer,
    and other added tokens that its chat template writes.
    """
    pattern = _pattern(tokenizer)
    turns = [
        Turn(turn.role, pattern.sub(lambda found: found[0][0] + CUT + found[0][1:], turn.text))
        for turn in conversation.turns
    ]
    return replace(conversation, turns=tuple(turns))


def _pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    written = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    added = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if (token.special or token.content in written) and len(token.content.strip()) > 1
    ]
    return re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or "(?!)")
