"""How the next id is chosen, and how likely it was."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper

from tests.serving.asking import LENGTH, said
from tinyllava_kit.serving.token_choice import CountPenalties, TokenBias, TokenChoice, TokenChoices

PROMPT = torch.tensor([[1, 4]])


@pytest.mark.slow
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


def scores(seed=0, ids=11):
    return torch.randn(1, ids, generator=torch.Generator().manual_seed(seed))


def chosen(choice, given):
    """The one id that is left."""
    (found,) = choice.among(given)[0].isfinite().nonzero()[:, 0].tolist()
    return found


def test_a_plain_choice_leaves_the_scores_as_they_are():
    choice = TokenChoice(PROMPT, LogitsProcessorList())
    assert choice.is_plain
    given = scores()
    assert choice.among(given) is given


def test_penalties_are_taken_from_ids_of_the_answer_as_a_slow_loop_takes_them():
    said, given = [4, 7, 7, 2], scores()
    made = CountPenalties(2, presence=0.5, frequency=0.25)(torch.tensor([[1, 4, *said]]), given)
    for token, (before, after) in enumerate(zip(given[0].tolist(), made[0].tolist(), strict=True)):
        times = said.count(token)
        assert after == pytest.approx(before - 0.25 * times - 0.5 * (times > 0))
    nothing = CountPenalties(2, presence=0.5, frequency=0.25)(PROMPT, given)
    assert torch.equal(nothing, given)


def test_an_id_behind_the_scores_takes_no_penalty_from_others():
    made = CountPenalties(0, presence=1.0, frequency=0.0)(torch.tensor([[30, 2]]), torch.zeros(1, 11))
    assert made[0].nonzero()[:, 0].tolist() == [2]


def test_a_bias_is_added_to_its_ids_alone():
    given = scores()
    made = TokenBias({3: 2.0, 9: -100.0}, torch.device("cpu"))(PROMPT, given)
    assert {at: float(made[0, at] - given[0, at]) for at in (3, 9)} == pytest.approx({3: 2.0, 9: -100.0}, abs=1e-4)
    others = [at for at in range(11) if at not in (3, 9)]
    assert torch.equal(made[0, others], given[0, others])


def test_an_answer_is_chosen_with_the_ids_before_it():
    penalties = LogitsProcessorList([CountPenalties(2, presence=0.0, frequency=1e9)])
    choice = TokenChoice(PROMPT, penalties)
    given = scores()
    ranked = given[0].argsort(descending=True).tolist()
    assert [chosen(choice, given) for _ in range(4)] == ranked[:4]


def test_chance_is_that_of_the_seed_alone():
    given = [scores(seed) for seed in range(20)]
    warm = LogitsProcessorList([TemperatureLogitsWarper(1.3)])
    first, again, other = (
        [chosen(choice, each) for each in given]
        for choice in (TokenChoice(PROMPT, warm, do_sample=True, seed=seed) for seed in (5, 5, 6))
    )
    generator = torch.Generator().manual_seed(5)
    expected = [int(torch.multinomial((each / 1.3).softmax(-1), 1, generator=generator)) for each in given]
    assert first == again == expected
    assert other != first


def test_scores_are_padded_to_the_width_that_processors_expect():
    widths = []

    def processors(ids, given):
        widths.append(given.shape[1])
        assert given[0, 11:].isneginf().all()
        return given

    choice = TokenChoice(PROMPT, processors, num_ids=14)
    assert choice.among(scores()).shape == (1, 11)
    assert widths == [14]


@pytest.mark.parametrize("num_likeliest", [0, 3])
def test_an_id_is_scored_before_anything_changed_the_scores(num_likeliest):
    given = scores()
    bias = LogitsProcessorList([TokenBias({5: 100.0}, given.device)])
    choice = TokenChoice(PROMPT, bias, num_likeliest=num_likeliest)
    assert chosen(choice, given) == 5
    (score,) = choice.scores
    expected = given[0].log_softmax(-1)
    assert (score.id, score.logprob) == (5, pytest.approx(float(expected[5])))
    assert [at for at, _ in score.likeliest] == expected.argsort(descending=True).tolist()[:num_likeliest]


def test_each_request_of_a_step_has_its_own_choice():
    def request(choice):
        return SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs={"choice": choice}))

    plain = TokenChoice(PROMPT, LogitsProcessorList())
    biased = TokenChoice(PROMPT, LogitsProcessorList([TokenBias({5: 100.0}, PROMPT.device)]))
    step, given = TokenChoices(), torch.cat([scores(1), scores(2)])
    arguments = step.prepare_tensor_args([request(plain), request(biased)])
    made = step(given, arguments)
    assert torch.equal(made[0], given[0])
    assert made[1].isfinite().nonzero()[:, 0].tolist() == [5]
    step.prepare_tensor_args([request(plain), request(plain)])
    assert step(given, arguments) is given
