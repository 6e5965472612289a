"""A toy that sees and hears, and the engine that answers with it."""

from __future__ import annotations

import asyncio
import base64
import copy
import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from tests import toys
from tinyllava_kit import Assembly, assemble
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.inference.answering import question
from tinyllava_kit.serving.application import application
from tinyllava_kit.serving.engine import Engine
from tinyllava_kit.serving.limits import Limits
from tinyllava_kit.serving.server import bound, server_of
from tinyllava_kit.serving.service import Service

SIZES = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 29, "decoder_layers": 1}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


def save_whisper(folder: Path) -> Path:
    """An encoder of two thin layers."""
    torch.manual_seed(7)
    sizes = {**SIZES, "decoder_attention_heads": 2, "decoder_ffn_dim": 7, "max_target_positions": 11}
    WhisperModel(WhisperConfig(d_model=22, num_mel_bins=17, vocab_size=7, **sizes, **IDS)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=17).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def another(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[Any, Any]]:
    """Gives copies of a model that reads pictures and sounds, and its processor."""
    folder = tmp_path_factory.mktemp("served")
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(folder / 'llm')}",
        towers=[f"image=clip:{toys.CLIP}", f"audio=whisper:{save_whisper(folder / 'whisper')}"],
        connectors=["image=mlp2x_gelu", "audio=linear"],
    )
    torch.manual_seed(3)
    model, processor = assemble(assembly)
    model.generation_config.eos_token_id = None  # a toy's words end where nobody expects it
    return lambda: (copy.deepcopy(model.eval()), processor)


