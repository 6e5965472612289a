"""An LLM in transformers' continuous batching: answers in words that are generated together, whenever each arrives."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList

from ..errors import KitError
from .item_rows import ItemRows
from .token_choice import TokenChoice, TokenChoices

PAGE_TOKENS = 32  # positions of a page of keys and values; whole pages are shared by prompts that begin alike
_STEP_TOKENS = 512  # positions that a step runs at most; a long prompt takes several
_ALIVE_SECONDS = 1.0  # between two looks at whether the worker still works
_PROBE_SECONDS = 60.0
_PROBE_TOKENS = 3


class WorkerDiedError(KitError):
    """What generates answers has ended; it begins anew with the next request."""

    def __init__(self) -> None:
        super().__init__("the model's worker has died, and begins anew; ask again")


class ContinuousBatching:
    """The answers of one LLM, generated together.

    Args:
        llm: its input embedding becomes `rows` until `close`.
        rows: the rows of items, behind its vocabulary.
        num_tokens: positions whose keys and values are held, of all requests together.
        max_requests: how many are run in one step at most.
    """

    def __init__(self, llm: PreTrainedModel, rows: ItemRows, *, num_tokens: int, max_requests: int) -> None:
        self.llm: Any = llm
        self.rows = rows
        self.num_blocks = math.ceil(num_tokens / PAGE_TOKENS)
        self.max_requests = max_requests
        self._names = map(str, itertools.count())
        self._manager: Any = None
        self._has_died = False

    @property
    def num_tokens(self) -> int:
        """How many positions the longest request may have, its answer included."""
        return (self.num_blocks - 1) * PAGE_TOKENS

    @property
    def is_alive(self) -> bool:
        """Whether requests are taken and answered."""
        return self._manager is not None and not self._has_died and self._manager.is_running()

    def open(self) -> None:
        """Begin to take requests; anew, where the worker has died. Nothing is held of what was before."""
        self.stop()
        self.rows.clear()
        self.llm.set_input_embeddings(self.rows)
        how = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
        self._manager = self.llm.init_continuous_batching(how, self._size())
        choices = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([TokenChoices()]))
        choices.tensors_required = 1
        self._manager.logit_processor = choices
        self._has_died = False
        self._manager.start()

    def close(self) -> None:
        """Take no more requests; the LLM is as it was."""
        self.stop()
        self.llm.set_input_embeddings(self.rows.base)

    def stop(self) -> None:
        """End the worker; answers that wait for it fail."""
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.stop(block=True, hard_stop=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is generated while the body runs.

        Raises:
            KitError: the installed transformers has no option for it.
            WorkerDiedError: nothing is there that could pause.
        """
        if not self.is_alive:
            raise WorkerDiedError
        if not hasattr(self._manager, "pause"):
            raise KitError("this needs a newer transformers, whose continuous batching can pause: pip install -U it")
        with self._manager.pause():
            yield

    def _size(self) -> ContinuousBatchingConfig:
        known = {field.name for field in fields(ContinuousBatchingConfig)}
        page = "page_size" if "page_size" in known else "block_size"  # before transformers 5.17
        size: dict[str, Any] = {page: PAGE_TOKENS}
        return ContinuousBatchingConfig(
            **size,
            num_blocks=self.num_blocks,
            max_batch_tokens=_STEP_TOKENS,
            max_requests_per_batch=self.max_requests,
            use_async_batching=False,  # a choice needs the ids before it
            use_cuda_graph=False,
            auto_switch_to_flash=False,  # answers generated alone attend as before
        )

    def begin(
        self, ids: Sequence[int], choice: TokenChoice, *, max_new_tokens: int, ends: Sequence[int]
    ) -> BatchedAnswer:
        """Answer a prompt of ids, those of rows among them. Called in the event loop that reads the answer.

        Raises:
            WorkerDiedError: nothing is there that would answer.
        """
        manager = self._manager
        if not self.is_alive:
            raise WorkerDiedError
        answer = BatchedAnswer(manager, next(self._names), self._report)
        how = {"max_new_tokens": max_new_tokens, "eos_token_id": list(ends) or -1}
        taken = manager.add_request(list(ids), request_id=answer.name, streaming=True, choice=choice, **how)
        if taken is None:
            answer.leave()
            self._report(manager)
            raise WorkerDiedError
        return answer

    def _report(self, manager: Any) -> None:
        """Of a manager that is no longer the one, an answer may say so late."""
        if manager is self._manager:
            self._has_died = True

    @torch.no_grad()
    def check(self) -> None:
        """Ask a few tokens and a row, in continuous batching and of `generate`.

        Raises:
            KitError: the LLM cannot be asked so, or answers otherwise.
        """
        ids = list(range(min(4, self.rows.first)))
        embeds = self.rows.base(torch.tensor(ids, device=self.llm.device))  # (t, D)
        held = self.rows.put("probe", embeds[-1:].flip(-1))
        row = held.ids
        prompt = torch.cat([embeds, self.rows(torch.tensor(row, device=self.llm.device))])[None]  # (1, t + 1, D)
        self._manager.add_request(
            ids + row,
            max_new_tokens=_PROBE_TOKENS,
            eos_token_id=-1,
            choice=TokenChoice(Tensor(), LogitsProcessorList()),
        )
        result = self._manager.get_result(timeout=_PROBE_SECONDS)
        self.rows.release(held)
        if result is None or result.error is not None:
            raise KitError(f"the LLM cannot be run in continuous batching: {result and result.error}")
        embeds = torch.cat([prompt, self.rows.base(torch.tensor([result.generated_tokens], device=self.llm.device))], 1)
        logits = self.llm(inputs_embeds=embeds).logits[0, len(ids) : -1].float()  # (n, V)
        taken = logits.gather(1, torch.tensor(result.generated_tokens, device=logits.device)[:, None])[:, 0]  # (n,)
        if bool((logits.amax(1) - taken > 0.1 * logits.std(1)).any()):
            raise KitError("the LLM answers otherwise in continuous batching than alone")


