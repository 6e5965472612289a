"""An LLM that runs elsewhere: an unmodified vLLM, which takes the embeddings of prompts and gives ids.

Legend: T positions of a prompt, D width of the LLM, t ids, V ids of the vocabulary.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import KitError
from ..files.failures import first_line
from .answer_options import AnswerOptions
from .token_choice import TokenScore

VLLM_KEY = "VLLM_API_KEY"  # in the environment, as vLLM has it
_PROBE_TOKENS = 3
_CONNECT_SECONDS, _SILENT_SECONDS = 10.0, 300.0  # a request waits there until there is room


class RemoteLlmError(KitError):
    """The LLM that runs elsewhere cannot be asked, or has said no."""


class RemoteLlm:
    """A server of vLLM with the LLM of a model, begun with ``--enable-prompt-embeds``.

    longest: how many positions a prompt and its answer may have there, known when it is open.

    Args:
        url: of the server, without a path.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.longest: int | None = None
        self._name = ""
        self._client: httpx2.AsyncClient | None = None

    async def open(self, llm: PreTrainedModel) -> None:
        """Begin, and ask a few tokens.

        Raises:
            RemoteLlmError: nobody answers, takes no embeddings, or is another LLM.
        """
        key = os.environ.get(VLLM_KEY)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Timeout(_SILENT_SECONDS, connect=_CONNECT_SECONDS)
        self._client = httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=limits, trust_env=False)
        try:
            await self._read_card(self._client)
            await self._check_llm(llm)
        except BaseException:
            await self.close()
            raise

    async def _read_card(self, client: httpx2.AsyncClient) -> None:
        with self._asked():
            response = await client.get("/v1/models")
            self._check(response.status_code, response.content)
            card = response.json()["data"][0]
            self._name, self.longest = card["id"], card.get("max_model_len")

    async def close(self) -> None:
        """End; answers that are being generated there are not generated on."""
        if self._client is not None:
            await self._client.aclose()

    async def _check_llm(self, llm: PreTrainedModel) -> None:
        table: Any = llm.get_input_embeddings()
        known = torch.arange(min(4, len(table.weight)), device=llm.device)
        with torch.no_grad():
            how = AnswerOptions(max_new_tokens=_PROBE_TOKENS)
            said = [each async for ids in self.ids(table(known), how, [], []) for each in ids]
            given = torch.tensor(said, device=llm.device)  # (t,)
            if not said or int(given.max()) >= len(table.weight):
                raise RemoteLlmError(f"{self.url} runs an LLM of another vocabulary; serve the one of this model there")
            logits = llm(inputs_embeds=table(torch.cat([known, given]))[None]).logits[0, len(known) - 1 : -1].float()
        taken = logits.gather(1, given[:, None])[:, 0]  # (t,)
        if bool((logits.amax(1) - taken > 0.1 * logits.std(1)).any()):
            raise RemoteLlmError(f"{self.url} runs another LLM, or other weights; serve the LLM of this model there")

    async def ids(
        self, rows: Tensor, how: AnswerOptions, ends: Sequence[int], scores: list[TokenScore]
    ) -> AsyncGenerator[list[int], None]:
        """The ids of an answer as they come; left before its end it is not generated on.

        Args:
            rows: (T, D) the embeddings of the prompt. how: with a length. ends: ids that end the answer.
            scores: gets how likely each id was, where `how` asks for that.

        Raises:
            RemoteLlmError: it cannot be asked, or says no.
        """
        assert self._client is not None
        body = self._body(rows, how, ends)
        with self._asked():
            async with self._client.stream("POST", "/v1/completions", json=body) as response:
                if response.status_code != 200:
                    self._check(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    content = line.removeprefix("data: ")
                    if content == line or content == "[DONE]":
                        continue
                    event = json.loads(content)
                    if "error" in event:
                        self._check(500, content.encode())
                    for choice in event["choices"]:
                        if new := choice.get("token_ids"):
                            scores += _scores(new, choice.get("logprobs"))
                            yield new

    def _body(self, rows: Tensor, how: AnswerOptions, ends: Sequence[int]) -> dict[str, Any]:
        file = io.BytesIO()
        torch.save(rows.detach().cpu().clone(), file)
        body: dict[str, Any] = {
            "model": self._name,
            "prompt_embeds": base64.b64encode(file.getvalue()).decode(),
            "max_tokens": how.max_new_tokens,
            "temperature": how.temperature,
            "top_p": how.top_p,
            "seed": how.seed,
            "presence_penalty": how.presence_penalty,
            "frequency_penalty": how.frequency_penalty,
            "logit_bias": {str(each): value for each, value in how.logit_bias.items()} or None,
            "logprobs": how.num_likeliest,
            "stop_token_ids": list(ends),
            "ignore_eos": True,
            "stream": True,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }
        return {name: value for name, value in body.items() if value is not None}

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.HTTPError, ValueError, LookupError) as error:
            raise RemoteLlmError(f"the LLM at {self.url} does not answer as vLLM: {first_line(error)}") from error

    def _check(self, status: int, content: bytes) -> None:
        if status == 200:
            return
        try:
            reason = json.loads(content)["error"]["message"]
        except (ValueError, LookupError, TypeError):
            reason = content[:200].decode(errors="replace")
        raise RemoteLlmError(f"the LLM at {self.url} says {status}: {reason}")


def _scores(ids: Sequence[int], logprobs: Mapping[str, Any] | None) -> list[TokenScore]:
    """What vLLM says of ids as the kit has it."""
    if logprobs is None:
        return []
    found = []
    for number, (each, logprob) in enumerate(zip(ids, logprobs["token_logprobs"], strict=True)):
        others = (logprobs.get("top_logprobs") or [{}] * len(ids))[number] or {}
        named = sorted(((int(name.rpartition(":")[2]), value) for name, value in others.items()), key=lambda x: -x[1])
        found.append(TokenScore(each, logprob, tuple(named)))
    return found
