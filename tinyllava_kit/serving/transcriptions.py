"""``/v1/audio/transcriptions``: the transcript of a sound, in the words of the model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..core.conversation import Conversation, Item, check_reads
from ..files.item_sources import AddressContent
from ..inference.answering import question
from ..processing.encoded import Encoded
from .answer_options import AnswerOptions
from .api_errors import ApiError
from .engine import AnswerCount
from .event_stream import events
from .json_body import parsed
from .service import Service
from .usage import prompt_tokens

ASKED = "Repeat this exactly: <audio>"  # where no prompt is given
_FIELDS = 40  # of a form, at most
_FIELD_BYTES = 1 << 16  # of a field that is no file
_TIMED = ("srt", "vtt", "verbose_json", "diarized_json")


class TranscriptionRequest(BaseModel):
    """The fields of a form beside the file."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    prompt: str | None = None
    language: str | None = None
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"] = "json"
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    stream: bool = False


async def transcriptions(request: Request, service: Service) -> Response:
    """Write down a recording.

    Raises:
        ApiError, KitError: no file, one that cannot be read, or times are wanted, which the model does not give.
    """
    asked, content = await _form(request, service)
    service.check_name(asked.model)
    check_reads("audio", service.engine.processor.reads)
    if asked.response_format in _TIMED:
        raise ApiError(
            f"response_format {asked.response_format} needs times, which the model does not write; take json or text",
            param="response_format",
            code="unsupported_parameter",
        )
    service.engine.check_room()
    how = AnswerOptions(temperature=asked.temperature or 0.0)
    transcription = Transcription(service, await _prompt(service, asked, content, how), how)
    if asked.stream:
        return events(transcription.events(), done=False)
    text = await transcription.text()
    if asked.response_format == "text":
        return PlainTextResponse(f"{text}\n")
    return JSONResponse({"text": text, "usage": transcription.usage()})


class Transcription:
    """The words of one recording."""

    def __init__(self, service: Service, prompt: Encoded, how: AnswerOptions) -> None:
        self.service, self.prompt, self.how, self.count = service, prompt, how, AnswerCount()

    async def deltas(self) -> AsyncGenerator[str, None]:
        """As they come."""
        with self.service.engine.places():
            async with aclosing(self.service.answer(self.prompt, self.how, self.count)) as chunks:
                async for chunk in chunks:
                    if chunk.text:
                        yield chunk.text

    async def text(self) -> str:
        """All of them."""
        return "".join([delta async for delta in self.deltas()]).strip()

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """As OpenAI's API streams them."""
        text = ""
        async with aclosing(self.deltas()) as deltas:
            async for delta in deltas:
                text += delta
                yield {"type": "transcript.text.delta", "delta": delta}
        yield {"type": "transcript.text.done", "text": text.strip(), "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        """Tokens of the recording and of its words."""
        asked = prompt_tokens(self.prompt)
        details = {"text_tokens": asked["text"], "audio_tokens": asked.get("audio", 0)}
        given = {"input_tokens": sum(asked.values()), "output_tokens": self.count.tokens}
        total = sum(given.values())
        return {"type": "tokens", **given, "total_tokens": total, "input_token_details": details}


async def _form(request: Request, service: Service) -> tuple[TranscriptionRequest, bytes]:
    try:
        form = await request.form(max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES)
    except (MultiPartException, HTTPException, FormParserError) as error:
        message = getattr(error, "message", None) or getattr(error, "detail", None) or str(error)
        raise ApiError(f"the form cannot be read: {message}", code="invalid_form") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ApiError("file is missing; expected a recording", param="file", code="missing_required_parameter")
        content = await file.read(service.limits.item_bytes + 1)
    finally:
        await form.close()
    if len(content) > service.limits.item_bytes:
        message = f"file has more than {service.limits.item_bytes} bytes"
        raise ApiError(message, status=413, param="file", code="item_too_large")
    return parsed(TranscriptionRequest, {name: value for name, value in form.items() if name != "file"}), content


async def _prompt(service: Service, asked: TranscriptionRequest, content: bytes, how: AnswerOptions) -> Encoded:
    def conversation() -> Conversation:
        item = Item("audio", AddressContent(content))
        made = question(asked.prompt or ASKED, [item], service.engine.processor)
        service.items.check(made)
        return made

    return await service.prompt(await service.engine.read(conversation), how)
