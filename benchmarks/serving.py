"""Requests that arrive one after another: answered together, beside one by one and beside static batches.

The LLM has the sizes of SmolLM2-135M and random weights. Requests arrive `gap` seconds apart, prompts of different
lengths, answers of as many tokens each, greedy. One by one: each is generated alone, when those before it are complete.
Static: what has arrived is generated as a batch, and what arrives meanwhile waits for the next. All three run in turns
in one process; the clock is wall time, because it measures waiting.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tinyllava_kit import assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.inference.answering import question
from tinyllava_kit.inference.replies import stream_answer
from tinyllava_kit.serving.answer_options import AnswerOptions
from tinyllava_kit.serving.engine import AnswerCount, Engine

from . import smollm2
from .clock import one_thread
from .figure import Figure
from .words import save_llm

IN_ONE_BY_ONE = 0.5  # of the time: at least twice the rate


@dataclass(frozen=True, kw_only=True)
class Load:
    """Of the LLM, as transformers names its sizes; how many requests come how fast, and how long they are."""

    words: int = smollm2.WORDS
    llm: Mapping[str, int] = field(default_factory=lambda: smollm2.SIZES)
    requests: int = 8
    gap: float = 0.1
    prompt_words: int = 40
    new_tokens: int = 24


@dataclass
class Timing:
    """Seconds from a request's arrival to its first token, of each, and from the first arrival to the last answer."""

    first: list[float] = field(default_factory=list)
    whole: float = 0.0


def figures(load: Load | None = None, *, rounds: int = 3) -> Iterator[Figure]:
    """Time in that of the other ways, and requests a second and seconds to the first token of each."""
    load = load or Load()
    with one_thread(), tempfile.TemporaryDirectory() as scratch:
        pair = assembled(Path(scratch), load)
        found = asyncio.run(_timed(pair, load, rounds))
    medians = {name: statistics.median(each.whole for each in timings) for name, timings in found.items()}
    yield Figure(name="serve_time_in_one_by_one", value=medians["together"] / medians["one_by_one"], goal=IN_ONE_BY_ONE)
    yield Figure(name="serve_time_in_static", value=medians["together"] / medians["static"])
    for name, timings in found.items():
        yield Figure(name=f"serve_{name}_requests_per_second", value=load.requests / medians[name])
        first = statistics.median(value for each in timings for value in each.first)
        yield Figure(name=f"serve_{name}_first_token_seconds", value=first)


def assembled(place: Path, load: Load) -> tuple[Any, Any]:
    """A model of words alone, and its processor."""
    torch.manual_seed(0)
    save_llm(place, load.words, load.llm)
    model, processor = assemble(Assembly.from_flags(llm=f"llama:{place}"))
    model.generation_config.eos_token_id = None  # every answer has its full length
    return model.eval(), processor


def questions(processor: Any, load: Load) -> list[Any]:
    """Prompts of different lengths."""
    draw = random.Random(0)
    lengths = [load.prompt_words // 2 + number * load.prompt_words // load.requests for number in range(load.requests)]
    texts = [" ".join(f"w{draw.randrange(load.words)}" for _ in range(length)) for length in lengths]
    return [question(text, [], processor) for text in texts]


async def _timed(pair: tuple[Any, Any], load: Load, rounds: int) -> dict[str, list[Timing]]:
    asked = questions(pair[1], load)
    engine = Engine(*pair)
    await engine.open()
    ways: dict[str, Callable[[], Awaitable[Timing]]] = {
        "together": lambda: together(engine, asked, load),
        "one_by_one": lambda: asyncio.to_thread(one_by_one, pair, asked, load),
        "static": lambda: asyncio.to_thread(static, pair, asked, load),
    }
    found: dict[str, list[Timing]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            timing = await way()
            if number:  # the first warms up
                found[name].append(timing)
    await engine.close()
    return found


async def together(engine: Engine, asked: list[Any], load: Load) -> Timing:
    """As `tinyllava serve` answers."""
    timing, start = Timing(), time.monotonic()

    async def one(number: int) -> None:
        await asyncio.sleep(number * load.gap)
        arrived = time.monotonic()
        prompt = await engine.encode(asked[number])
        count = AnswerCount()
        async with aclosing(engine.answer(prompt, AnswerOptions(max_new_tokens=load.new_tokens), count)) as chunks:
            await anext(chunks)
            timing.first.append(time.monotonic() - arrived)
            async for _ in chunks:
                pass
        assert count.tokens == load.new_tokens

    await asyncio.gather(*map(one, range(load.requests)))
    timing.whole = time.monotonic() - start
    return timing


def one_by_one(pair: tuple[Any, Any], asked: list[Any], load: Load) -> Timing:
    """Each alone, in order."""
    timing, start = Timing(), time.monotonic()
    for number, conversation in enumerate(asked):
        arrives = start + number * load.gap
        time.sleep(max(arrives - time.monotonic(), 0))
        shown: list[float] = []
        stream = stream_answer(*pair, conversation, max_new_tokens=load.new_tokens)
        stream.run(lambda part, shown=shown: shown.append(time.monotonic()))  # type: ignore[misc]
        timing.first.append(shown[0] - arrives)
    timing.whole = time.monotonic() - start
    return timing


@torch.no_grad()
def static(pair: tuple[Any, Any], asked: list[Any], load: Load) -> Timing:
    """Those that have arrived as a batch; nobody sees a token before all have theirs."""
    model, processor = pair
    timing, start, done = Timing(), time.monotonic(), 0
    while done < len(asked):
        time.sleep(max(start + done * load.gap - time.monotonic(), 0))
        there = min(int((time.monotonic() - start) / load.gap) + 1, len(asked))
        prompts = [processor.encode(each, answer=True) for each in asked[done:there]]
        batch = processor.collate(prompts, padding_side="left")
        model.generate(**batch, max_new_tokens=load.new_tokens, do_sample=False)
        now = time.monotonic()
        timing.first += [now - (start + number * load.gap) for number in range(done, there)]
        done = there
    timing.whole = time.monotonic() - start
    return timing
