"""What the processors of transformers offer beside a call: chat templates, decoding, a description as JSON."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import ProcessorMixin

from ..core.conversation import ITEM, Conversation, Span, Turn
from ..core.interfaces import ChatTemplate
from ..core.spans import IGNORE_INDEX
from ..errors import KitError
from ..plugin.specs import ModalitySpec
from .batch import Batch
from .encoded import Encoded
from .jinja import begin_text
from .prompting import are_several, as_many, fill_parts, read_arguments


class ChatProcessor(ProcessorMixin):
    """The methods of a transformers processor, by means of this kit's own.

    `specs`: modality -> its description.
    """

    specs: Mapping[str, ModalitySpec]
    template: ChatTemplate

    @classmethod
    def get_attributes(cls) -> list[str]:
        """What transformers saves and loads by itself."""
        return ["tokenizer"]

    @property
    def model_input_names(self) -> list[str]:
        """What a batch may hold for the model."""
        return ["input_ids", "attention_mask", "position_ids", "mm_token_type_ids", "items", "plan"]

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What ``processor_config.json`` holds."""

    @abstractmethod
    def conversation(self, source: Any, *, name: str = "") -> Conversation:
        """Messages as a conversation."""

    @abstractmethod
    def encode(
        self, conversation: Conversation, *, answer: bool = False, continued: bool = False, sanitize: bool | None = None
    ) -> Encoded:
        """A conversation as spans."""

    @abstractmethod
    def collate(
        self,
        encoded: Sequence[Encoded],
        *,
        labels: bool = False,
        padding_side: str | None = None,
        max_length: int | None = None,
    ) -> Batch:
        """Encoded conversations as a batch."""

    def to_dict(self) -> dict[str, Any]:
        """What ``processor_config.json`` holds."""
        return self.settings()

    def to_json_string(self) -> str:
        """The text of ``processor_config.json``."""
        return json.dumps(self.settings(), indent=2) + "\n"

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """The tokenizer's."""
        text: str = self.tokenizer.decode(*args, **kwargs)
        return text

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """The tokenizer's."""
        texts: list[str] = self.tokenizer.batch_decode(*args, **kwargs)
        return texts

    def apply_chat_template(  # type: ignore[override]  # transformers has the names that this kit refuses
        self,
        conversation: Any,
        chat_template: None = None,
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        return_assistant_tokens_mask: bool = False,
        tokenize: bool = False,
        return_tensors: str | None = None,
        return_dict: bool = False,
        processor_kwargs: Mapping[str, Any] | None = None,
        sanitize_control_tokens: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As in transformers: messages, or a list of them, as the model's chat template writes them.

        Example:
            >>> inputs = processor.apply_chat_template(  # doctest: +SKIP
            ...     messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            ... )
            >>> model.generate(**inputs, max_new_tokens=40)  # doctest: +SKIP

        Args:
            conversation: messages, see `from_messages`, or a list of conversations.
            chat_template: the model has one; another is chosen by `with_template`.
            add_generation_prompt: end where the assistant begins to speak.
            continue_final_message: leave the assistant's last message open; the model continues it.
            return_assistant_tokens_mask: add `assistant_masks`, (B, T), 1 where training learns the token.
            tokenize, return_dict: return a batch. Ids alone are returned only of messages without items. Of several
                conversations, without ``return_tensors`` and ``padding``, they are lists without padding.
            processor_kwargs: arguments of the processor's call, as are all others. Among them may be the items for
                parts that name no source: ``images=[...]``.
            sanitize_control_tokens: a control token that a message spells is text.

        Returns:
            Without `tokenize` a text, or a list of texts, with a placeholder where an item stands: what
            ``processor(text=...)`` takes. With it ids, and with `return_dict` a `Batch`.

        Raises:
            KitError: messages that the template cannot write; an argument that cannot be honoured; names it.
        """
        options = {**(processor_kwargs or {}), **{name: value for name, value in kwargs.items() if value is not None}}
        layout = {name: options.pop(name, None) for name in ("padding_side", "max_length")}
        tensors = None if return_tensors == "auto" else return_tensors
        given = read_arguments({**options, "return_tensors": tensors}, self.specs)
        _check_template_arguments(
            chat_template, continue_final_message, add_generation_prompt, return_assistant_tokens_mask
        )
        sources = fill_parts(as_many(conversation), given, self.specs, blank=not tokenize)
        read = [self.conversation(each) for each in sources]
        how = {"answer": add_generation_prompt, "continued": continue_final_message}
        if not tokenize:
            texts = [self.prompt(each, **how) for each in read]
            return texts if are_several(conversation) else texts[0]
        if not return_dict and any(each.items for each in read):
            raise KitError("the ids alone would lose the items of these messages; give return_dict=True")
        encoded = [self.encode(each, sanitize=sanitize_control_tokens, **how) for each in read]
        if not given.truncation:
            layout["max_length"] = None
        batch = self.collate(encoded, labels=return_assistant_tokens_mask, **layout)
        batch = batch.by_types(sorted(self.specs), named=are_several(conversation) and not return_assistant_tokens_mask)
        if return_assistant_tokens_mask:
            batch.pop("targets", None)
            batch["assistant_masks"] = (batch.pop("labels") != IGNORE_INDEX).long()  # (B, T)
        if return_dict:
            listed = tensors is None and options.get("padding") in (None, False) and are_several(conversation)
            return batch.as_lists() if listed and "plan" not in batch and not return_assistant_tokens_mask else batch
        if tensors is not None:
            return batch["input_ids"]
        ids = [row[mask.bool()].tolist() for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
        return ids if are_several(conversation) else ids[0]

    def render(self, conversation: Conversation, *, answer: bool = False, continued: bool = False) -> list[Span]:
        """What the chat template writes, with `ITEM` in the place of each item.

        Args:
            answer: end where the assistant begins to speak. continued: end with the assistant's last words.

        Raises:
            KitError: turns that the template cannot write; names the conversation.
        """
        try:
            if continued:
                return [Span(_open_text(self.template, conversation.turns))]
            return self.template.render(conversation.turns, answer=answer)
        except KitError as error:
            raise KitError(f"{conversation.name}: {error}") from error

    def prompt(self, conversation: Conversation, *, answer: bool = False, continued: bool = False) -> str:
        """The text that the chat template writes, with a begin token where it needs one, and in an item's place its
        modality's text: what `chat_template` renders.

        Raises:
            KitError: turns that the template cannot write.
        """
        first, *rest = "".join(
            span.text for span in self.render(conversation, answer=answer, continued=continued)
        ).split(ITEM)
        marks = [self.specs[item.modality].token.text for item in conversation.items]
        text = first + "".join(f"{mark}{after}" for mark, after in zip(marks, rest, strict=True))
        return begin_text(self.template, self.tokenizer) + text


def _open_text(template: ChatTemplate, turns: Sequence[Turn]) -> str:
    """The text of the turns up to the last words of the assistant, the last turn left open.

    Raises:
        KitError: the last turn is not the assistant's, or the template does not write its words.
    """
    if not turns or turns[-1].role != "assistant":
        raise KitError("there is no answer to continue: the last message must be the assistant's")
    question = "".join(span.text for span in template.render(turns[:-1], answer=True))
    whole = "".join(span.text for span in template.render(turns))
    words = turns[-1].text.strip()
    at = whole.find(words, len(question))
    if not whole.startswith(question) or at < 0:
        raise KitError("the chat template does not write an answer after the generation prompt; it cannot be continued")
    return whole[: at + len(words)]


def _check_template_arguments(template: object, continued: bool, answer: bool, mask: bool) -> None:
    if template is not None:
        raise KitError("chat_template is the model's own; processor.with_template(NAME) has another installed one")
    if continued and (answer or mask):
        raise KitError(
            "continue_final_message leaves the last answer open, so there is no generation prompt behind it and "
            "nothing is learned; give one of these arguments"
        )
