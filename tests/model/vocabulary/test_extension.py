"""Several ids at a position: what is embedded, learned and generated beside the main ids, against slow loops."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.model.vocabulary.codes import CODEBOOKS, ITEMS, SIZE, codes_model
from tinyllava_kit import KitError
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import TextSpan

pytestmark = pytest.mark.slow


@pytest.fixture
def model():
    return codes_model()


def slow_embeds(model, ids, parallel):
    """Position by position: the sum of the embeddings of all ids there."""
    rows, first = model.decoders["it"].rows.embedding, model.extension.grammar.first
    out = []
    for each, beside in zip(ids, parallel, strict=True):
        total = rows[each - first] if each >= first else model.get_input_embeddings().weight[each]
        for codebook, code in enumerate(beside, 1):
            if code >= 0:
                total = total + rows[2 + SIZE + CODEBOOKS - 1 + (codebook - 1) * SIZE + code]
        out.append(total)
    return torch.stack(out)[None]


def slow_heads(model, hidden):
    """(D,) -> the logits of all main ids, and of each parallel stream."""
    head, count = model.decoders["it"].rows.head, 2 + SIZE + CODEBOOKS - 1
    gap = hidden.new_full((model.extension.grammar.first - 11,), -torch.inf)
    main = torch.cat([model.language_model.lm_head(hidden), gap, head[:count] @ hidden])
    return main, [
        head[count + codebook * SIZE : count + (codebook + 1) * SIZE] @ hidden for codebook in range(CODEBOOKS - 1)
    ]


def hidden_of(model, ids, parallel):
    return model.get_decoder()(inputs_embeds=slow_embeds(model, ids, parallel)).last_hidden_state[0]


def batch_of(model, items, packs=None, max_length=None, first=0):
    numbered = enumerate(items, 3 + first)
    spans = [[TextSpan([1, n]), model.ids_of("it", item), TextSpan([2], [2])] for n, item in numbered]
    inputs, layout = plan(spans, packs=packs, max_length=max_length)
    targets = model.extension.grammar.targets(
        inputs["input_ids"].flatten()[layout.target_positions], layout.target_parallel
    )
    return {**inputs, "plan": layout, "targets": targets}


def slow_group(grammar, label):
    """The range of a label; what ends the first codebook stands where its next id could, the end alone."""
    after = label - grammar.first
    if after <= 0:
        return "text"
    return (
        f"it.tail{CODEBOOKS - 1}" if after == 1 else "it.code0" if after - 2 <= SIZE else f"it.tail{after - 1 - SIZE}"
    )


def test_losses_are_those_of_a_loop_over_positions(model):
    grammar = model.extension.grammar
    expected: dict[str, list[float]] = {}
    at_positions = []
    with torch.no_grad():
        for number, item in enumerate(ITEMS):
            span = model.ids_of("it", item)
            none = [[-1] * (CODEBOOKS - 1)]
            ids, parallel = [1, 3 + number, *span.ids, 2], none * 2 + span.parallel + none
            hidden = hidden_of(model, ids, parallel)
            for at in range(1, len(ids) - 1):
                main, beside = slow_heads(model, hidden[at])
                main = main.masked_fill(~grammar.allowed[grammar.state_of[ids[at]]], -torch.inf)
                loss = float(F.cross_entropy(main, torch.tensor(ids[at + 1])))
                group = slow_group(grammar, ids[at + 1])
                expected.setdefault(group, []).append(loss)
                total = loss
                for codebook, logits in enumerate(beside, 1):
                    if (code := parallel[at + 1][codebook - 1]) >= 0:
                        each = float(F.cross_entropy(logits, torch.tensor(code)))
                        expected.setdefault(f"it.code{codebook}", []).append(each)
                        total += each
                at_positions.append(total)
        batch = batch_of(model, ITEMS)
        out = model(**batch)
    assert torch.allclose(out.target_losses, torch.tensor(at_positions), atol=1e-5)
    for group, (losses, _) in out.target_groups.items():
        assert torch.allclose(losses.sort().values, torch.tensor(expected.get(group, [])).sort().values, atol=1e-5), (
            group
        )
    weights = {"text": 1.0, "it.code0": 1 / 3, "it.code1": 1 / 3, "it.code2": 1 / 3}
    mean = sum(weight * sum(expected[name]) / len(expected[name]) for name, weight in weights.items())
    assert float(out.loss) == pytest.approx(mean, rel=1e-5)
    assert not out.target_groups["it.tail2"][0].any()  # nothing else could stand there


def gradients(model, batches, counts):
    model.zero_grad()
    total = 0.0
    for batch in batches:
        loss = model(**batch, num_items_in_batch=counts).loss
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_a_step_is_the_same_however_it_is_cut_into_batches_and_packed(model):
    model.train()
    counts = torch.tensor([len(rows) for rows in batch_of(model, ITEMS)["targets"].values()])
    loss, expected = gradients(model, [batch_of(model, ITEMS)], counts)
    assert expected["decoders.it.rows.head"][2 + SIZE + CODEBOOKS - 1 :].abs().sum(1).min() > 0
    alone = [batch_of(model, ITEMS[n : n + 1], first=n) for n in range(len(ITEMS))]
    ways = {"packed": [batch_of(model, ITEMS, packs=[2, 3])], "alone": alone}
    for batches in ways.values():
        again, got = gradients(model, batches, counts)
        assert again == pytest.approx(loss, rel=1e-5)
        for name, each in expected.items():
            assert torch.allclose(got[name], each, atol=1e-5), name


def test_what_truncation_takes_has_no_side_ids(model):
    batch = batch_of(model, ITEMS[:1], max_length=6)
    whole = batch_of(model, ITEMS[:1])["plan"]
    assert torch.equal(batch["plan"].parallel_ids, whole.parallel_ids[:, :6])
    with torch.no_grad():
        cut, full = (model(**each).target_losses for each in (batch, batch_of(model, ITEMS[:1])))
    assert torch.allclose(cut, full[:4], atol=1e-5)


def slow_answer(model, ids, parallel, count):
    """Greedy, everything run anew for each position."""
    grammar, start = model.extension.grammar, len(ids)
    for _ in range(count):
        main, beside = slow_heads(model, hidden_of(model, ids, parallel)[-1])
        main = main.masked_fill(~grammar.allowed[grammar.state_of[ids[-1]]], -torch.inf)
        if grammar.begin["it"] not in ids[start:]:
            main[:11] = -torch.inf
        begun = len(ids) - 1 - ids[::-1].index(grammar.begin["it"]) if grammar.begin["it"] in ids else None
        ids = [*ids, int(main.argmax())]
        name = ids[-1] - grammar.first - 2  # below SIZE: code0; from there on: the tails
        row = []
        for codebook in range(1, CODEBOOKS):
            number = None if begun is None else len(ids) - 2 - begun
            stands = number is not None and name >= 0 and number >= codebook and (name < SIZE or name - SIZE < codebook)
            row.append(int(beside[codebook - 1].argmax()) if stands else -1)
        parallel = [*parallel, row]
    return ids, parallel


@pytest.mark.parametrize("history", [False, True])
def test_what_is_generated_with_a_cache_is_what_a_loop_without_one_gives(history, model):
    grammar, none = model.extension.grammar, [[-1] * (CODEBOOKS - 1)]
    ids, parallel = [1, 4], none * 2
    if history:
        span = model.ids_of("it", ITEMS[2])
        ids, parallel = [1, 3, *span.ids, 2, 1, 4], none * 2 + span.parallel + none * 3
    for tail in (-1.0, 0.3, 1.0):  # from one that never ends to one that ends soon
        with torch.no_grad():
            model.decoders["it"].rows.head[2 + SIZE] += tail * model.decoders["it"].rows.head[2:4].mean(0)
            expected_ids, expected_parallel = slow_answer(model, ids, parallel, 20)
        chosen: list[torch.Tensor] = []
        inputs, layout = plan([[TextSpan(ids, None, parallel)]], padding_side="left")
        how = {
            "do_sample": False,
            "max_new_tokens": 20,
            "eos_token_id": list(range(11)),
            "pad_token_id": 0,
            "force": ["it"],
        }
        made = model.generate(input_ids=inputs["input_ids"], plan=layout, parallel=chosen, **how)
        new = made[:, len(ids) :]
        stop = next((n for n, each in enumerate(new[0].tolist()) if each < 11), new.shape[1])
        assert stop > 3
        assert new[0, :stop].tolist() == expected_ids[len(ids) :][:stop]
        assert grammar.written(new, chosen)[0, :stop].tolist() == expected_parallel[len(ids) :][:stop]


def test_sampling_is_of_the_sides_too_and_repeats_with_its_seed(model):
    how = {"do_sample": True, "max_new_tokens": 12, "eos_token_id": list(range(11)), "pad_token_id": 0, "force": ["it"]}
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        chosen: list[torch.Tensor] = []
        model.generate(torch.tensor([[1, 3]]), parallel=chosen, **how)
        found.append(torch.cat(chosen))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0][:6], found[2][:6])
    torch.manual_seed(3)
    cold: list[torch.Tensor] = []
    model.generate(torch.tensor([[1, 3]]), parallel=cold, **{**how, "temperature": 1e-4})
    greedy: list[torch.Tensor] = []
    model.generate(torch.tensor([[1, 3]]), parallel=greedy, **{**how, "do_sample": False})
    assert torch.equal(torch.cat(cold), torch.cat(greedy))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"num_beams": 2}, "num_beams cannot be used where an answer may have several ids at a position; .* forbid it"),
        ({"prompt_lookup_num_tokens": 2}, "assisted generation cannot be used"),
        ({"use_cache": False}, "use_cache=False cannot be used"),
    ],
)
def test_what_cannot_be_generated_with_sides_is_refused(how, message, model):
    with pytest.raises(KitError, match=message):
        model.generate(torch.tensor([[1, 3]]), max_new_tokens=3, do_sample=False, **how)
    model.generate(torch.tensor([[1, 3]]), max_new_tokens=3, do_sample=False, pad_token_id=0, forbid=["it"], **how)
