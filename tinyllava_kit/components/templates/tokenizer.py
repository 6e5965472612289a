"""The LLM's own chat template, the one that comes with its tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tinyllava_kit.core.conversation import Span, Turn
from tinyllava_kit.core.interfaces import ChatTemplate
from tinyllava_kit.errors import KitError
from tinyllava_kit.files.failures import first_line

from .bounded import render
from .turns import asked
from .vicuna import fitting


class TokenizerTemplate(ChatTemplate):
    """Renders with the tokenizer's jinja template and finds the borders of the answers in the text.

    What is learned of an answer begins where the text ends that asks for it, and ends with the first special
    token after its words (with its last word where the template writes no such token). Both are found by
    rendering the conversation up to there. The whole text must begin in the same way, so a template is
    refused that writes an answer differently once more turns follow.
    """

    add_bos = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        self._instead = f"choose --template {fitting(tokenizer)}"
        if not tokenizer.chat_template:
            raise KitError(f"the tokenizer {tokenizer.name_or_path!r} has no chat template; {self._instead}")
        special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")

    def render(self, turns: Sequence[Turn], *, answer: bool = False) -> list[Span]:
        turns = asked(turns, answer=answer)
        whole = self._text(turns, answer=answer)
        if answer:
            return [Span(whole)]
        spans, at = [], 0
        for number, turn in enumerate(turns):
            if turn.role == "assistant":
                first, last = self._borders(whole, turns[: number + 1])
                spans += [Span(whole[at:first]), Span(whole[first:last], learn=True)]
                at = last
        return [*spans, Span(whole[at:])]

    def jinja(self) -> str | None:
        own = self.tokenizer.chat_template
        return own if isinstance(own, str) else own.get("default")

    def _borders(self, whole: str, turns: Sequence[Turn]) -> tuple[int, int]:
        """Where in `whole` the answer that is the last of `turns` begins and ends.

        Raises:
            KitError: the template writes these turns differently in `whole`, or changes the answer's words.
        """
        question, text = self._text(turns[:-1], answer=True), self._text(turns, answer=False)
        where = f"the LLM's chat template writes turn {len(turns)} (assistant)"
        if not text.startswith(question):
            raise KitError(f"{where} not as the continuation of the text that asks for it; {self._instead}")
        words = turns[-1].text.strip()
        at = text.find(words, len(question))
        if at < 0:
            raise KitError(f"{where} in other words than it was given; {self._instead}")
        end = self._special.search(text, at + len(words))
        last = end.end() if end else max(len(text.rstrip()), at + len(words))
        if text[:last] != whole[:last]:
            advice = f"{self._instead}, or give each answer a row of its own"
            raise KitError(f"{where} differently when more turns follow; {advice}")
        return len(question), last

    def _text(self, turns: Sequence[Turn], *, answer: bool) -> str:
        """What the tokenizer's template makes of the turns; with `answer`, it ends where the assistant begins.

        Raises:
            KitError: it refuses them.
        """
        variables = {
            **self.tokenizer.special_tokens_map,
            "messages": [{"role": turn.role, "content": turn.text} for turn in turns],
            "add_generation_prompt": answer,
            "tools": None,
            "documents": None,
        }
        try:
            return render(self.tokenizer.get_chat_template(), variables)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            refused = f"refuses turns {', '.join(turn.role for turn in turns)}: {first_line(error)}"
            raise KitError(f"the LLM's chat template {refused}; {self._instead}") from error
