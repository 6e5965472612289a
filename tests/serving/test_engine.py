"""Answers of the engine against `generate`: items of several modalities, late, cancelled, too many, a dead worker."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

import pytest
import torch

from tests.serving.conftest import asked, picture, sound
from tinyllava_kit.serving.answer_options import AnswerOptions
from tinyllava_kit.serving.continuous_batching import WorkerDiedError
from tinyllava_kit.serving.engine import AnswerCount, BusyError, NoRoomError

pytestmark = pytest.mark.slow

LENGTH = 20


async def said(engine, conversation, **how):
    """An answer's text, ids' scores and count."""
    count, text, scores = AnswerCount(), "", []
    prompt = await engine.encode(conversation)
    options = AnswerOptions(**{"max_new_tokens": LENGTH, **how})
    async with aclosing(engine.answer(prompt, options, count)) as chunks:
        async for piece in chunks:
            text += piece.text
            scores += piece.scores
    return text, scores, count


def generated(pair, conversation, **how):
    """The same by `generate`."""
    model, processor = pair
    batch = processor.collate([processor.encode(conversation, answer=True)], padding_side="left")
    with torch.no_grad():
        ids = model.generate(**batch, **{"max_new_tokens": LENGTH, "do_sample": False, **how})
    new = ids[0, batch["input_ids"].shape[1] :].tolist()
    return processor.decode(new, skip_special_tokens=True).lstrip(), new


@pytest.fixture(scope="module")
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


def test_ids_that_have_run_out_begin_anew(pair, engine, questions):
    async def use(engine):
        first, before = await said(engine, questions[1]), engine.restarts
        engine.rows.is_worn = True
        asking = asyncio.gather(said(engine, questions[0]), said(engine, questions[1]))
        assert (await asking)[1][0] == first[0]
        assert engine.restarts - before == 1
        assert not engine.rows.is_worn

    engine(use)


def test_a_prompt_that_is_computed_anew_for_want_of_blocks_is_answered_alike(pair, engine, questions):
    async def use(engine):
        return await asyncio.gather(*(said(engine, each, max_new_tokens=100) for each in questions[:3]))

    for (text, _, _), each in zip(engine(use, cache_tokens=330), questions[:3], strict=True):
        assert text == generated(pair, each, max_new_tokens=100)[0]


def test_an_answer_that_has_no_room_is_refused_before_it_begins(engine, questions):
    async def use(engine):
        with pytest.raises(NoRoomError, match=r"takes \d+ positions, its items included, and the answer up to 300"):
            await said(engine, questions[1], max_new_tokens=300)
        _, _, count = await said(engine, questions[1], max_new_tokens=None)
        prompt = await engine.encode(questions[1])
        assert count.tokens == min(256, 288 - prompt.num_tokens)

    engine(use, cache_tokens=320)


HOW = {
    "penalties": {"presence_penalty": 1.5, "frequency_penalty": 0.5},
    "chance": {"temperature": 1.3, "top_p": 0.8, "seed": 7},
    "bias": {"logit_bias": {9: 3.0, 11: -100.0}},
}


@pytest.mark.parametrize("name", HOW)
def test_options_do_alike_together_and_alone(pair, engine, questions, name):
    how = HOW[name]

    async def use(engine):
        plain = [said(engine, each) for each in questions[:2]]
        return await asyncio.gather(said(engine, questions[3], **how), *plain)

    async def alone(engine):
        return await said(engine, questions[3], **how)

    together, *plain = engine(use)
    assert together[0] == engine(alone, batching=False)[0]
    assert together[0] != generated(pair, questions[3])[0]
    assert [each[0] for each in plain] == [generated(pair, each)[0] for each in questions[:2]]


def test_a_seed_gives_what_torch_gives_with_it(pair, engine, questions):
    async def use(engine):
        return await said(engine, questions[1], temperature=1.1, seed=5)

    text = engine(use)[0]
    torch.manual_seed(5)
    assert text == generated(pair, questions[1], do_sample=True, temperature=1.1)[0]


def test_penalties_of_generation_config_hold_of_words_alone(pair, engine, questions, monkeypatch):
    monkeypatch.setattr(pair[0].generation_config, "repetition_penalty", 1.7)

    async def use(engine):
        return await asyncio.gather(*(said(engine, each) for each in questions[:4]))

    assert [each[0] for each in engine(use)] == [generated(pair, each)[0] for each in questions[:4]]


def test_scores_are_the_models_own_whatever_is_chosen(pair, engine, questions):
    async def use(engine):
        return await said(engine, questions[3], temperature=1.5, seed=1, num_likeliest=3)

    _, scores, count = engine(use)
    model, processor = pair
    prompt = processor.encode(questions[3], answer=True)
    batch = processor.collate([prompt], padding_side="left")
    embeds = model.embed(batch["input_ids"], batch["items"], batch["plan"])
    ids = torch.tensor([[each.id for each in scores]])
    with torch.no_grad():
        whole = torch.cat([embeds, model.get_input_embeddings()(ids)], 1)
        logprobs = model.language_model(inputs_embeds=whole).logits[0, embeds.shape[1] - 1 : -1].log_softmax(-1)
    assert len(scores) == count.tokens == LENGTH
    for score, expected in zip(scores, logprobs, strict=True):
        assert score.logprob == pytest.approx(float(expected[score.id]), abs=1e-4)
        assert [each for each, _ in score.likeliest] == expected.topk(3).indices.tolist()


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
