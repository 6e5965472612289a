"""What a request says of how its answer is generated: alike together and alone."""

from __future__ import annotations

import asyncio

import pytest
import torch

from tests.serving.asking import generated, said

pytestmark = pytest.mark.slow


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
