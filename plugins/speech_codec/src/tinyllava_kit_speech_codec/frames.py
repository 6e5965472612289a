"""What codecs with frames have in common: a frame is a step of several ids, one of each codebook.

Legend: n samples, K codebooks, F frames.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from tinyllava_kit.components import Waveform, num_resampled, resample
from tinyllava_kit.files import checked
from tinyllava_kit.interfaces import CODEBOOK_PATTERNS, CodebookDecoder, CodebookPattern
from tinyllava_kit.pretrained import (
    check_loaded,
    check_model_type,
    load_state,
    network,
    read_pretrained,
    without_reports,
)


class FrameCodec(CodebookDecoder):
    """A codec of transformers, whole: `codec`. `config` holds ``model``, its configuration, and perhaps a ``pattern``.

    The last frame of a sound is filled with silence, so that nothing of it is lost.
    """

    model_class: ClassVar[type[PreTrainedModel]]
    codec: PreTrainedModel

    rate_hz: int  # of the sound that is encoded
    hop: int  # samples of a frame, at that rate
    codebooks: int
    codebook_size: int

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        settings = network(self.model_class.config_class, config.get("model"), "decoder's config.model")
        checked(Literal[tuple(CODEBOOK_PATTERNS)], config.get("pattern", "flat"), "decoder's config.pattern")
        self.codec = self.model_class(settings)

    @classmethod
    def read_model(cls, checkpoint: str) -> PreTrainedConfig:
        """Read the codec's configuration from its checkpoint.

        Raises:
            KitError: not found, or of another kind.
        """
        found = read_pretrained(AutoConfig, checkpoint)
        check_model_type(found.model_type, (cls.model_class.config_class.model_type,), checkpoint)
        return found

    @staticmethod
    def as_json(model: PreTrainedConfig) -> dict[str, Any]:
        """A configuration of transformers as plain JSON."""
        return json.loads(model.to_json_string(use_diff=False))

    def load_weights(self, checkpoint: str) -> None:
        """The codec's weights; codebooks that are not used stay behind.

        Raises:
            KitError: keys are missing or of other shapes.
        """
        with without_reports():  # what is missing is checked below
            codec, info = read_pretrained(
                self.model_class,
                checkpoint,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        mismatched = [key for key, *_ in info["mismatched_keys"]]
        check_loaded(checkpoint, missing=info["missing_keys"], mismatched=mismatched)
        load_state(self.codec, codec.state_dict(), checkpoint, surplus_ok=True)

    def init_non_persistent_buffers(self) -> None:
        """Windows, filters, codebooks that are computed: transformers makes them in the model's dtype, here in
        float32."""
        for owner in self.codec.modules():
            if not isinstance(owner, PreTrainedModel):
                continue
            for module in owner.modules():
                for name in module._non_persistent_buffers_set:
                    buffer = module._buffers[name]
                    module._buffers[name] = buffer.float() if buffer.is_floating_point() else buffer
                if module._non_persistent_buffers_set:
                    owner._init_weights(module)

    @property
    def pattern(self) -> CodebookPattern:
        return CODEBOOK_PATTERNS[self.config.get("pattern", "flat")](self.codebooks, self.codebook_size)

    def num_frames(self, item: Waveform) -> int:
        """F of a sound."""
        return -(-num_resampled(item, self.rate_hz) // self.hop)

    def num_ids(self, item: Waveform) -> int:
        return self.pattern.num_ids(self.num_frames(item))

    @torch.no_grad()
    def encode(self, item: Waveform) -> Tensor:
        samples = torch.from_numpy(resample(item, self.rate_hz).copy())  # (n,)
        codes = self.codes(samples.to(self.codec.device)).cpu()[:, : self.num_frames(item)]  # (K, F)
        return self.pattern.to_ids(codes)

    @abstractmethod
    def codes(self, samples: Tensor) -> Tensor:
        """(n,) float32 at `rate_hz` -> (K, F) int64; of more frames, the first F are used."""
