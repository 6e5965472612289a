"""Answers that are generated one at a time, in a thread of their own: those that hold items, above all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import torch

from ..inference.segments import AnswerPart
from ..inference.streaming import AnswerStream


class LoneAnswer:
    """One answer that a thread generates; iterated once, and left before its end it is stopped.

    Args:
        make: the stream, called in the thread: it may read items and run towers.
        seed: of the sampling; None: any.
    """

    def __init__(self, executor: Executor, make: Callable[[], AnswerStream], seed: int | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._parts: asyncio.Queue[AnswerPart | BaseException | None] = asyncio.Queue()
        self._make, self._seed = make, seed
        self.stream: AnswerStream | None = None
        self._left = False
        self._work = executor.submit(self._run)

    def _run(self) -> None:
        try:
            if not self._left:
                self._answer()
        except BaseException as error:  # the reader raises it
            self._give(error)
        self._give(None)

    def _answer(self) -> None:
        if self._seed is not None:
            torch.manual_seed(self._seed)
        stream = self.stream = self._make()
        if self._left:
            stream.stop()
        stream.run(self._give)

    def _give(self, part: AnswerPart | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody reads
            self._loop.call_soon_threadsafe(self._parts.put_nowait, part)

    async def __aiter__(self) -> AsyncGenerator[AnswerPart, None]:
        """Text, and chunks of items, as they come."""
        try:
            while (part := await self._parts.get()) is not None:
                if isinstance(part, BaseException):
                    raise part
                yield part
        finally:
            self.leave()

    def leave(self) -> None:
        """No more is wanted of it."""
        self._left = True
        self._work.cancel()
        if self.stream is not None:
            self.stream.stop()

    @property
    def ids(self) -> list[Any]:
        """What was generated."""
        return [] if self.stream is None else self.stream.ids
