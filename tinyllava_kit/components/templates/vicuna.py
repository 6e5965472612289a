"""The Vicuna prompt, as TinyLLaVA_Factory uses it, with the end-of-turn token of each family of LLMs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from tinyllava_kit.core.conversation import ITEM, Span, Turn
from tinyllava_kit.core.interfaces import ChatTemplate
from tinyllava_kit.errors import KitError
from tinyllava_kit.processing.jinja import quoted

from .turns import ALTERNATE, alternate

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

_JINJA = """
{{- (system['content'] if system else SYSTEM) + ' ' }}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}{{ ' ASSISTANT: ' + message['content'] + END }}
{%- elif message['placeholders'] | default([]) | length == 1 -%}
{%- set words = message['words'] | trim -%}
{{ 'USER: ' + message['placeholders'][0] + ('\\n' + words if words else '') }}
{%- else -%}{{ 'USER: ' + message['content'] }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ ' ASSISTANT:' }}{%- endif -%}
""".strip()


class Vicuna(ChatTemplate):
    """``SYSTEM USER: question ASSISTANT: answer<end>USER: ...`` with the tokenizer's own end token.

    The only item of a user's turn is moved to the front of it, with a line break behind; of several, each stays
    where it is. The space after ``ASSISTANT:`` is learned, because the model is asked with a text that ends in
    the colon. A system turn takes the place of the standing text.
    """

    end: ClassVar[str] = ""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        self.turn_end = self.end or tokenizer.eos_token or ""
        if len(tokenizer(self.turn_end, add_special_tokens=False)["input_ids"]) != 1:
            raise KitError(
                f"this template ends a turn with {self.turn_end!r}, which is not one token of the LLM's tokenizer "
                f"(its own end token is {tokenizer.eos_token!r}); choose --template {fitting(tokenizer)}"
            )

    def render(self, turns: Sequence[Turn], *, answer: bool = False) -> list[Span]:
        system, turns = alternate(turns, answer=answer)
        spans = [Span(f"{system[0].text if system else SYSTEM} ")]
        for turn in turns:
            if turn.role == "user":
                spans.append(Span(f"USER: {_item_first(turn.text)}"))
            else:
                spans += [Span(" ASSISTANT:"), Span(f" {turn.text}{self.turn_end}", learn=True)]
        return [*spans, Span(" ASSISTANT:")] if answer else spans

    def jinja(self) -> str:
        texts = _JINJA.replace("SYSTEM", quoted(SYSTEM)).replace("END", quoted(self.turn_end))
        return ALTERNATE + texts


class Llama(Vicuna):
    """Ends a turn with Llama's ``</s>``."""

    end = "</s>"


class Gemma(Vicuna):
    """Ends a turn with Gemma's ``<eos>``."""

    end = "<eos>"


class Phi(Vicuna):
    """Ends a turn with Phi's ``<|endoftext|>``."""

    end = "<|endoftext|>"


class Qwen2Base(Vicuna):
    """Ends a turn with the end of a text, as Qwen2's base models do."""

    end = "<|endoftext|>"


class Qwen2Instruct(Vicuna):
    """Ends a turn with ``<|im_end|>``, as Qwen2's chat models do."""

    end = "<|im_end|>"


def fitting(tokenizer: PreTrainedTokenizerBase) -> str:
    """The name of the template here that ends a turn as the tokenizer ends a text."""
    names = {"</s>": "llama", "<eos>": "gemma", "<|endoftext|>": "phi", "<|im_end|>": "qwen2_instruct"}
    return names.get(tokenizer.eos_token or "", "vicuna")


def _item_first(text: str) -> str:
    """The one item of a question in front of it."""
    if text.count(ITEM) != 1:
        return text
    return f"{ITEM}\n{text.replace(ITEM, '').strip()}".strip()
