"""The decoder `vits`: transformers' `VitsModel` and its tokenizer.

VITS: Kim et al., 2021, arXiv:2106.06103. MMS-TTS: Pratap et al., 2023, arXiv:2305.13516.

Legend: t ids of characters or phonemes, blanks among them; n samples.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from transformers import AutoConfig, VitsConfig, VitsModel, VitsTokenizer
from transformers.utils import is_phonemizer_available, is_uroman_available
from typing_extensions import TypedDict

from tinyllava_kit import KitError
from tinyllava_kit.components import Waveform, check_voice_options, join_sentences
from tinyllava_kit.files import Size, checked
from tinyllava_kit.interfaces import TextDecoder
from tinyllava_kit.pretrained import (
    check_loaded,
    check_model_type,
    load_state,
    network,
    read_pretrained,
    without_reports,
)

MODEL_TYPES = ("vits",)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_TOKENIZER_KEYS = ("language", "add_blank", "normalize", "phonemize", "is_uroman")


class VitsTokenizerConfig(TypedDict):
    """Of a voice's tokenizer, as a file holds it."""

    language: str | None
    add_blank: bool
    normalize: bool
    phonemize: bool
    is_uroman: bool
    vocabulary: dict[str, Size]
    unk_token: str


class VitsDecoderConfig(TypedDict):
    """Of a `VitsDecoder`, as a file holds it."""

    model: dict[str, Any]
    tokenizer: VitsTokenizerConfig
    speed: Annotated[float, Field(gt=0, le=100)]
    varied: bool
    speaker: Size


class VitsDecoder(TextDecoder):
    """Reads text aloud, a sentence at a time: sentences in a batch would sound different from each alone.

    `config` holds ``model`` (the checkpoint's VitsConfig), ``tokenizer`` (its vocabulary and settings) and the options.
    The posterior encoder, which VITS wants for training alone, is neither built nor loaded.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        checked(VitsDecoderConfig, config, "decoder's config")
        self.voice = _without_posterior(VitsModel(network(VitsConfig, config["model"], "decoder's config.model")))
        if not config["varied"]:
            self.voice.noise_scale = self.voice.noise_scale_duration = 0.0
        self.voice.speaking_rate *= config["speed"]
        self.tokenizer = _build_tokenizer(config["tokenizer"])

    @classmethod
    def read_config(
        cls, checkpoint: str, *, speed: float = 1.0, varied: bool = False, speaker: int = 0
    ) -> dict[str, Any]:
        """See `Decoder.read_config`.

        Args:
            checkpoint: hub name or directory, with its tokenizer.
            speed: beside the voice's own, 1.0.
            varied: with the voice's noise, drawn from torch's generator; without, a text is always the same sound.
            speaker: of a voice that has several, from 0.

        Raises:
            KitError: not found, of another kind, or its tokenizer needs a package that is not installed.
        """
        found = read_pretrained(AutoConfig, checkpoint)
        check_model_type(found.model_type, MODEL_TYPES, checkpoint)
        check_voice_options(checkpoint, speed=speed, speaker=speaker, num_speakers=found.num_speakers)
        tokenizer = read_pretrained(VitsTokenizer, checkpoint)
        settings = {key: getattr(tokenizer, key) for key in _TOKENIZER_KEYS}
        for needs, package, is_there in (
            ("phonemize", "phonemizer", is_phonemizer_available()),
            ("is_uroman", "uroman", is_uroman_available()),
        ):
            if settings[needs] and not is_there:
                raise KitError(f"the tokenizer of {checkpoint!r} needs {package}; pip install {package}")
        return {
            "model": json.loads(found.to_json_string(use_diff=False)),
            "tokenizer": {**settings, "vocabulary": tokenizer.get_vocab(), "unk_token": str(tokenizer.unk_token)},
            "speed": speed,
            "varied": varied,
            "speaker": speaker,
        }

    def load_weights(self, checkpoint: str) -> None:
        """Load the weights of a VITS voice, float32, without the posterior encoder, which only training uses.

        Raises:
            KitError: keys are missing or of other shapes.
        """
        with without_reports():  # what is missing is checked below
            voice, info = read_pretrained(
                VitsModel, checkpoint, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
            )
        mismatched = [key for key, *_ in info["mismatched_keys"]]
        check_loaded(checkpoint, missing=info["missing_keys"], mismatched=mismatched)
        load_state(self.voice, _without_posterior(voice).state_dict(), checkpoint)

    @torch.no_grad()
    def decode(self, text: str) -> Waveform:
        """The text as speech, in the voice's own rate. Characters that the voice does not have are left out.

        Raises:
            KitError: none of the text is left.
        """
        rate_hz = self.voice.config.sampling_rate
        speaker = self.config["speaker"] if self.voice.config.num_speakers > 1 else None
        said: list[np.ndarray] = []
        for sentence in _SENTENCE_END.split(text):
            prepared, _ = self.tokenizer.prepare_for_tokenization(sentence)
            if any(map(str.isalnum, prepared)):
                ids = torch.tensor([self.tokenizer(sentence).input_ids], device=self.voice.device)  # (1, t)
                samples = self.voice(ids, speaker_id=speaker).waveform[0]  # (n,)
                said.append(samples.clamp(-1.0, 1.0).cpu().numpy())
        if not said:
            raise KitError(f"nothing to say in {text!r}; expected at least one word in the characters of the voice")
        return join_sentences(said, rate_hz)


def _without_posterior(voice: VitsModel) -> VitsModel:
    voice.posterior_encoder = nn.Identity()
    return voice


def _build_tokenizer(settings: Mapping[str, Any]) -> VitsTokenizer:
    """The tokenizer, which reads its vocabulary from a file when it is made, and never again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(settings["vocabulary"]), encoding="utf-8")
        return VitsTokenizer(
            str(file), unk_token=settings["unk_token"], **{key: settings[key] for key in _TOKENIZER_KEYS}
        )
