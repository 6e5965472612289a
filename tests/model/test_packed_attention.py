"""Packed samples: the same losses, gradients and logits as alone, in every way that attention is computed."""

from __future__ import annotations

import pytest
import torch

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.errors import FusionError
from tinyllava_kit.model import packed_attention
from tinyllava_kit.model.modeling import TinyLlavaForConditionalGeneration
from tinyllava_kit.testing import check_packing


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packing")
    names = toys.save_pictures(folder)
    model, processor = toys.picture_model(folder / "llm")
    pictures = [{"type": "image", "image": str(folder / name)} for name in names]
    asked = [
        [pictures[0], "what?"],
        ["no picture at all"],
        ["first", pictures[1], "then", pictures[2], "which?"],
        [pictures[3]],
    ]
    conversations = [
        [{"role": "user", "content": content}, {"role": "assistant", "content": f"answer {number}"}]
        for number, content in enumerate(asked)
    ]
    return model, processor, conversations


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_samples_learn_in_a_pack_what_they_learn_alone(made, attention):
    model, processor, conversations = made
    model.set_attn_implementation(attention)
    try:
        check_packing(model, processor, conversations)
    finally:
        model.set_attn_implementation("sdpa")


def test_the_check_sees_samples_that_attend_to_each_other(made, monkeypatch):
    model, processor, conversations = made
    keep = TinyLlavaForConditionalGeneration._hidden

    def one_long_sample(self, embeds, plan, inputs):
        if plan.is_packed:  # what a forgotten restart of the positions does
            inputs = {**inputs, "position_ids": torch.arange(embeds.shape[1]).expand(embeds.shape[:2])}
        return keep(self, embeds, plan, inputs)

    monkeypatch.setattr(TinyLlavaForConditionalGeneration, "_hidden", one_long_sample)
    model.set_attn_implementation("eager")  # sdpa is told where samples begin
    try:
        with pytest.raises(AssertionError, match="the losses in packs of"):
            check_packing(model, processor, conversations)
    finally:
        model.set_attn_implementation("sdpa")


@pytest.fixture(scope="module")
def encoded(made):
    _, processor, conversations = made
    return [processor.encode(processor.conversation(each)) for each in conversations]


def test_packs_in_one_row_give_the_logits_of_packs_in_several(made, encoded, monkeypatch):
    model, processor, _ = made
    batch = processor.collate(encoded, labels=True, packs=[2, 2])
    model.eval()
    monkeypatch.setattr(model.language_model.config, "_attn_implementation", "eager")
    with torch.no_grad():
        expected = model(**batch).logits
        monkeypatch.setattr(packed_attention, "needs_one_row", lambda _: True)
        got = model(**batch).logits
    real = batch["plan"].attention_mask.bool()
    assert got.shape == expected.shape
    assert torch.allclose(got[real], expected[real], atol=1e-5)


def test_each_sample_is_multiplied_with_itself_alone(made, encoded, monkeypatch):
    model, processor, _ = made
    batch = processor.collate(encoded, labels=True, packs=[3, 1])
    seen = []

    def attention(module, query, key, value, mask, **kwargs):
        if type(module).__name__ == "LlamaAttention":
            seen.append((query.shape[2], key.shape[2], mask))
        return keep(module, query, key, value, mask, **kwargs)

    keep = packed_attention.sdpa_attention_forward
    monkeypatch.setattr(packed_attention, "sdpa_attention_forward", attention)
    with torch.no_grad():
        model.eval()(**batch)
    lengths = [sample.num_tokens for sample in batch["plan"].samples]
    assert seen == [(length, length, None) for length in lengths] * 2  # layers


def test_a_window_of_attention_is_left_to_the_mask(made):
    query = torch.randn(1, 2, 6, 4)
    mask = torch.ones(6, 6).tril().bool()[None, None]
    expected = packed_attention.sdpa_attention_forward(torch.nn.Module(), query, query, query, mask)[0]
    how = {"sliding_window": 3, "pack_borders": [[(0, 2), (2, 6)]]}
    assert torch.equal(packed_attention.sdpa_in_packs(torch.nn.Module(), query, query, query, mask, **how)[0], expected)


@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning")
@pytest.mark.slow
def test_flex_attention_finds_the_packs_too(made, encoded):
    model, processor, _ = made
    model.eval()
    with torch.no_grad():
        alone = [model(**processor.collate([each], labels=True)).logits[0] for each in encoded]
        model.set_attn_implementation({"text_config": "flex_attention"})
        try:
            batch = processor.collate(encoded, labels=True, packs=[len(encoded)])
            packed = model(**batch).logits[0]
        finally:
            model.set_attn_implementation("sdpa")
    for place, expected in zip(batch["plan"].samples, alone, strict=True):
        got = packed[place.start : place.start + place.num_tokens]
        assert torch.allclose(got, expected, atol=1e-4)


def test_a_mask_beside_packs_is_refused(made, encoded):
    model, processor, _ = made
    batch = processor.collate(encoded, labels=True, packs=[4])
    assert "attention_mask" not in batch
    with pytest.raises(FusionError, match="a packed batch takes no attention_mask"):
        model(**batch, attention_mask=batch["plan"].attention_mask)


def test_packs_cannot_be_answered(made, encoded):
    model, processor, _ = made
    with pytest.raises(KitError, match="generate needs one sample a row"):
        model.generate(**processor.collate(encoded, packs=[4], padding_side="right"))
