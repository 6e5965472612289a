"""``/v1/audio/speech``: a text, spoken by the model's decoder of sound."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from ..core.conversation import Conversation, Turn, clean
from ..core.decoders import TextDecoder
from ..errors import shown
from ..inference.replies import check_generated
from .answer_options import AnswerOptions
from .api_errors import ApiError
from .engine import AnswerCount, Engine
from .event_stream import StreamedResponse, events
from .json_body import ModelRequest
from .service import Service
from .sound_files import media_type, sound_bytes

SPOKEN = "Say: {}"  # as the recipes for speech teach it
_PARTS = 1 << 15  # bytes that are sent at a time


class SpeechRequest(ModelRequest):
    """The body of a request."""

    input: str = Field(min_length=1)
    voice: JsonValue = None
    instructions: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4.0, allow_inf_nan=False)] = 1.0
    stream_format: Literal["sse", "audio"] = "audio"


async def speech(request: Request, service: Service) -> Response:
    """Speak a text.

    Raises:
        ApiError, KitError: the model does not speak, or not so.
    """
    asked = await service.asked(request, SpeechRequest)
    _check(asked, service)
    service.engine.check_room()
    spoken = Speech(service, asked)
    if asked.stream_format == "sse":
        return events(spoken.events(), done=False)
    if asked.response_format == "pcm":
        return StreamedResponse(spoken.samples(), media_type("pcm"))
    whole = await spoken.whole()
    return StreamedResponse(_in_parts(whole), media_type(asked.response_format))


def _check(asked: SpeechRequest, service: Service) -> None:
    check_generated(["audio"], service.engine.model.decoders)
    if len(asked.input) > service.limits.speech_chars:
        message = f"input has {len(asked.input)} characters, at most {service.limits.speech_chars} are spoken"
        raise ApiError(message, param="input")
    if asked.instructions:
        raise ApiError("instructions are not supported: the model has one way to speak", param="instructions")
    if asked.speed != 1.0:
        raise ApiError(f"speed {asked.speed} is not supported; leave it out", param="speed")
    if asked.response_format == "aac":
        raise ApiError("response_format aac is not written; take wav, flac, mp3, opus or pcm", param="response_format")
    if asked.stream_format == "sse" and asked.response_format != "pcm":
        raise ApiError("a stream of events holds pcm; give response_format pcm", param="response_format")


class Speech:
    """One text, spoken."""

    def __init__(self, service: Service, asked: SpeechRequest) -> None:
        self.service, self.asked = service, asked
        self.engine: Engine = service.engine

    async def sounds(self) -> AsyncGenerator[Any, None]:
        """The chunks of the sound.

        Raises:
            ApiError: the model gave none.
        """
        found = False
        with self.engine.places():
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    found = True
                    yield chunk
        if not found:
            raise ApiError(f"the model did not speak {shown(self.asked.input)[:80]}", status=500, kind="server_error")

    async def _chunks(self) -> AsyncGenerator[Any, None]:
        decoder = self.engine.model.decoders["audio"]
        if isinstance(decoder, TextDecoder):
            yield await self.engine.alone(lambda: decoder.decode(self.asked.input))
            return
        text = SPOKEN.format(clean(self.asked.input, "input"))
        how, count = AnswerOptions(force=("audio",)), AnswerCount()
        prompt = await self.service.prompt(Conversation((Turn("user", text),), (), "input"), how)
        async with aclosing(self.service.answer(prompt, how, count)) as chunks:
            async for chunk in chunks:
                if chunk.item is not None:
                    yield chunk.item.item

    async def whole(self) -> bytes:
        """The whole sound as a file."""
        chunks = [chunk async for chunk in self.sounds()]
        sound = self.engine.processor.modalities["audio"].join(chunks)
        return await self.engine.read(lambda: sound_bytes(sound, self.asked.response_format))

    async def samples(self) -> AsyncGenerator[bytes, None]:
        """Bare samples as they come."""
        async with aclosing(self.sounds()) as chunks:
            async for chunk in chunks:
                yield await self.engine.read(partial(sound_bytes, chunk, "pcm"))

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """The same as OpenAI's API streams it."""
        async with aclosing(self.samples()) as chunks:
            async for chunk in chunks:
                yield {"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()}
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        yield {"type": "speech.audio.done", "usage": usage}


async def _in_parts(content: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), _PARTS):
        yield content[start : start + _PARTS]
