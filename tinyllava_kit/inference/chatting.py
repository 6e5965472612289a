"""A conversation with a model, turn by turn.

Legend: T positions of the prompt, n of them that have been run before, D width of the LLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, DynamicLayer

from ..core.conversation import ITEM, Conversation, Item, Turn, check_reads
from ..core.plan import plan
from ..core.spans import AnySpan, ItemSpan, TextSpan
from ..errors import KitError
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..pretrained.cache_name import CACHE
from ..processing.encoded import Encoded, Parts
from ..processing.processor import TinyLlavaProcessor
from .answering import question
from .generation_options import options_for
from .segments import Show, nothing
from .streaming import AnswerStream

# What a position of the prompt holds: a token's id, or the item and the number of its row.
Position = int | tuple[int, int]


class Chat:
    """A conversation with a model, turn by turn.

    Every answer is the one that the whole conversation gets when it is asked anew, up to rounding; but of the prompt
    only what the cache of keys and values does not hold yet is run. That is found by comparing positions, so a chat
    template may write earlier turns differently once more follow: the prompt is then run from there.

    Example:
        >>> chat = Chat(model, processor)  # doctest: +SKIP
        >>> chat.attach(Item("image", "a.png"))  # doctest: +SKIP
        >>> chat.say("What is this?"), chat.say("And its colour?")  # doctest: +SKIP

    Args:
        max_new_tokens, generation: see `answering.answer`.
    """

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        *,
        max_new_tokens: int | None = None,
        **generation: Any,
    ) -> None:
        self.model, self.processor = model, processor
        self.max_new_tokens, self.generation = max_new_tokens, generation
        self.system: tuple[Turn, ...] = ()
        self._held: list[Position] = []  # the content of the positions in the cache
        self._cache: Any = None
        self.clear()

    def instruct(self, text: str) -> None:
        """Put a system text in front of the conversation, in place of an earlier one; an empty one takes it away."""
        text = text.replace(ITEM, "")
        self.system = (Turn("system", text),) if text else ()

    def clear(self) -> None:
        """Begin anew: no turns, no items; the system text stays."""
        self.history = Conversation((), (), "chat")
        self.waiting: list[Item] = []
        self._parts: dict[int, Parts] = {}  # the identity of an item, kept alive by the two above -> what was read
        self._forget()

    def attach(self, item: Item) -> None:
        """Read an item for the next question, where it stands at its placeholder, or in front.

        Raises:
            KitError: the model does not read its modality, or it cannot be read.
        """
        check_reads(item.modality, self.processor.reads)
        self._parts[id(item)] = self.processor.read_item(item)
        self.waiting.append(item)

    def say(self, text: str, show: Show | None = None) -> str:
        """Ask; the answer, which `show` gets chunk by chunk as it is generated.

        Whatever is raised, the conversation can continue: an answer that is interrupted
        (`KeyboardInterrupt`, raised again) is kept as far as it came, and a question that got none is not.

        Raises:
            KitError: placeholders that do not fit the items, or no room for an answer.
        """
        asked = question(text, self.waiting, self.processor)
        turns, items = self.history.turns + asked.turns, self.history.items + asked.items
        prompt = self._encode(Conversation((*self.system, *turns), items, "chat"))
        stream, said = self._stream(prompt), ""
        try:
            stream.run(show or nothing)
            self._cache = stream.inputs[CACHE]
            self._held = [*_positions(prompt), *stream.ids[:-1]]  # the last token is chosen, and not run
        finally:
            if stream.ids:
                said = stream.reply.text.replace(ITEM, "").strip()
                self.history = Conversation((*turns, Turn("assistant", said)), items, "chat")
                self.waiting = []
        return said

    def _encode(self, conversation: Conversation) -> Encoded:
        return self.processor.encode(conversation, answer=True, reader=lambda item: self._parts[id(item)])

    @torch.no_grad()
    def _stream(self, prompt: Encoded) -> AnswerStream:
        """The answer to a prompt; only its new positions are run."""
        laid_out, layout = plan([prompt.spans], pad_id=self.processor.pad_id)
        _, length = layout.shape
        try:
            options = options_for(self.model, self.processor, length, self.max_new_tokens, **self.generation)
        except KitError as error:
            raise KitError(f"{error}, or clear the conversation") from error
        run = self._run_before(_positions(prompt))
        inputs = {"input_ids": laid_out["input_ids"].to(self.model.device), "plan": layout, CACHE: self._cache}
        self._forget()  # a cache whose filling is interrupted is of no use
        inputs["inputs_embeds"] = self._embed(prompt, run)
        return AnswerStream(self.model, self.processor, prompt, inputs, {"use_cache": True, **options})

    def _run_before(self, wanted: Sequence[Position]) -> int:
        """How many of the wanted positions, from the first, the cache holds; it is cut to them, or made anew."""
        common = 0
        for held, want in zip(self._held, wanted, strict=False):
            if held != want:
                break
            common += 1
        common = min(common, len(wanted) - 1)  # something must be run to be answered
        while common and _is_inside(wanted[common]):
            common -= 1  # to the border of an item, which is embedded whole
        surplus = len(self._held) - common
        if surplus and not all(type(layer) is DynamicLayer for layer in self._cache.layers):
            self._forget()  # layers that slide or hold a state cannot be cut
            return 0
        if surplus:
            self._cache.crop(-surplus)
        return common

    def _embed(self, prompt: Encoded, run: int) -> Tensor:
        """The embeddings of the prompt, (1, T, D), zeros for the first `run` of them, which nobody reads."""
        batch = self.processor.collate([_tail(prompt, run)]).to(self.model.device)
        new = self.model.embed(batch["input_ids"], batch.get("items"), batch["plan"])  # (1, T - n, D)
        return torch.cat([new.new_zeros(1, run, new.shape[-1]), new], dim=1)  # (1, T, D)

    def _forget(self) -> None:
        self._held = []
        self._cache = DynamicCache(config=self.model.config.text_config)


def _is_inside(position: Position) -> bool:
    """Whether it is a row of an item, and not its first."""
    return isinstance(position, tuple) and position[1] > 0


def _positions(encoded: Encoded) -> list[Position]:
    """The content of each position; items count from 0."""
    out: list[Position] = []
    item = 0
    for span in encoded.spans:
        if isinstance(span, TextSpan):
            out += span.ids
        else:
            out += [(item, row) for row in range(span.num_tokens)]
            item += 1
    return out


def _tail(encoded: Encoded, start: int) -> Encoded:
    """The rest of a prompt from position `start` on, which lies in a text or at the border of an item."""
    spans: list[AnySpan] = []
    items = list(encoded.items)
    at = 0
    for span in encoded.spans:
        length = len(span.ids) if isinstance(span, TextSpan) else span.num_tokens
        if at >= start:
            spans.append(span)
        elif isinstance(span, ItemSpan):
            items.pop(0)
        elif isinstance(span, TextSpan) and at + length > start:
            spans.append(span[start - at :])
        at += length
    return Encoded(spans, items, encoded.name)
