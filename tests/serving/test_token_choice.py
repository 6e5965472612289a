"""How the next id is chosen, and how likely it was."""

from __future__ import annotations

import pytest
import torch

from tests.serving.asking import LENGTH, said

pytestmark = pytest.mark.slow


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
