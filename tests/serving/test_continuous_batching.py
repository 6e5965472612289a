"""The worker that generates answers together: what is left frees its blocks, and a dead one begins anew."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from tests.serving.asking import generated, said
from tinyllava_kit.serving.answer_options import AnswerOptions
from tinyllava_kit.serving.continuous_batching import WorkerDiedError
from tinyllava_kit.serving.engine import AnswerCount

pytestmark = pytest.mark.slow


def test_what_a_client_leaves_frees_its_blocks(pair, engine, questions):
    async def use(engine):
        pool = None
        for each in questions * 3:
            prompt = await engine.encode(each)
            async with aclosing(engine.answer(prompt, AnswerOptions(max_new_tokens=300), AnswerCount())) as chunks:
                async for _ in chunks:
                    break
        await asyncio.sleep(0.3)
        processor = engine.batching._manager.batch_processor
        pool = processor.scheduler
        return len(pool.active_requests), len(pool.waiting_requests), engine.rows.pinned, processor.output_router

    active, waiting, pinned, router = engine(use)
    assert (active, waiting, pinned) == (0, 0, 0)
    assert router.result_handlers == {}


def test_a_worker_that_dies_is_reported_and_begins_anew(pair, engine, questions, monkeypatch):
    async def use(engine):
        expected, began = generated(pair, questions[3])[0], engine.restarts
        asking = asyncio.create_task(said(engine, questions[1], max_new_tokens=300))
        await asyncio.sleep(0.2)

        def dies(*args, **kwargs):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(engine.batching._manager.batch_processor.scheduler, "schedule_batch", dies)
        with pytest.raises(WorkerDiedError, match="the model's worker has died, and begins anew; ask again"):
            await asking
        assert not engine.batching.is_alive
        dead = engine.batching._manager
        assert await engine.while_others_wait(lambda: "done") == "done"
        engine.batching._report(dead)  # an answer of the old worker, read late
        assert engine.batching.is_alive
        assert engine.restarts == began + 1

        monkeypatch.setattr(engine.batching._manager.batch_processor.scheduler, "schedule_batch", dies)
        with pytest.raises(WorkerDiedError):
            await said(engine, questions[1])
        before = engine.restarts
        again = (await said(engine, questions[3]))[0]
        assert (again, engine.restarts - before, engine.batched, engine.rows.pinned) == (expected, 1, 0, 0)

    engine(use)


def test_a_prompt_that_is_computed_anew_for_want_of_blocks_is_answered_alike(pair, engine, questions):
    async def use(engine):
        return await asyncio.gather(*(said(engine, each, max_new_tokens=100) for each in questions[:3]))

    for (text, _, _), each in zip(engine(use, cache_tokens=330), questions[:3], strict=True):
        assert text == generated(pair, each, max_new_tokens=100)[0]
