"""What all routes share: the engine, the limits, the model's name, and how an answer is begun and counted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from ..core.conversation import Conversation
from ..errors import near
from ..inference.generation_options import ends_of
from ..processing.encoded import Encoded
from .answer_formats import AnswerFormat, AnswerFormats, FormatError
from .answer_options import AnswerOptions
from .api_errors import ApiError
from .engine import AnswerChunks, AnswerCount, Engine
from .fetching import Fetcher
from .json_body import ModelRequest, parsed, read_json
from .kept_sounds import KeptSounds
from .limits import Limits
from .metrics import Metrics
from .request_items import RequestItems
from .usage import prompt_tokens

_Asked = TypeVar("_Asked", bound=ModelRequest)


class Service:
    """One model, served.

    Args:
        name: of the model, which requests give.
        media_hosts: from which addresses are fetched; none: from nowhere.
    """

    def __init__(self, engine: Engine, name: str, limits: Limits, media_hosts: Collection[str] = ()) -> None:
        self.engine, self.name, self.limits = engine, name, limits
        self.created = int(time.time())
        self.metrics = Metrics()
        self.sounds = KeptSounds(limits)
        self.items = RequestItems(engine.processor, limits, Fetcher(media_hosts, limits))
        self.formats = AnswerFormats(engine.processor.tokenizer, ends_of(engine.model, {}))
        self._schemas = ThreadPoolExecutor(1, "schemas")  # a slow one holds up no items of others
        self._is_compiling = asyncio.Lock()

    async def close(self) -> None:
        """End; answers that somebody waits for fail."""
        await self.engine.close()
        self._schemas.shutdown(wait=True, cancel_futures=True)

    @property
    def vocabulary(self) -> int:
        """How many ids the LLM has."""
        return self.engine.rows.first

    def check_name(self, name: str | None) -> None:
        """Check that a request names the served model, or none.

        Raises:
            ApiError: a request is for another model.
        """
        if name is not None and name != self.name:
            message = f"the model {name[:80]!r} is not served here; {near(name[:80], [self.name])}"
            raise ApiError(message, status=404, param="model", code="model_not_found")

    async def asked(
        self, request: Request, kind: type[_Asked], known: Callable[[dict[str, Any]], dict[str, Any]] = dict
    ) -> _Asked:
        """The body of a request, which is for this model.

        Args:
            known: of all values, those that the kind has.

        Raises:
            ApiError: not such a body, or for another model.
        """
        asked = parsed(kind, known(read_json(await request.body(), self.limits)))
        self.check_name(asked.model)
        return asked

    async def conversation(self, messages: list[Any]) -> Conversation:
        """Turn messages into a conversation, on the engine's thread for reading.

        Raises:
            ApiError, KitError: see `RequestItems.conversation`.
        """
        return await self.engine.read(lambda: self.items.conversation(messages, self._kept))

    def _kept(self, name: str) -> Mapping[str, Any]:
        """The part of an assistant's message that holds an answer in sound."""
        kept = self.sounds.find(name)
        if "audio" not in self.engine.processor.gives:
            return {"type": "text", "text": kept.transcript}
        return {"type": "audio", "audio": kept.sound, "text": kept.transcript}

    async def format(self, schema: Mapping[str, Any]) -> AnswerFormat:
        """The format of a JSON schema.

        Raises:
            FormatError: see `AnswerFormats`; or the schema is longer, or takes longer, than the limits say.
        """
        most, seconds = self.limits.schema_chars, self.limits.schema_seconds
        if (length := len(json.dumps(schema, ensure_ascii=False))) > most:
            raise FormatError(f"response_format: the schema has {length} characters, at most {most} are read")
        run = partial(asyncio.get_running_loop().run_in_executor, self._schemas)

        def compiled() -> AnswerFormat:
            until = time.monotonic() + seconds
            made = self.formats.of(schema, seconds)
            if time.monotonic() > until:
                raise asyncio.TimeoutError
            return made

        async with self._is_compiling:  # the time that others take is not counted
            await run(lambda: self.formats.vocabulary)
            try:
                return await asyncio.wait_for(run(compiled), seconds)
            except asyncio.TimeoutError:
                raise FormatError(f"response_format: the schema takes more than {seconds:g} s to compile") from None

    async def prompt(self, conversation: Conversation, how: AnswerOptions) -> Encoded:
        """A prompt, counted once, however many answers it gets.

        Raises:
            NoRoomError: no room for such an answer. KitError: see `Engine.encode`.
        """
        made = await self.engine.encode(conversation)
        self.engine.with_room(made, how)
        self.metrics.prompt_tokens.update(prompt_tokens(made))
        return made

    async def answer(self, prompt: Encoded, how: AnswerOptions, count: AnswerCount) -> AnswerChunks:
        """As the engine's, measured."""
        start, is_first = time.monotonic(), True
        try:
            async with aclosing(self.engine.answer(prompt, how, count)) as chunks:
                async for chunk in chunks:
                    if is_first:
                        self.metrics.first_token_seconds.add(time.monotonic() - start)
                        is_first = False
                    yield chunk
        finally:
            items = sum(count.by_modality.values())
            self.metrics.completion_tokens.update({"text": count.tokens - items, **count.by_modality})

    def card(self) -> dict[str, Any]:
        """The model as ``/v1/models`` lists it: with what it reads and writes, and how long a conversation may be."""
        processor = self.engine.processor
        reads, writes = ["text", *processor.reads], ["text", *sorted(processor.decoders)]
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "tinyllava-kit",
            "capabilities": ["completion", *(["multimodal"] if processor.reads else [])],
            "reads": reads,
            "writes": writes,
            "context_length": self.engine.longest,
        }

    def gauges(self) -> dict[str, float]:
        """The current state."""
        engine = self.engine
        return {
            "answers_in_flight": engine.in_flight,
            "answers_in_batch": engine.batched,
            "answers_most": engine.max_requests,
            "item_rows": engine.rows.used,
            "item_rows_pinned": engine.rows.pinned,
            "worker_restarts_total": engine.restarts,
            "worker_alive": int(engine.is_alive),
        }
