"""``python -m benchmarks.soak``: a server that answers a thousand requests, half of whose clients leave at random.

The model is a toy that sees; two of three requests bring one of some pictures, all are streamed, sixteen at once, each
over a connection of its own. What they leave behind is compared with what was there before.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import io
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tinyllava_kit import assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.serving.application import application
from tinyllava_kit.serving.engine import Engine
from tinyllava_kit.serving.limits import Limits
from tinyllava_kit.serving.server import bound, server_of
from tinyllava_kit.serving.service import Service

from .clock import one_thread
from .process import memory
from .words import save_llm

WORDS, SIDE, PICTURES = 500, 32, 40
LLM = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
_SECONDS = 120  # that an answer may take: more is a request that hangs
_END_SECONDS = 30  # until the last client's answer is given up


@dataclass(frozen=True, kw_only=True)
class Load:
    """How many requests there are, how many at a time, and how many tokens each wants."""

    requests: int = 1000
    at_once: int = 16
    new_tokens: int = 24


@dataclass
class Left:
    """What a soak leaves: answers that were read to the end and left, resident bytes, what the server holds."""

    whole: int = 0
    left: int = 0
    before: int = 0
    after: int = 0
    held: dict[str, float] = field(default_factory=dict)


def assembled(place: Path) -> tuple[Any, Any]:
    """A toy that sees, and its processor."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    save_llm(place / "llm", WORDS, LLM)
    CLIPVisionModel(CLIPVisionConfig(image_size=SIDE, patch_size=8, **VISION)).save_pretrained(place / "vision")
    side = {"height": SIDE, "width": SIDE}
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=side).save_pretrained(place / "vision")
    flags: dict[str, Any] = {"towers": [f"image=clip:{place / 'vision'}"], "connectors": ["image=mlp2x_gelu"]}
    model, processor = assemble(Assembly.from_flags(llm=f"llama:{place / 'llm'}", **flags))
    model.generation_config.eos_token_id = None  # every answer has its full length
    return model.eval(), processor


def soak(pair: tuple[Any, Any], load: Load | None = None) -> Left:
    """Ask so many times."""
    return asyncio.run(_soak(pair, load or Load()))


async def _soak(pair: tuple[Any, Any], load: Load) -> Left:
    limits = Limits(head_seconds=_SECONDS, write_seconds=_SECONDS)  # a busy machine is no slow client
    engine = Engine(*pair, max_requests=4 * load.at_once, cache_tokens=8192)
    gate = application(Service(engine, "toy", limits), None)
    listening, server = bound("127.0.0.1", 0), server_of(gate, limits)
    serving = asyncio.ensure_future(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.05)
    clients = Clients(listening.getsockname()[1], load)
    try:
        tasks = len(asyncio.all_tasks())
        await clients.run()
        await _ended(engine)
        clients.found.after = resident()
        clients.found.held = {**held(engine), "bytes of bodies": gate.held_bytes}
        clients.found.held["tasks"] = len(asyncio.all_tasks()) - tasks
    finally:
        server.should_exit = True
        await serving
    return clients.found


async def _ended(engine: Engine) -> None:
    """Wait until the last client's answer is given up."""
    end = time.monotonic() + _END_SECONDS
    while any(held(engine).values()) and time.monotonic() < end:
        await asyncio.sleep(0.1)


class Clients:
    """Those who ask."""

    def __init__(self, port: int, load: Load) -> None:
        self.port, self.load = port, load
        self.found = Left()
        self.draw = random.Random(0)
        self.pictures = [picture(number) for number in range(PICTURES)]
        self.done = 0

    async def run(self) -> None:
        """Ask, so many at a time."""
        left = iter(range(self.load.requests))

        async def client() -> None:
            for _ in left:
                await asyncio.wait_for(self._ask(), _SECONDS)
                self.done += 1
                if self.done == self.load.requests // 4:
                    self.found.before = resident()

        await asyncio.gather(*(client() for _ in range(self.load.at_once)))

    async def _ask(self) -> None:
        """One request, which half of the clients leave before the answer, or behind one of its pieces."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        pieces = self.draw.randrange(self.load.new_tokens) if self.draw.random() < 0.5 else None
        try:
            writer.write(self._request())
            await writer.drain()
            if pieces != 0 and b" 200 " not in (status := await reader.readline()):
                raise AssertionError(f"a request was answered by {status!r} {await reader.read(2000)!r}")
            while pieces != 0:
                line = await reader.readline()
                if line.startswith(b"data: [DONE]"):
                    self.found.whole += 1
                    return
                if not line or line.startswith(b'data: {"error"'):
                    raise AssertionError(f"an answer ended with {line!r}")
                if pieces is not None and line.startswith(b"data: "):
                    pieces -= 1
            await asyncio.sleep(self.draw.random() / 10)
            self.found.left += 1
        finally:
            writer.transport.abort()

    def _request(self) -> bytes:
        words = " ".join(f"w{self.draw.randrange(WORDS)}" for _ in range(self.draw.randrange(3, 40)))
        content: list[dict[str, Any]] = [{"type": "text", "text": words}]
        if self.draw.random() < 2 / 3:
            content.insert(0, {"type": "image_url", "image_url": {"url": self.draw.choice(self.pictures)}})
        asked = {"stream": True, "max_tokens": self.load.new_tokens, "messages": [{"role": "user", "content": content}]}
        body = json.dumps(asked).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: toy\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def picture(number: int) -> str:
    """As a ``data:`` URL."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE + number, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def held(engine: Engine) -> dict[str, float]:
    """What the engine holds of requests; blocks that only wait for a prompt that begins alike are not held."""
    assert engine.batching is not None
    manager = engine.batching._manager
    cache = manager.batch_processor.cache
    scheduler = manager.batch_processor.scheduler
    cache.evict_cached_blocks()
    cache.pool.try_to_free_sectors()
    return {
        "answers": engine.in_flight,
        "answers in batch": engine.batched,
        "pinned rows": engine.rows.pinned,
        "requests of the scheduler": len(scheduler.active_requests) + len(scheduler.waiting_requests),
        "handlers": len(manager.output_router.result_handlers),
        "share of the cache": 1 - cache.compute_free_capacity(),
        "restarts": engine.restarts,
    }


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return memory()["VmRSS"]


def main() -> None:
    """A thousand requests, and what they leave behind."""
    with one_thread(), tempfile.TemporaryDirectory() as scratch:
        pair = assembled(Path(scratch))
        start = time.monotonic()
        found = soak(pair)
    print(f"{found.whole} answers read, {found.left} left, in {time.monotonic() - start:.0f} s")
    print(f"resident {found.before >> 20} MiB after 250, {found.after >> 20} MiB after 1000")
    print(", ".join(f"{name} {value:g}" for name, value in found.held.items()))


if __name__ == "__main__":
    sys.exit(main())
