"""Answers of the engine against `generate`: items of several modalities, late, cancelled, too many."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

import pytest

from tests.serving.asking import LENGTH, generated, said
from tinyllava_kit.serving.answer_options import AnswerOptions
from tinyllava_kit.serving.continuous_batching import WorkerDiedError
from tinyllava_kit.serving.engine import AnswerCount, BusyError, NoRoomError

pytestmark = pytest.mark.slow


def test_answers_together_are_those_of_generate(pair, engine, questions):
    async def use(engine):
        return await asyncio.gather(*(said(engine, each) for each in questions))

    for (text, _, count), each in zip(engine(use), questions, strict=True):
        expected, ids = generated(pair, each)
        assert text == expected
        assert (count.tokens, count.finish) == (len(ids), "length")


def test_one_that_arrives_late_and_one_that_leaves_change_no_other(pair, engine, questions):
    async def leaves(engine):
        count = AnswerCount()
        prompt = await engine.encode(questions[1])
        async with aclosing(engine.answer(prompt, AnswerOptions(max_new_tokens=200), count)) as chunks:
            async for _ in chunks:
                return count

    async def late(engine):
        await asyncio.sleep(0.2)
        return await said(engine, questions[3])

    async def use(engine):
        first = asyncio.create_task(said(engine, questions[2], max_new_tokens=60))
        left, arrived = await asyncio.gather(leaves(engine), late(engine))
        whole = await first
        assert (engine.in_flight, engine.batched, engine.rows.pinned) == (0, 0, 0)
        return whole, left, arrived

    whole, left, arrived = engine(use)
    assert whole[0] == generated(pair, questions[2], max_new_tokens=60)[0]
    assert arrived[0] == generated(pair, questions[3])[0]
    assert left.tokens < 200


def test_who_leaves_while_items_are_encoded_pins_no_rows(engine, questions, monkeypatch):
    async def use(engine):
        embed = engine.model.embed

        def slow(*args):
            time.sleep(0.3)
            return embed(*args)

        engine.rows.clear()
        monkeypatch.setattr(engine.model, "embed", slow)
        asking = asyncio.create_task(said(engine, questions[3]))
        while not engine.batched:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert engine.batched == 0
        while not engine.rows.used or engine.rows.pinned:  # what goes on ends, and leaves
            await asyncio.sleep(0.05)

    engine(use)


def test_words_do_not_wait_for_the_items_of_others(engine, questions, monkeypatch):
    async def use(engine):
        embed, may_go_on = engine.model.embed, threading.Event()

        def waiting(*args):
            assert may_go_on.wait(60)
            return embed(*args)

        engine.rows.clear()
        await said(engine, questions[2])  # a sound that is held from now on
        monkeypatch.setattr(engine.model, "embed", waiting)
        slow = [asyncio.create_task(said(engine, questions[number])) for number in (1, 3, 5)]
        while engine.batched < len(slow):
            await asyncio.sleep(0.01)
        of_words, of_a_sound = await asyncio.gather(said(engine, questions[0]), said(engine, questions[2]))
        assert not any(task.done() for task in slow)
        may_go_on.set()
        assert all([(await task)[2].tokens == LENGTH for task in slow])
        assert of_words[2].tokens == of_a_sound[2].tokens == LENGTH

    engine(use)


def test_rows_that_were_made_before_the_worker_began_anew_are_not_asked_about(engine, questions, monkeypatch):
    async def use(engine):
        embed = engine.model.embed

        def meanwhile(*args):
            engine.restarts += 1
            return embed(*args)

        engine.rows.clear()
        monkeypatch.setattr(engine.model, "embed", meanwhile)
        with pytest.raises(WorkerDiedError):
            await said(engine, questions[1])

    engine(use)


def test_too_many_are_refused_and_there_is_room_again(engine, questions):
    async def use(engine):
        busy = pytest.raises(BusyError, match=r"2 of at most 2 answers are being generated; ask later")
        with engine.places(2), busy, engine.places():
            pass
        with engine.places(2):
            pass

    engine(use, max_requests=2)


def test_ids_that_have_run_out_begin_anew(pair, engine, questions):
    async def use(engine):
        first, before = await said(engine, questions[1]), engine.restarts
        engine.rows.is_worn = True
        asking = asyncio.gather(said(engine, questions[0]), said(engine, questions[1]))
        assert (await asking)[1][0] == first[0]
        assert engine.restarts - before == 1
        assert not engine.rows.is_worn

    engine(use)


def test_an_answer_that_has_no_room_is_refused_before_it_begins(engine, questions):
    async def use(engine):
        with pytest.raises(NoRoomError, match=r"takes \d+ positions, its items included, and the answer up to 300"):
            await said(engine, questions[1], max_new_tokens=300)
        _, _, count = await said(engine, questions[1], max_new_tokens=None)
        prompt = await engine.encode(questions[1])
        assert count.tokens == min(256, 288 - prompt.num_tokens)

    engine(use, cache_tokens=320)


def test_a_stop_text_ends_an_answer_and_is_no_part_of_it(pair, engine, questions):
    whole = generated(pair, questions[1])[0]
    stop = whole[7:10]

    async def use(engine):
        return await said(engine, questions[1], stop=[stop, "never"])

    text, _, count = engine(use)
    assert text == whole[: whole.index(stop)]
    assert (count.finish, count.tokens < LENGTH) == ("stop", True)


def test_the_same_picture_has_the_same_ids_and_runs_its_tower_once(pair, engine, questions):
    ran = []
    hook = pair[0].towers["image"].register_forward_hook(lambda *args: ran.append(1))

    async def use(engine):
        engine.rows.clear()  # nobody asks beside
        first = await said(engine, questions[1])
        used = engine.rows.used
        again = await said(engine, questions[1])
        assert engine.rows.used == used
        return first[0], again[0]

    first, again = engine(use)
    hook.remove()
    assert first == again
    assert len(ran) == 1
