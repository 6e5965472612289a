"""``/v1/chat/completions``: answers to messages, whole or streamed, in words and in sound."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..inference.replies import check_generated
from ..processing.encoded import Encoded
from .answer_options import AnswerOptions
from .chat_request import ChatRequest
from .engine import AnswerChunk, AnswerChunks, AnswerCount
from .event_stream import events
from .kept_sounds import new_id
from .service import Service
from .sound_files import sound_text
from .token_choice import TokenScore
from .usage import usage_of

_MOST_WAITING = 64  # chunks of answers that nobody has read


async def chat_completions(request: Request, service: Service) -> Response:
    """Answer a conversation.

    Raises:
        ApiError, KitError: the request cannot be answered.
    """
    asked = await service.asked(request, ChatRequest, ChatRequest.known)
    asked.check(service.limits, service.vocabulary, service.engine.max_requests)
    service.engine.check_room(asked.n or 1)  # before anything is read
    if asked.wants_sound:
        check_generated(["audio"], service.engine.model.decoders)
    schema = asked.schema_of_answer
    form = None if schema is None else await service.format(schema)
    options = [asked.options(number, service.vocabulary, form) for number in range(asked.n or 1)]
    prompt = await service.prompt(await service.conversation(list(asked.messages)), options[0])
    completion = Completion(service, asked, prompt, options)
    if asked.stream:
        return events(completion.chunks())
    return JSONResponse(await completion.whole())


class Completion:
    """The answers to one request.

    Args:
        options: of each.
    """

    def __init__(self, service: Service, asked: ChatRequest, prompt: Encoded, options: list[AnswerOptions]) -> None:
        self.service, self.asked, self.prompt, self.options = service, asked, prompt, options
        self.number = len(options)
        self.counts = [AnswerCount() for _ in range(self.number)]
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": service.name}

    def _answer_chunks(self, index: int) -> AnswerChunks:
        return self.service.answer(self.prompt, self.options[index], self.counts[index])

    async def whole(self) -> dict[str, Any]:
        """All answers, when each is complete."""
        with self.service.engine.places(self.number):
            tasks = [asyncio.ensure_future(self._choice(index)) for index in range(self.number)]
            try:
                choices = await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        usage = usage_of(self.prompt, self.counts)
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": usage}

    async def _choice(self, index: int) -> dict[str, Any]:
        text = ""
        scores: list[TokenScore] = []
        items: list[Any] = []
        async with aclosing(self._answer_chunks(index)) as chunks:
            async for chunk in chunks:
                text += chunk.text
                scores += chunk.scores
                items += [] if chunk.item is None else [chunk.item.item]
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if self.asked.wants_sound and items:
            message |= {"content": None, "audio": await self._sound(items, text)}
        return {
            "index": index,
            "message": message,
            "finish_reason": self.counts[index].finish,
            "logprobs": self._logprobs(scores),
        }

    async def _sound(self, items: list[Any], text: str) -> dict[str, Any]:
        assert self.asked.audio is not None
        kind = self.asked.audio.format
        sound = self.service.engine.processor.modalities["audio"].join(items)
        name = new_id()
        expires_at = self.service.sounds.keep(name, sound, text.strip())
        data = await self.service.engine.read(lambda: sound_text(sound, kind))
        return {"id": name, "data": data, "expires_at": expires_at, "transcript": text.strip()}

    async def chunks(self) -> AsyncGenerator[dict[str, Any], None]:
        """The answers as they are generated."""
        with self.service.engine.places(self.number):
            async with aclosing(merged([self._deltas(index) for index in range(self.number)])) as deltas:
                async for choice in deltas:
                    yield self._chunk([choice])
        if self._counts_in_stream:
            yield {**self._chunk([]), "usage": usage_of(self.prompt, self.counts)}

    @property
    def _counts_in_stream(self) -> bool:
        return self.asked.stream_options is not None and bool(self.asked.stream_options.include_usage)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": choices}
        return {**chunk, "usage": None} if self._counts_in_stream else chunk

    async def _deltas(self, index: int) -> AsyncGenerator[dict[str, Any], None]:
        """The choices of the chunks of one answer."""
        yield _choice(index, {"role": "assistant", "content": None if self.asked.wants_sound else ""})
        sound = _StreamedSound(self.service) if self.asked.wants_sound else None
        async with aclosing(self._answer_chunks(index)) as chunks:
            async for chunk in chunks:
                if sound is not None:
                    yield _choice(index, {"audio": await sound.delta(chunk)})
                elif chunk.text or chunk.scores:
                    yield _choice(index, {"content": chunk.text}, logprobs=self._logprobs(chunk.scores))
        yield _choice(index, {}, finish=self.counts[index].finish)
        if sound is not None and (expires_at := sound.keep()) is not None:
            yield {"index": index, "delta": {"audio": {"expires_at": expires_at}}, "finish_reason": None}

    def _logprobs(self, scores: Any) -> dict[str, Any] | None:
        if not self.asked.logprobs:
            return None
        return {"content": [self._scored(score) for score in scores], "refusal": None}

    def _scored(self, score: TokenScore) -> dict[str, Any]:
        likeliest = [self._token(each, logprob) for each, logprob in score.likeliest]
        return {**self._token(score.id, score.logprob), "top_logprobs": likeliest}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        text = self.service.engine.processor.tokenizer.decode([token])
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}


def _choice(
    index: int, delta: dict[str, Any], *, finish: str | None = None, logprobs: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}


class _StreamedSound:
    """An answer in sound as its chunks come."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.name = new_id()
        self.items: list[Any] = []
        self.text = ""

    async def delta(self, chunk: AnswerChunk) -> dict[str, Any]:
        """The `delta` of an event, from a chunk of the answer."""
        made: dict[str, Any] = {"id": self.name}
        self.text += chunk.text
        if chunk.text:
            made["transcript"] = chunk.text
        if chunk.item is not None:
            item = chunk.item.item
            self.items.append(item)
            made["data"] = await self.service.engine.read(lambda: sound_text(item, "pcm16"))
        return made

    def keep(self) -> int | None:
        """Keep the whole; when it expires. None where there was no sound."""
        if not self.items:
            return None
        whole = self.service.engine.processor.modalities["audio"].join(self.items)
        return self.service.sounds.keep(self.name, whole, self.text.strip())


async def merged(sources: list[AsyncGenerator[Any, None]]) -> AsyncGenerator[Any, None]:
    """What several give, as it comes; one that goes wrong ends all."""
    queue: asyncio.Queue[tuple[Any, Exception | None] | None] = asyncio.Queue(_MOST_WAITING)

    async def pump(source: AsyncGenerator[Any, None]) -> None:
        try:
            async with aclosing(source) as given:
                async for value in given:
                    await queue.put((value, None))
        except Exception as error:  # the reader raises it
            await queue.put((None, error))
        await queue.put(None)

    tasks = [asyncio.ensure_future(pump(source)) for source in sources]
    try:
        left = len(tasks)
        while left:
            found = await queue.get()
            if found is None:
                left -= 1
                continue
            value, error = found
            if error is not None:
                raise error
            yield value
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