class BatchedAnswer:
    """The ids of one answer as they are generated; iterated once, and left before its end it is cancelled.

    Args:
        manager: transformers'. name: of the request. report: called with it where its worker has died.
    """

    def __init__(self, manager: Any, name: str, report: Callable[[Any], None]) -> None:
        self.manager, self.name, self.report = manager, name, report
        self.is_whole = False
        self._seen = 0
        self._outputs: asyncio.Queue[tuple[list[int], bool, bool]] = asyncio.Queue()  # new ids; the end, an error
        manager.register_result_handler(name, self._take)

    def _take(self, output: Any) -> None:
        """Keep the new ids: each output holds all ids so far."""
        new = output.generated_tokens[self._seen :]
        self._seen += len(new)
        self._outputs.put_nowait((new, output.is_finished(), output.error is not None))

    async def __aiter__(self) -> AsyncGenerator[list[int], None]:
        """New ids, one or more at a time, the end's included.

        Raises:
            WorkerDiedError: the worker ended before the answer did.
        """
        try:
            while not self.is_whole:
                new, self.is_whole, has_failed = await self._next()
                if has_failed:
                    self.report(self.manager)
                    raise WorkerDiedError
                if new:
                    yield new
        finally:
            self.leave()

    async def _next(self) -> tuple[list[int], bool, bool]:
        while True:
            try:
                return await asyncio.wait_for(self._outputs.get(), _ALIVE_SECONDS)
            except asyncio.TimeoutError:
                if not self.manager.is_running() and self._outputs.empty():
                    self.report(self.manager)
                    raise WorkerDiedError from None

    def leave(self) -> None:
        """No more is wanted of it."""
        with self.manager.output_router._lock:
            self.manager.output_router.result_handlers.pop(self.name, None)
        if not self.is_whole:
            self.manager.cancel_request(self.name)
