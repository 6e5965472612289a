"""What logits processors see of a prompt, and the caches that there are not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import ItemSpan, TextSpan
from tinyllava_kit.errors import FusionError, KitError
from tinyllava_kit.model import prompt
from tinyllava_kit.model.prompt import TextOnly, apart, check_cache, check_cache_kind, prompt_text, text_by_mask

V = 11


def layout(side="left"):
    """Ids with a picture, and fewer of text alone."""
    samples = [[TextSpan([5, 6]), ItemSpan("image", 2), TextSpan([7])], [TextSpan([8, 9])]]
    inputs, found = plan(samples, padding_side=side, pad_id=9)
    return inputs["input_ids"], found


def test_what_is_no_text_has_no_id():
    ids, found = layout()
    (text,) = prompt_text(ids, found)
    assert text.ids.tolist() == [[5, 6, -1, -1, 7], [-1, -1, -1, 8, 9]]
    scores = torch.randn(2, V)
    assert text(ids, scores) is scores


def test_a_prompt_that_is_text_needs_nothing():
    inputs, found = plan([[TextSpan([5, 6])]])
    assert prompt_text(inputs["input_ids"], found) == []
    assert prompt_text(inputs["input_ids"], None) == prompt_text(None, found) == []
    assert prompt_text(torch.zeros(1, 0, dtype=torch.int64), plan([[]])[1]) == []


def test_the_mask_of_plain_ids_says_what_is_text():
    ids = torch.tensor([[3, 4], [5, 6]])
    assert text_by_mask(ids, torch.tensor([[0, 1], [1, 1]])).tolist() == [[-1, 4], [5, 6]]
    beams = torch.tensor([[0, 1], [0, 1], [1, 1], [1, 1]])  # two rows of each sample
    assert text_by_mask(ids, beams).tolist() == [[-1, 4], [5, 6]]
    longer = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]])  # a cache holds what is in front
    assert text_by_mask(ids, longer).tolist() == [[-1, 4], [5, 6]]
    for given, mask in (
        (ids, torch.ones(2, 2)),
        (None, torch.zeros(2, 2)),
        (ids, None),
        (ids, torch.zeros(2, 1, 2, 2)),
    ):
        assert text_by_mask(given, mask) is None
    assert text_by_mask(torch.randn(2, 2), torch.zeros(2, 2)) is None


def test_ids_apart_are_behind_all_and_no_two_of_a_row_are_equal():
    text = torch.tensor([[5, -1, -1, 7], [-1, 8, 9, 10]])
    assert apart(text, V).tolist() == [[5, V + 1, V + 2, 7], [V, 8, 9, 10]]


def slow_penalised(scores, ids, penalty):
    out = scores.clone()
    for row, seen in enumerate(ids):
        for each in set(seen):
            out[row, each] = out[row, each] * penalty if out[row, each] < 0 else out[row, each] / penalty
    return out


def test_a_penalty_counts_text_and_what_was_written_for_each_beam():
    ids, found = layout()
    (text,) = prompt_text(ids, found)
    masked = TextOnly(LogitsProcessorList([RepetitionPenaltyLogitsProcessor(3.0)]), text.ids, V)
    scores = torch.randn(4, V)  # two beams of each sample
    so_far = torch.cat([ids.repeat_interleave(2, 0), torch.tensor([[1], [2], [3], [1]])], 1)
    expected = slow_penalised(scores, [[5, 6, 7, 1], [5, 6, 7, 2], [8, 9, 3], [8, 9, 1]], 3.0)
    assert torch.allclose(masked(so_far, scores), expected)


def test_positions_of_an_item_do_not_repeat_one_another():
    text = torch.tensor([[5, -1, -1, -1, -1]])
    masked = TextOnly(LogitsProcessorList([NoRepeatNGramLogitsProcessor(1)]), text, V)
    banned = masked(torch.tensor([[5, 0, 0, 0, 0]]), torch.zeros(1, V)).isinf()[0].nonzero()[:, 0]
    assert banned.tolist() == [5]


def test_others_see_the_first_word_again_where_no_text_stands():
    seen = []

    def stranger(input_ids, scores):
        seen.append(input_ids.tolist())
        return scores + 1

    ids, found = layout()
    (text,) = prompt_text(ids, found)
    masked = TextOnly(LogitsProcessorList([stranger]), text.ids, V)
    assert torch.equal(masked(ids, torch.zeros(2, V)), torch.ones(2, V))
    assert seen == [[[5, 6, 5, 5, 7], [8, 8, 8, 8, 9]]]


def kind(name, backend=None):
    return SimpleNamespace(cache_implementation=name, cache_config=None if backend is None else {"backend": backend})


def test_a_cache_that_a_device_or_a_package_does_not_give_is_refused(monkeypatch):
    there = {"quanto": ("optimum-quanto", lambda: False), "hqq": ("hqq", lambda: True)}
    assert there.keys() == prompt._QUANTIZING.keys()
    monkeypatch.setattr(prompt, "_QUANTIZING", there)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    with pytest.raises(KitError, match="'offloaded_static' cannot be used on a CPU"):
        check_cache_kind(kind("offloaded_static"), cpu)
    with pytest.raises(
        KitError, match="'quantized' needs optimum-quanto, which is not installed: pip install optimum-"
    ):
        check_cache_kind(kind("quantized"), gpu)
    for allowed, device in ((kind(None), cpu), (kind("static"), cpu), (kind("offloaded"), gpu)):
        check_cache_kind(allowed, device)
    check_cache_kind(kind("quantized", "hqq"), cpu)
    check_cache_kind(kind("quantized", "a new one"), cpu)  # transformers says what it is


def test_a_cache_that_holds_all_of_a_prompt_is_refused():
    _, found = layout()
    check_cache(None, found)
    check_cache(SimpleNamespace(get_seq_length=lambda: 4), found)
    for held in (5, 6):
        with pytest.raises(
            FusionError, match=f"{held} positions are held, and the plan lays out 5: at least one must be new"
        ):
            check_cache(SimpleNamespace(get_seq_length=lambda held=held: held), found)
    check_cache(SimpleNamespace(get_seq_length=lambda: 0), plan([[]])[1])
