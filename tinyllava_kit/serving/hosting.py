"""The application for a server of one's own: what `tinyllava serve` runs, for any that takes ASGI."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor
from .application import application
from .engine import Engine
from .gate import Gate
from .limits import Limits
from .remote_llm import RemoteLlm
from .service import Service


def asgi_app(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    *,
    name: str,
    key: str | None = None,
    limits: Mapping[str, Any] | None = None,
    media_hosts: Collection[str] = (),
    max_requests: int = 64,
    cache_tokens: int | None = None,
    vllm: str | None = None,
) -> Gate:
    """A model as an ASGI application; its lifespan begins and ends the worker, so the server must run that.

    Bounds on connections and slow clients are the server's: they are not here.

    Args:
        name: what requests call the model. key: what clients must send; None: nothing. limits: those of
            `docs/serving.md` that are not the defaults. media_hosts: from which addresses of items are fetched.
        max_requests: answers at once. cache_tokens: positions whose keys and values are held; None: what fits in a GiB.
        vllm: the address of a vLLM that generates the answers in words, see `docs/serving.md`; None: it is done here.

    Raises:
        KitError: an unknown limit, or a value that is none.
    """
    remote = None if vllm is None else RemoteLlm(vllm)
    engine = Engine(model, processor, max_requests=max_requests, cache_tokens=cache_tokens, remote=remote)
    return application(Service(engine, name, Limits.of(limits or {}), media_hosts), key)
