"""The engine: prompts in, answers out, many at a time; which of its two ways an answer takes is decided here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..core.conversation import Conversation
from ..core.spans import ItemSpan, TextSpan
from ..errors import KitError
from ..features.digests import parts_digest
from ..features.item_codes import ItemCodes
from ..inference.generation_options import NEW_TOKENS, ends_of
from ..inference.segments import GeneratedItem, TextSegments
from ..inference.streaming import AnswerStream
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.encoded import Encoded, EncodedItem
from ..processing.processor import TinyLlavaProcessor
from .answer_options import AnswerOptions, PreparedAnswer, prepare
from .continuous_batching import PAGE_TOKENS, ContinuousBatching, WorkerDiedError
from .item_rows import HeldRows, ItemRows
from .lone_answers import LoneAnswer
from .remote_llm import RemoteLlm
from .stop_strings import StopStrings
from .token_choice import TokenScore

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_CACHE_BYTES = 1 << 30  # of keys and values, where nobody says how many tokens
_CONTEXTS = 16  # so many full ones at most
_ROWS_BYTES = 1 << 28  # of rows of items
_READERS = 4  # threads in which items are read


class BusyError(KitError):
    """As many requests are answered and wait as there may be."""


class NoRoomError(KitError):
    """A conversation and its answer are longer than the model, or than the cache of conversations, allows."""


@dataclass(frozen=True)
class AnswerChunk:
    """A chunk of an answer: words with the scores of their ids, or of an item."""

    text: str = ""
    scores: tuple[TokenScore, ...] = ()
    item: GeneratedItem | None = None


AnswerChunks = AsyncGenerator[AnswerChunk, None]


@dataclass
class AnswerCount:
    """The counts of an answer that has ended.

    tokens: the ids that were generated. by_modality: of those, the ids of items. finish: "stop" or "length".
    """

    tokens: int = 0
    by_modality: dict[str, int] = field(default_factory=dict)
    finish: str = "stop"


class Engine:
    """Answers prompts with one model.

    Answers in words are generated together, by continuous batching. One at a time, in a thread beside it, go answers
    that hold items, those to prompts that hold ids of decoders, and all of an LLM that continuous batching cannot run.
    With a remote LLM, that generates the answers in words, of rows that are made here.

    Args:
        max_requests: answered and waiting together. cache_tokens: positions whose keys and values are held, of all
            requests together; None: as many as fit in a GiB. batching: whether answers are generated together at all.
        remote: the model's LLM elsewhere; then none are generated together here.
    """

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        *,
        max_requests: int = 64,
        cache_tokens: int | None = None,
        batching: bool = True,
        remote: RemoteLlm | None = None,
    ) -> None:
        self.remote = remote
        batching = batching and remote is None
        self.model, self.processor = model.eval(), processor
        self.max_requests = max_requests
        self.in_flight = 0
        self.batched = 0  # of those, in continuous batching
        self.restarts = 0
        embedding: Any = model.get_input_embeddings()
        row_bytes = embedding.weight[0].nbytes
        self.rows = ItemRows(embedding, max(_ROWS_BYTES // row_bytes, 1))
        size = {"num_tokens": cache_tokens or _cache_tokens(model), "max_requests": max_requests}
        self.batching = ContinuousBatching(model.language_model, self.rows, **size) if batching else None
        self.codes = ItemCodes(model, processor)
        self._reviving = asyncio.Lock()
        self._readers = ThreadPoolExecutor(_READERS, "reading")
        self._towers = ThreadPoolExecutor(1, "towers")
        self._alone = ThreadPoolExecutor(1, "alone")

    async def open(self) -> None:
        """Begin to answer.

        Raises:
            RemoteLlmError: the LLM elsewhere cannot be asked, or is another one.
        """
        if self.remote is not None:
            await self.remote.open(self.model.language_model)
        if self.batching is not None:
            try:
                await asyncio.to_thread(self._open)
            except Exception as error:  # whatever an LLM's code raises that is asked in a way it does not know
                _log.warning("answers are generated one at a time: %s", error)
                await asyncio.to_thread(self.batching.close)
                self.batching = None

    def _open(self) -> None:
        assert self.batching is not None
        self.batching.open()
        self.batching.check()

    async def close(self) -> None:
        """End; answers that somebody waits for fail."""
        if self.batching is not None:
            await asyncio.to_thread(self.batching.close)
        if self.remote is not None:
            await self.remote.close()
        for threads in (self._readers, self._towers, self._alone):
            threads.shutdown(wait=True, cancel_futures=True)

    @property
    def is_alive(self) -> bool:
        """Whether the next request is answered at once; a worker that has died begins anew with it."""
        return self.batching is None or self.batching.is_alive

    @property
    def longest(self) -> int | None:
        """How many positions a prompt and its answer may have together; None: any number."""
        room = getattr(self.model.config.text_config, "max_position_embeddings", None)
        bounds: list[int] = [room] if room is not None else []
        bounds += [self.batching.num_tokens] if self.batching is not None else []
        bounds += [self.remote.longest] if self.remote is not None and self.remote.longest is not None else []
        return min(bounds, default=None)

    def check_room(self, number: int = 1) -> None:
        """Check that `number` more answers can be generated now.

        Raises:
            BusyError: there are not so many places.
        """
        if self.in_flight + number > self.max_requests:
            raise BusyError(f"{self.in_flight} of at most {self.max_requests} answers are being generated; ask later")

    @contextmanager
    def places(self, number: int = 1) -> Iterator[None]:
        """Places for so many answers, for as long as the body runs.

        Raises:
            BusyError: there are not so many.
        """
        self.check_room(number)
        self.in_flight += number
        try:
            yield
        finally:
            self.in_flight -= number

    async def read(self, work: Callable[[], _T]) -> _T:
        """Run what decodes items in a thread for it."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def alone(self, work: Callable[[], _T]) -> _T:
        """Run what needs the whole model in the thread of answers that are generated one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._alone, work)

    async def while_others_wait(self, work: Callable[[], _T]) -> _T:
        """The same for what changes how the LLM runs: nothing is generated until it is done."""

        def paused() -> _T:
            with nullcontext() if self.batching is None else self.batching.paused():
                return work()

        if self.batching is not None:
            await self._revive(self.batching)
        return await self.alone(paused)

    async def encode(self, conversation: Conversation) -> Encoded:
        """A prompt, its items read. Control tokens that its turns spell are text.

        Raises:
            KitError: see `TinyLlavaProcessor.encode`.
        """
        encode = self.processor.encode
        return await self.read(lambda: encode(conversation, answer=True, sanitize=True, writer=self.codes))

    async def answer(self, prompt: Encoded, how: AnswerOptions, count: AnswerCount) -> AnswerChunks:
        """The answer to a prompt, chunk by chunk; `count` is filled in. Left before its end it is not generated on.

        Raises:
            NoRoomError: no room for the answer. WorkerDiedError, RowsInUseError: ask again. FormatError: it could not
                be held to its format.
        """
        stops = StopStrings(how.stop)
        begun = False
        async with aclosing(self._chunks(prompt, how, count)) as chunks:
            async for chunk in chunks:
                text = chunk.text if begun else chunk.text.lstrip()
                begun = begun or bool(text)
                text = stops.put(text)
                if text or chunk.scores or chunk.item is not None:
                    yield AnswerChunk(text, chunk.scores, chunk.item)
                if stops.found:
                    count.finish = "stop"
                    return
        if rest := stops.end():
            yield AnswerChunk(rest)

    async def _chunks(self, prompt: Encoded, how: AnswerOptions, count: AnswerCount) -> AnswerChunks:
        how = self.with_room(prompt, how)
        prepared = await self.read(lambda: prepare(self.model, self.processor, prompt, how))
        of_llm = prepared.is_batchable and not how.force
        way = self._together if of_llm and self.batching is not None else self._by_itself
        if of_llm and self.remote is not None and prepared.mask is None:
            way = self._elsewhere
        async with aclosing(way(prompt, how, prepared, count)) as chunks:
            async for chunk in chunks:
                yield chunk
        if prepared.mask is not None:
            prepared.mask.check()

    async def _together(
        self, prompt: Encoded, how: AnswerOptions, prepared: PreparedAnswer, count: AnswerCount
    ) -> AnswerChunks:
        """In continuous batching."""
        assert self.batching is not None
        await self._revive(self.batching)
        restarts = self.restarts
        held: list[HeldRows] = []
        self.batched += 1
        laying_out = asyncio.ensure_future(self._ids_of(prompt, held))
        try:
            ids = await asyncio.shield(laying_out)
            if self.restarts != restarts:  # the rows are not those of these ids any more
                raise WorkerDiedError
            ends = ends_of(self.model, prepared.options)
            length = prepared.options["max_new_tokens"]
            source = self.batching.begin(ids, prepared.choice, max_new_tokens=length, ends=sorted(ends))
            async with aclosing(self._words(aiter(source), prepared, count, ends)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.batched -= 1
            if laying_out.done():
                self._release(laying_out, held)
            else:  # the client left while items were being encoded
                laying_out.add_done_callback(lambda done: self._release(done, held))

    async def _elsewhere(
        self, prompt: Encoded, how: AnswerOptions, prepared: PreparedAnswer, count: AnswerCount
    ) -> AnswerChunks:
        """By the remote LLM."""
        assert self.remote is not None
        rows = await asyncio.get_running_loop().run_in_executor(self._towers, self._embedded, prompt)
        how = replace(how, max_new_tokens=prepared.options["max_new_tokens"])
        ends = ends_of(self.model, prepared.options)
        source = self.remote.ids(rows, how, sorted(ends), prepared.choice.scores)
        async with aclosing(self._words(source, prepared, count, ends)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _release(self, laying_out: asyncio.Future[list[int]], held: list[HeldRows]) -> None:
        """A prompt needs its rows no longer; nobody may have asked whether they could be made."""
        if not laying_out.cancelled():
            laying_out.exception()
        for each in held:
            self.rows.release(each)

    async def _words(self, source: Any, prepared: PreparedAnswer, count: AnswerCount, ends: set[int]) -> AnswerChunks:
        """The text of ids as they come, each chunk with the scores of what came with it."""
        words: list[str] = []
        segments = TextSegments(self.processor.tokenizer, words.append)
        count.finish = "length"
        async with aclosing(source):
            async for new in source:
                for each in new:
                    segments.put(each)
                scores = tuple(prepared.choice.scores[count.tokens : count.tokens + len(new)])
                if new[-1] in ends:
                    count.finish, scores = "stop", scores[:-1]  # the end is no part of the answer
                count.tokens += len(new)
                yield AnswerChunk("".join(words), scores)
                words.clear()
        segments.end()
        if words:
            yield AnswerChunk("".join(words))

    async def _by_itself(
        self, prompt: Encoded, how: AnswerOptions, prepared: PreparedAnswer, count: AnswerCount
    ) -> AnswerChunks:
        """By `generate`, one at a time.

        Raises:
            KitError: scores of ids are wanted, which are known in continuous batching alone.
        """
        if how.num_likeliest is not None:
            raise KitError("log probabilities need an answer in words, and an LLM in continuous batching")
        answer = LoneAnswer(self._alone, lambda: self._stream(prompt, how, prepared), how.seed)
        async with aclosing(aiter(answer)) as parts:
            async for part in parts:
                count.tokens = len(answer.ids)
                yield AnswerChunk(part) if isinstance(part, str) else AnswerChunk(item=part)
        count.tokens = len(answer.ids)
        ended = count.tokens > 0 and answer.ids[-1] in ends_of(self.model, prepared.options)
        count.finish = "stop" if ended or count.tokens < prepared.options["max_new_tokens"] else "length"
        if (grammar := self.processor.grammar) is not None:
            for modality in grammar.begin:
                first, size = grammar.span(modality)
                count.by_modality[modality] = sum(first <= each < first + size for each in answer.ids)

    def _stream(self, prompt: Encoded, how: AnswerOptions, prepared: PreparedAnswer) -> AnswerStream:
        batch: Any = self.processor.collate([prompt], padding_side="left").to(self.model.device)
        written = [modality for modality in how.force if modality in self.processor.writes]
        forbidden = sorted(self.processor.writes - set(written))
        options = {**prepared.options, "force": written, "forbid": forbidden}
        return AnswerStream(self.model, self.processor, prompt, batch, options, force=how.force)

    async def _revive(self, batching: ContinuousBatching) -> None:
        """Begin anew what has died, or whose ids have run out."""
        if batching.is_alive and not self.rows.is_worn:
            return
        async with self._reviving:
            while batching.is_alive and self.rows.is_worn and self.batched:
                await asyncio.sleep(0.05)
            if not batching.is_alive or self.rows.is_worn:
                self.restarts += 1
                await asyncio.to_thread(batching.open)

    def with_room(self, prompt: Encoded, how: AnswerOptions) -> AnswerOptions:
        """The options with a length that there is room for, where they say none.

        Raises:
            NoRoomError: there is none, or less than they say.
        """
        if self.longest is None:
            return how
        length, wanted = prompt.num_tokens, how.max_new_tokens or 1
        if length + wanted > self.longest:
            raise NoRoomError(
                f"the conversation takes {length} positions, its items included, and the answer up to {wanted}; "
                f"{self.longest} are there for both: give fewer or shorter items, or ask for a shorter answer"
            )
        return replace(how, max_new_tokens=how.max_new_tokens or min(NEW_TOKENS, self.longest - length))

    async def _ids_of(self, prompt: Encoded, held: list[HeldRows]) -> list[int]:
        """The ids of a prompt, those of rows where items stand, which `held` gets."""
        items = iter(prompt.items)
        ids: list[int] = []
        for span in prompt.spans:
            if isinstance(span, TextSpan):
                ids += span.ids
            elif isinstance(span, ItemSpan):
                rows = await self._rows_of(span, next(items))
                held.append(rows)
                ids += rows.ids
        return ids

    async def _rows_of(self, span: ItemSpan, item: EncodedItem) -> HeldRows:
        """The rows of an item. Where they are not held it is encoded, one at a time: who brings none waits for none."""
        digest = await self.read(lambda: parts_digest([item]))
        key = f"{item.modality} {digest}"
        if (held := self.rows.take(key)) is not None:
            return held
        return await asyncio.get_running_loop().run_in_executor(self._towers, self._encoded_rows, key, span, item)

    @torch.no_grad()
    def _encoded_rows(self, key: str, span: ItemSpan, item: EncodedItem) -> HeldRows:
        if (held := self.rows.take(key)) is not None:  # another request brought the same
            return held
        return self.rows.put(key, self._embedded(Encoded([span], [item])))

    @torch.no_grad()
    def _embedded(self, prompt: Encoded) -> Tensor:
        """The embeddings of a prompt, rows of items in their places, (T, D)."""
        batch: Any = self.processor.collate([prompt], padding_side="left").to(self.model.device)
        return self.model.embed(batch["input_ids"], batch.get("items"), batch["plan"])[0]


def _cache_tokens(model: TinyLlavaForConditionalGeneration) -> int:
    """How many positions' keys and values fit in `_CACHE_BYTES`, at least those of one full context."""
    config: Any = model.config.text_config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token_bytes = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    context = getattr(config, "max_position_embeddings", None) or 4096
    return max(min(_CACHE_BYTES // token_bytes, _CONTEXTS * context), context) + 2 * PAGE_TOKENS
