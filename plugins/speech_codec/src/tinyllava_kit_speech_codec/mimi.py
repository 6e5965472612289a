"""The decoder `mimi`: transformers' Mimi, several ids a frame.

Mimi: Défossez et al., 2024, "Moshi", arXiv:2410.00037.

Legend: n samples, K codebooks, F frames, L latents (two a frame, as Mimi comes), D their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, MimiModel

from tinyllava_kit import KitError
from tinyllava_kit.components import AudioModality, Waveform
from tinyllava_kit.interfaces import CACHE, IdStream

from .frames import FrameCodec

BLOCK = 4  # frames that are decoded at a time


class MimiCodec(FrameCodec):
    """The first codebooks of Mimi: fewer of them are a coarser sound, not another one.

    Sounds are encoded one by one: in a padded batch, transformers' Mimi gives the last frame other codes.
    """

    model_class = MimiModel

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.rate_hz, self.hop = self.codec.config.sampling_rate, self.codec.config.frame_size
        self.codebooks, self.codebook_size = self.codec.config.num_quantizers, self.codec.config.codebook_size

    @classmethod
    def read_config(cls, checkpoint: str, *, codebooks: int = 8, pattern: str = "flat") -> dict[str, Any]:
        """See `Decoder.read_config`.

        Args:
            checkpoint: hub name or directory.
            codebooks: ids of a frame, from the first.
            pattern: how they lie in positions of the LLM: a name of `interfaces.CODEBOOK_PATTERNS`.

        Raises:
            KitError: not found, of another kind, without so many codebooks, or one that hears what comes later.
        """
        model = cls.read_model(checkpoint)
        fewest = model.num_semantic_quantizers + 1
        if not fewest <= codebooks <= model.num_quantizers:
            raise KitError(
                f"{checkpoint!r} has {model.num_quantizers} codebooks; codebooks must be {fewest} or more, "
                f"got {codebooks}"
            )
        if not model.use_causal_conv or model.trim_right_ratio != 1.0:
            raise KitError(f"{checkpoint!r} is a Mimi that is not causal, and cannot be decoded piece by piece")
        return {"model": {**cls.as_json(model), "num_quantizers": codebooks}, "pattern": pattern}

    def codes(self, samples: Tensor) -> Tensor:
        return self.codec.encode(samples[None, None]).audio_codes[0]  # (K, F)

    def decode(self, ids: Tensor) -> Waveform:
        stream = self.stream()
        pieces = [stream.push(ids), stream.finish()]
        return AudioModality().join([piece for piece in pieces if piece is not None])

    def stream(self) -> IdStream:
        return _Blocks(self)


class _Blocks(IdStream):
    """Decodes blocks of frames, each from what the ones before have left.

    Mimi's decoder is causal. Its transformer has a cache of keys and values; the convolutions before and behind it have
    none in transformers, so each is given as many steps before the block as it reaches back, and what these make is
    left out. WholeNumber blocks at the same places make the same samples, however ids come, to the last bit.
    """

    def __init__(self, decoder: MimiCodec) -> None:
        self.decoder = decoder
        model = decoder.codec.decoder
        self.upsample, self.transformer, self.seanet = model.upsample, model.decoder_transformer, model.decoder_seanet
        self.per_frame = self.upsample.conv.stride[0]  # L of a frame
        self.cache = DynamicCache(config=model.config)
        self.frames = _Tail(reach(self.upsample))
        self.latents = _Tail(reach(self.seanet))
        self.ids = _Tail(decoder.pattern.reach)
        self.waiting = torch.empty(decoder.codebooks, 0, dtype=torch.int64)  # (K, F)

    def push(self, ids: Tensor) -> Waveform | None:
        ids = self.ids.before(ids.cpu().movedim(0, -1)).movedim(-1, 0)
        self.waiting = torch.cat([self.waiting, self.decoder.pattern.to_codes(ids)], 1)  # (K, F)
        whole = self.waiting.shape[1] // BLOCK * BLOCK
        blocks, self.waiting = self.waiting[:, :whole].split(BLOCK, 1), self.waiting[:, whole:]
        return self._heard([self._block(block) for block in blocks if block.shape[1]])

    def finish(self) -> Waveform | None:
        rest, self.waiting = self.waiting, self.waiting[:, :0]
        return self._heard([self._block(rest)] if rest.shape[1] else [])

    def _heard(self, samples: list[Tensor]) -> Waveform | None:
        if not samples:
            return None
        return Waveform(torch.cat(samples).clamp(-1.0, 1.0).cpu().numpy(), self.decoder.rate_hz, "speech")

    @torch.no_grad()
    def _block(self, codes: Tensor) -> Tensor:
        """(K, F) -> (n,)."""
        codes = codes[None].to(self.decoder.codec.device)  # (1, K, F)
        num_latents = codes.shape[-1] * self.per_frame
        frames = self.frames.before(self.decoder.codec.quantizer.decode(codes))  # (1, D, before + F)
        latents = self.upsample(frames)[..., -num_latents:]  # (1, D, L)
        hidden = self.transformer(latents.transpose(1, 2), use_cache=True, **{CACHE: self.cache})
        latents = self.latents.before(hidden.last_hidden_state.transpose(1, 2))  # (1, D, before + L)
        return self.seanet(latents)[0, 0, -codes.shape[-1] * self.decoder.hop :]


class _Tail:
    """The last steps of what has come, in front of what comes."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.kept: Tensor | None = None

    def before(self, new: Tensor) -> Tensor:
        """(..., T) -> (..., before + T), with up to `length` steps from before."""
        together = new if self.kept is None else torch.cat([self.kept, new], -1)
        self.kept = together[..., max(0, together.shape[-1] - self.length) :]
        return together


def reach(module: nn.Module) -> int:
    """How many steps before its first new one a causal stack of convolutions needs."""
    steps = 0
    for layer in reversed(list(module.modules())):
        if isinstance(layer, nn.ConvTranspose1d):
            steps = (steps + layer.kernel_size[0] - 1) // layer.stride[0]
        elif isinstance(layer, nn.Conv1d):
            steps += (layer.kernel_size[0] - 1) * layer.dilation[0]
    return steps
