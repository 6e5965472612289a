"""Putting the features of sounds among the text, against transformers' Qwen2-Audio on the same batch.

`Qwen2AudioModel.forward` is run as it is, from ids and features to what its LLM is given; tower, projector and LLM are
stubs that hand on what they get, and the tower's attention mask is left out. It has two ways: ids with a placeholder
for each feature, as its processor writes them now (`masked_scatter`), and one for each sound, which the forward
spreads. Ours is the embedding lookup of the text, the rows of the ragged features, and `fuse`; the plan, like their
expanded ids, comes with the batch.

Legend: B samples, one sound each; T positions, P features of the longest sound, D width, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2AudioConfig
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.qwen2_audio import modeling_qwen2_audio as qwen2_audio

from tinyllava_kit.core.fusion import fuse, gather_features
from tinyllava_kit.core.plan import Plan, plan
from tinyllava_kit.core.spans import ItemSpan, TextSpan
from tinyllava_kit.model.memory import trim_memory

from .clock import Work, one_thread, ratios
from .figure import Figure

IN_QWEN2_AUDIO = 1.0

MODALITY = "sound"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Way = Callable[[], Tensor]  # -> (B, T, D)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sounds of 5 to 30 s at Qwen2-Audio's 25 features a second, a question and an answer, in a small LLM."""

    width: int = 2048
    vocab: int = 32000
    features: Sequence[int] = (750, 125, 500, 313, 251, 625, 175, 440)
    text: int = 80  # of each: it takes shorter texts, padded, for some of the sound


def figures(sizes: Sizes | None = None, *, seconds: float = 0.0, rounds: int = 9) -> Iterator[Figure]:
    """Our time in theirs, forward and with the gradient of the features, the embedding frozen.

    For the same batch, that is their tokens per second in ours.
    """
    with one_thread():
        for name, dtype in DTYPES.items():
            trim_memory()
            batch = Batch.of(sizes or Sizes(), dtype)
            for part in ("forward", "backward"):
                run = getattr(batch, part)
                works: dict[str, Work] = {"in": run(batch.ours)}
                found = ratios(run(batch.expanded), works, seconds=seconds, rounds=rounds)
                yield Figure(name=f"audio_fuse_{name}_{part}_in_qwen2_audio", value=found["in"], goal=IN_QWEN2_AUDIO)
                found = ratios(run(batch.spread), works, seconds=seconds, rounds=rounds)
                yield Figure(name=f"audio_fuse_{name}_{part}_in_its_legacy", value=found["in"])


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The tensors of a case, and the ways to put them together.

    input_ids, mask: (B, T).
    table: (V, D), the embedding, frozen. features: (B, P, D), with a gradient. lengths: (B,). grad: (B, T, D), that of
    the output. short_ids: (B, t), with one placeholder for a sound. theirs: their model around stubs.
    """

    plan: Plan
    input_ids: Tensor
    mask: Tensor
    table: Tensor
    features: Tensor
    lengths: Tensor
    grad: Tensor
    short_ids: Tensor
    theirs: qwen2_audio.Qwen2AudioModel = field(repr=False)

    @classmethod
    def of(cls, sizes: Sizes, dtype: torch.dtype) -> Batch:
        chance, sound = random.Random(0), sizes.vocab - 1
        texts = [[chance.randrange(1, sound) for _ in range(sizes.text)] for _ in sizes.features]
        half = sizes.text // 2
        samples = [
            [TextSpan(text[:half]), ItemSpan(MODALITY, count), TextSpan(text[half:])]
            for text, count in zip(texts, sizes.features, strict=True)
        ]
        inputs, layout = plan(samples)
        mask = inputs["attention_mask"]
        make = partial(torch.rand, generator=torch.Generator().manual_seed(0))
        table = make(sizes.vocab, sizes.width).to(dtype)
        features = make(len(samples), max(sizes.features), sizes.width).to(dtype).requires_grad_()
        return cls(
            plan=layout,
            input_ids=inputs["input_ids"],
            mask=mask,
            table=table,
            features=features,
            lengths=torch.tensor(sizes.features),
            grad=make(*layout.shape, sizes.width).to(dtype) * mask[..., None].to(dtype),
            short_ids=torch.tensor([[*text[:half], sound, *text[half:]] for text in texts]),
            theirs=_around_stubs(table, features, sound),
        )

    def ours(self) -> Tensor:
        ids = self.input_ids.flatten().index_select(0, self.plan.text_positions)
        rows = gather_features(self.plan, MODALITY, self.features)  # (R, D)
        return fuse(self.plan, F.embedding(ids, self.table), {MODALITY: rows})  # (B, T, D)

    def expanded(self) -> Tensor:
        places = self.plan.item_positions[MODALITY]
        ids = self.input_ids.flatten().index_fill(0, places, self.theirs.config.audio_token_id)
        return self._run(ids.view_as(self.input_ids), self.mask)  # (B, T, D)

    def spread(self) -> Tensor:
        return self._run(self.short_ids, torch.ones_like(self.short_ids))  # (B, T, D)

    def forward(self, way: Way) -> Work:
        return torch.no_grad()(way)

    def backward(self, way: Way) -> Work:
        return lambda: torch.autograd.grad(way(), self.features, self.grad)

    def _run(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Four mel frames become a feature."""
        frames = torch.arange(4 * self.features.shape[1])
        mels = torch.zeros(()).expand(len(ids), 1, len(frames))
        with (
            mock.patch.object(qwen2_audio, "create_bidirectional_mask", return_value=None),
            mock.patch.object(qwen2_audio, "logger"),  # it says that the second way is the old one
        ):
            out = self.theirs(ids, mels, mask, (frames < 4 * self.lengths[:, None]).long())
        return out.last_hidden_state


class _Stub(nn.Module):
    """In the place of the tower, the projector and the LLM."""

    def __init__(self, forward: Callable[..., Any], **attributes: Any) -> None:
        super().__init__()
        self.forward = forward
        for name, value in attributes.items():
            setattr(self, name, value)


def _around_stubs(table: Tensor, features: Tensor, sound: int) -> qwen2_audio.Qwen2AudioModel:
    """Their model with nothing of its own left but the way between the parts."""
    tiny = {"d_model": 2, "encoder_layers": 0, "encoder_attention_heads": 1, "encoder_ffn_dim": 2, "num_mel_bins": 1}
    text = {"model_type": "qwen2", "hidden_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 2}
    text |= {"num_key_value_heads": 1, "intermediate_size": 2, "pad_token_id": 0}
    model = qwen2_audio.Qwen2AudioModel(Qwen2AudioConfig(audio_config=tiny, text_config=text, audio_token_id=sound))
    model.padding_side = "right"
    lengths = model.audio_tower._get_feat_extract_output_lengths
    encoded = SimpleNamespace(last_hidden_state=features)
    model.audio_tower = _Stub(
        lambda *_, **__: encoded, device=table.device, config=None, _get_feat_extract_output_lengths=lengths
    )
    model.multi_modal_projector = _Stub(lambda hidden: hidden)
    embedding = nn.Embedding.from_pretrained(table)
    model.language_model = _Stub(_given, get_input_embeddings=lambda: embedding)
    return model


def _given(inputs_embeds: Tensor, **_: Any) -> Any:
    return BaseModelOutputWithPast(last_hidden_state=inputs_embeds)
