"""Before and behind an answer: what a prompt costs, and why the model answers so."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..core.spans import ItemSpan
from ..explanation.explaining import explain
from ..explanation.page import page_of
from ..plugin.extras import need
from ..processing.encoded import Encoded
from .json_body import ModelRequest
from .service import Service
from .usage import prompt_tokens

_MOST_TOKENS = 256  # of an answer that is explained


class TokensRequest(ModelRequest):
    """The body of a request for counts."""

    messages: list[JsonValue] = Field(min_length=1)


class WhyRequest(TokensRequest):
    """The body of a request for reasons."""

    max_tokens: int = Field(default=64, ge=1, le=_MOST_TOKENS)


async def tokens(request: Request, service: Service) -> Response:
    """How many positions a conversation takes, and each of its items: nothing is decoded that a header tells.

    Raises:
        ApiError, KitError: what cannot be asked.
    """
    asked = await service.asked(request, TokensRequest)
    conversation = await service.conversation(list(asked.messages))
    processor = service.engine.processor

    def probe() -> Encoded:
        reader, writer = processor.probe_item, processor.probe_ids
        return processor.encode(conversation, answer=True, sanitize=True, reader=reader, writer=writer)

    prompt = await service.engine.read(probe)
    counts = prompt_tokens(prompt)
    spans = [span for span in prompt.spans if isinstance(span, ItemSpan)]
    items = [{"modality": span.modality, "tokens": span.num_tokens} for span in spans]
    return JSONResponse(
        {
            "object": "tokens",
            "total": sum(counts.values()),
            "by_modality": counts,
            "items": items,
            "context_length": service.engine.longest,
        }
    )


async def why(request: Request, service: Service) -> Response:
    """An answer and the page that shows why, in HTML, as ``tinyllava show`` writes it.

    Raises:
        ApiError, KitError: what cannot be asked, or drawings need a package that is not installed.
    """
    need("matplotlib", "the page that shows why")
    asked = await service.asked(request, WhyRequest)
    conversation = await service.conversation(list(asked.messages))
    engine = service.engine

    def explained() -> dict[str, Any]:
        found = explain(engine.model, engine.processor, conversation, max_new_tokens=asked.max_tokens)
        html, _ = page_of(found, engine.processor)
        return {"object": "explanation", "answer": found.answer, "html": html}

    with engine.places():
        return JSONResponse(await engine.while_others_wait(explained))
