"""An answer that a thread generates: its parts in order, its error, and its end when nobody reads on."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest
import torch

from tinyllava_kit.serving.lone_answers import LoneAnswer


class Stream:
    """As an `AnswerStream`: gives its parts, until it is stopped."""

    ids = (3, 5)

    def __init__(self, parts, *, until=None):
        self.parts, self.until = parts, until
        self.stopped = threading.Event()

    def stop(self):
        self.stopped.set()

    def run(self, show):
        for part in self.parts:
            if self.stopped.is_set():
                return
            if isinstance(part, Exception):
                raise part
            show(part)
        if self.until is not None:
            self.until.wait(60)


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as made:
        yield made


async def read(answer, most=None):
    found = []
    async with aclosing(aiter(answer)) as parts:
        async for part in parts:
            found.append(part)
            if len(found) == most:
                break
    return found


def test_parts_come_in_order_and_the_ids_are_the_streams(executor):
    async def use():
        answer = LoneAnswer(executor, lambda: Stream(["a", "b", "c"]))
        return await read(answer), answer.ids

    assert asyncio.run(use()) == (["a", "b", "c"], (3, 5))


def test_an_error_comes_behind_what_was_said(executor):
    found = []

    async def use():
        async for part in LoneAnswer(executor, lambda: Stream(["a", ValueError("no more"), "b"])):
            found.append(part)

    with pytest.raises(ValueError, match="no more"):
        asyncio.run(use())
    assert found == ["a"]


def test_one_that_cannot_be_made_has_no_ids(executor):
    def make():
        raise ValueError("no item")

    async def use():
        answer = LoneAnswer(executor, make)
        with pytest.raises(ValueError, match="no item"):
            await read(answer)
        return answer.ids

    assert asyncio.run(use()) == []


def test_one_that_is_left_is_stopped(executor):
    goes_on = threading.Event()
    stream = Stream(["a", "b"], until=goes_on)

    async def use():
        return await read(LoneAnswer(executor, lambda: stream), most=1)

    assert asyncio.run(use()) == ["a"]
    assert stream.stopped.is_set()
    goes_on.set()


def test_one_that_is_left_before_its_turn_is_never_made(executor):
    goes_on, made = threading.Event(), []

    async def use():
        first = LoneAnswer(executor, lambda: Stream(["a"], until=goes_on))
        second = LoneAnswer(executor, lambda: made.append(1) or Stream(["b"]))
        second.leave()
        goes_on.set()
        return await read(first)

    assert asyncio.run(use()) == ["a"]
    executor.submit(int).result()
    assert made == []


def test_the_seed_is_that_of_torch_in_the_thread(executor):
    async def use(seed):
        return await read(LoneAnswer(executor, lambda: Stream([torch.rand(2).tolist()]), seed))

    first, again, other = (asyncio.run(use(seed)) for seed in (3, 3, 4))
    assert first == again == [torch.rand(2, generator=torch.Generator().manual_seed(3)).tolist()]
    assert other != first