@pytest.fixture(scope="session")
def pair(another: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """One of them."""
    return another()


def picture(number: int = 0) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (31 + number, 37, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sound(number: int = 0) -> tuple[np.ndarray, int]:
    samples = np.random.default_rng(number).standard_normal(3_217 + 800 * number) * 0.1
    return samples.astype(np.float32), 16_000


def asked(processor: Any, text: str, *items: Any) -> Any:
    """A question about pictures and sounds."""
    given = [Item("audio" if isinstance(item, tuple) else "image", item) for item in items]
    return question(text, given, processor)


class Loop:
    """An event loop in a thread of its own, for as long as the tests run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, 100), self.loop).result()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


async def opened(pair: tuple[Any, Any], **options: Any) -> Engine:
    made = Engine(*pair, **{"cache_tokens": 4096, **options})
    await made.open()
    return made


@pytest.fixture(scope="session")
def shared(pair: tuple[Any, Any], loop: Loop) -> Iterator[Engine]:
    """An engine of the toy, open."""
    base = pair[0].get_input_embeddings()
    made = loop.run(opened(pair))
    yield made
    loop.run(made.close())
    assert pair[0].get_input_embeddings() is base


@pytest.fixture
def engine(pair: tuple[Any, Any], shared: Engine, loop: Loop) -> Callable[..., Any]:
    """``engine(use)`` runs ``await use(engine)`` with the shared engine; with options, with one of its own."""

    def run(use: Callable[[Engine], Coroutine[Any, Any, Any]], **options: Any) -> Any:
        async def within() -> Any:
            made = await opened(pair, **options)
            try:
                return await use(made)
            finally:
                await made.close()

        return loop.run(within() if options else use(shared))

    return run


class Served:
    """A server with the toy, and ways to ask it."""

    def __init__(
        self, pair: tuple[Any, Any], *, key: str | None = None, limits: Limits | None = None, **how: Any
    ) -> None:
        bounds = limits or Limits()
        made = Engine(*pair, cache_tokens=4096, max_requests=how.pop("max_requests", 16))
        self.service = Service(made, "toy", bounds, **how)
        self.clients = ExitStack()
        self.socket = bound("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        self.server = server_of(application(self.service, key), bounds)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.05)
            assert self.thread.is_alive()

    def close(self) -> None:
        self.clients.close()
        self.server.should_exit = True
        self.thread.join(120)
        assert not self.thread.is_alive()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """One request: its status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
        given = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        connection.request(method, path, content, given)
        response = connection.getresponse()
        found = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        connection.close()
        return found

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """A request's status and its JSON."""
        status, _, content = self.send("POST", path, body, **headers)
        return status, json.loads(content)

    def chat(self, messages: Any = None, **how: Any) -> tuple[int, Any]:
        """A conversation, three tokens of an answer."""
        messages = [{"role": "user", "content": "hi"}] if messages is None else messages
        return self.post("/v1/chat/completions", {"model": "toy", "messages": messages, "max_tokens": 3, **how})

    def client(self, **how: Any) -> Any:
        """The client of OpenAI, which keeps its connections until the server ends."""
        from openai import OpenAI

        how = {"api_key": "none", "max_retries": 0, **how}
        return self.clients.enter_context(OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", **how))


@pytest.fixture(scope="session")
def served(another: Callable[[], tuple[Any, Any]]) -> Iterator[Served]:
    """The toy, served; a copy, so that the other engine has its own."""
    made = Served(another())
    yield made
    made.close()


def png(number: int = 0) -> str:
    """A picture as a data: URL."""
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def wav(number: int = 0) -> bytes:
    """A sound as a file."""
    file = io.BytesIO()
    soundfile.write(file, *sound(number), format="WAV")
    return file.getvalue()


@pytest.fixture(scope="module")
def client(served: Served) -> Any:
    """The client of OpenAI."""
    return served.client()


@pytest.fixture(scope="session")
def questions(pair):
    _, processor = pair
    return [
        asked(processor, "hello?"),
        asked(processor, "what is this", picture(1)),
        asked(processor, "what do you hear in this", sound(1)),
        asked(processor, "<image> and <audio> and <image>", picture(1), sound(2), picture(2)),
        asked(processor, "a longer question about nothing at all, for another length"),
        asked(processor, "and now?", picture(3)),
    ]


def speaking(folder, decoder, **settings):
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(folder / 'llm')}",
        decoders=[f"audio={decoder}"],
        settings=[f"decoder.audio.{name}={value}" for name, value in settings.items()],
    )
    torch.manual_seed(2)
    return assemble(assembly)


@pytest.fixture(scope="session")
def writer(tmp_path_factory):
    """An LLM that writes the ids of a codec at once, and its server."""
    pair = speaking(tmp_path_factory.mktemp("writer"), "codec2")
    pair[0].generation_config.eos_token_id = list(range(320))  # every word would end the answer
    made = Served(pair)
    yield made, pair
    made.close()


@pytest.fixture(scope="session")
def talker(tmp_path_factory):
    """An LLM that writes words, of which a talker makes sound, and its server."""
    sizes = {"layers": 1, "width": 32, "heads": 2, "dropout": 0, "max_ids": 80}
    pair = speaking(tmp_path_factory.mktemp("talker"), "codec2_talker", **sizes)
    pair[0].generation_config.eos_token_id = None
    made = Served(pair)
    yield made, pair
    made.close()


KEY = "a-key-of-many-letters"
LIMITS = Limits(
    body_bytes=300_000,
    json_values=2_000,
    text_chars=20_000,
    item_bytes=100_000,
    decoded_bytes=40_000_000,
    pixels=4_000_000,
    seconds=5.0,
    items=4,
    messages=20,
    connections=12,
    head_seconds=0.5,
    body_seconds=0.5,
    write_seconds=0.5,
)


@pytest.fixture(scope="session")
def guarded(another):
    """The toy behind a key and narrow limits."""
    made = Served(another(), key=KEY, limits=LIMITS)
    yield made
    made.close()


@pytest.fixture
def goes_on(guarded):
    """Behind every test the server answers, and nothing is left."""
    yield
    deadline = time.monotonic() + 30
    engine = guarded.service.engine
    while engine.in_flight and time.monotonic() < deadline:
        time.sleep(0.02)
    status, said = guarded.post(
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1},
        authorization=f"Bearer {KEY}",
    )
    assert (status, said["object"]) == (200, "chat.completion")
    assert (engine.in_flight, engine.batched, engine.rows.pinned) == (0, 0, 0)
