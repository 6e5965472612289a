"""Answers of an LLM that runs elsewhere, with a small server in the place of vLLM that runs the toy's own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.serving.asking import generated, said
from tests.serving.conftest import asked, opened, picture, sound
from tinyllava_kit.errors import KitError
from tinyllava_kit.serving.api_errors import as_api_error
from tinyllava_kit.serving.limits import Limits
from tinyllava_kit.serving.remote_llm import RemoteLlm, RemoteLlmError
from tinyllava_kit.serving.server import bound, server_of

pytestmark = pytest.mark.slow


class FakeVllm:
    """What vLLM answers of ``/v1/models`` and ``/v1/completions``, greedily.

    bodies: of the completions. left: set when a client goes before the end. fault: an answer in place of all others.
    """

    def __init__(self, llm: Any, longest: int = 200) -> None:
        self.llm, self.longest = llm, longest
        self.bodies: list[dict[str, Any]] = []
        self.left = threading.Event()
        self.fault: Response | None = None
        routes = [Route("/v1/models", self.models), Route("/v1/completions", self.completions, methods=["POST"])]
        self.socket = bound("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = server_of(Starlette(routes=routes), Limits())  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(60)

    async def models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": "toy-llm", "max_model_len": self.longest}]})

    async def completions(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.bodies.append(body)
        if self.fault is not None:
            return self.fault
        rows = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)
        return StreamingResponse(self.events(rows, body), media_type="text/event-stream")

    async def events(self, rows: torch.Tensor, body: dict[str, Any]) -> Any:
        for _ in range(body["max_tokens"]):
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                self.left.set()
                raise
            with torch.no_grad():
                scores = self.llm(inputs_embeds=rows[None]).logits[0, -1].log_softmax(-1)  # (V,)
            chosen = int(scores.argmax())
            rows = torch.cat([rows, self.llm.get_input_embeddings()(torch.tensor([chosen]))])
            choice: dict[str, Any] = {"text": "", "token_ids": [chosen]}
            if "logprobs" in body:
                values, ids = scores.topk(body["logprobs"])
                top = {f"token_id:{i}": v for i, v in zip(ids.tolist(), values.tolist(), strict=True)}
                choice["logprobs"] = {"token_logprobs": [float(scores[chosen])], "top_logprobs": [top]}
            yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            if chosen in body["stop_token_ids"]:
                break
        yield "data: [DONE]\n\n"


@pytest.fixture(scope="module")
def another_pair(another: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    return another()


@pytest.fixture
def vllm(another_pair: tuple[Any, Any]) -> Iterator[FakeVllm]:
    made = FakeVllm(another_pair[0].language_model)
    yield made
    made.close()


def test_answers_in_words_are_those_of_generate(another_pair, vllm, engine):
    _, processor = another_pair
    questions = [
        asked(processor, "hello?"),
        asked(processor, "<image> and <audio> and <image>", picture(1), sound(2), picture(2)),
    ]

    async def use(engine):
        assert engine.longest == vllm.longest
        return [await said(engine, each) for each in questions]

    for question, (text, _, count) in zip(questions, engine(use, remote=RemoteLlm(vllm.url)), strict=True):
        expected, ids = generated(another_pair, question)
        assert (text, count.tokens, count.finish) == (expected, len(ids), "length")
    width = another_pair[0].config.text_config.hidden_size
    rows = torch.load(io.BytesIO(base64.b64decode(vllm.bodies[-1]["prompt_embeds"])), weights_only=True)
    assert rows.shape == (len(processor.collate([processor.encode(questions[1], answer=True)])["input_ids"][0]), width)


def test_options_are_vllms(another_pair, vllm, engine):
    question = asked(another_pair[1], "hello?")
    how = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "presence_penalty": 0.1, "logit_bias": {3: 1.5}}

    async def use(engine):
        return await said(engine, question, num_likeliest=2, **how)

    _, scores, count = engine(use, remote=RemoteLlm(vllm.url))
    body = vllm.bodies[-1]
    told = {key: body[key] for key in ("model", "temperature", "top_p", "seed", "presence_penalty", "logit_bias")}
    assert told == {"model": "toy-llm", **how, "logit_bias": {"3": 1.5}}
    assert (body["max_tokens"], body["logprobs"], body["ignore_eos"]) == (20, 2, True)
    assert len(scores) == count.tokens == 20
    assert all(each.likeliest[0] == (each.id, each.logprob) and len(each.likeliest) == 2 for each in scores)


def test_an_answer_ends_at_an_end_and_is_left_when_nobody_reads_on(another_pair, vllm, engine):
    question = asked(another_pair[1], "hello?")
    _, ids = generated(another_pair, question)

    async def use(engine):
        engine.model.generation_config.eos_token_id = ids[4]
        try:
            ended = await said(engine, question)
        finally:
            engine.model.generation_config.eos_token_id = None
        letter = (await said(engine, question))[0][2]
        return ended, await said(engine, question, stop=[letter], max_new_tokens=150)

    (_, _, count), (_, _, stopped) = engine(use, remote=RemoteLlm(vllm.url))
    assert (count.tokens, count.finish) == (ids.index(ids[4]) + 1, "stop")
    assert stopped.finish == "stop"
    assert vllm.left.wait(30)


def test_another_llm_and_nobody_are_refused_when_the_server_begins(pair, vllm, loop):
    vllm.llm = type(vllm.llm)(vllm.llm.config).eval()  # the same shape, other weights
    with pytest.raises(RemoteLlmError, match="runs another LLM, or other weights"):
        loop.run(opened(pair, remote=RemoteLlm(vllm.url)))
    vllm.fault = JSONResponse({"error": {"message": "You must set `--enable-prompt-embeds`"}}, 400)
    with pytest.raises(RemoteLlmError, match=r"says 400: You must set `--enable-prompt-embeds`"):
        loop.run(opened(pair, remote=RemoteLlm(vllm.url)))
    vllm.close()
    with pytest.raises(RemoteLlmError, match="does not answer as vLLM"):
        loop.run(opened(pair, remote=RemoteLlm(vllm.url)))


def test_an_llm_that_goes_away_is_503_and_its_reason_is_in_the_log(another_pair, vllm, engine, caplog):
    question = asked(another_pair[1], "hello?")

    async def use(engine):
        vllm.fault = JSONResponse({"error": {"message": "out of memory at /home/me/llm"}}, 500)
        await said(engine, question)

    with pytest.raises(RemoteLlmError, match="says 500: out of memory") as raised:
        engine(use, remote=RemoteLlm(vllm.url))
    told = as_api_error(raised.value)
    assert isinstance(raised.value, KitError)
    assert (told.status, "memory" in str(told)) == (503, False)
    assert "out of memory" in caplog.text
