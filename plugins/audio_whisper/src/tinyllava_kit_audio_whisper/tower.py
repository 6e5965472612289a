"""Whisper's encoder as a tower: transformers' own module, without the decoder.

Legend: N rows (windows of sounds), M mel bands, S mel frames, P features, E tower width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoConfig, AutoFeatureExtractor, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME, cached_file
from typing_extensions import TypedDict

from tinyllava_kit import KitError
from tinyllava_kit.components import parse_layer
from tinyllava_kit.files import Size, arguments, checked
from tinyllava_kit.interfaces import Features, Tower
from tinyllava_kit.pretrained import (
    check_loaded,
    check_model_type,
    load_state,
    looks_local,
    network,
    offline,
    read_pretrained,
    without_reports,
)

from .preprocessor import WhisperPreprocessor

_WHERE = "tower's config"
MODEL_TYPES = ("whisper",)

# What the encoder is built from; the rest of a WhisperConfig is the decoder's, or training's (LayerDrop).
_ENCODER_KEYS = (
    "num_mel_bins",
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "max_source_positions",
    "activation_function",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "init_std",
)
# Whisper models are saved as one with a head, the bare model, or the encoder alone.
_ENCODER_PREFIX = {r"^(model\.)?encoder\.": ""}

# Eight windows of 30 s, in mel frames: what bounds the memory of a long sound.
_FRAMES_AT_ONCE = 24_000


class WhisperTowerConfig(TypedDict):
    """Of a `WhisperTower`, as a file holds it."""

    layer: Literal["last"] | Size
    positions: Annotated[int, Field(ge=1, le=2**16)]
    encoder: dict[str, Any]


class WhisperTower(Tower):
    """Whisper's encoder: windows of log-mels to 50 features a second.

    A window is computed whole, however short the sound in it: 30 s of compute for each started 30 s. Whisper has no
    attention mask, so the silence behind a sound is seen by the sound, as it was in training. Of the features, those
    that lie in the sound are given. With `window_seconds` below 30 the encoder has the first positions only (the
    `audio_ctx` of whisper.cpp): cheaper, but the network was trained on 30 s, and the features differ from those.

    `config` holds ``encoder``, the encoder's part of the checkpoint's WhisperConfig; ``positions``, the features of a
    window; and ``layer``: ``last`` or a number of layers, without the final norm, behind which nothing is built.
    While no parameter of the encoder is trained it stays in eval. Its sinusoidal positions are a buffer, as in
    OpenAI's Whisper: they stay what they are when the tower is trained.
    """

    preprocessor_class = WhisperPreprocessor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        checked(WhisperTowerConfig, config, _WHERE)
        settings = network(
            WhisperConfig, config["encoder"], f"{_WHERE}.encoder", max_source_positions=config["positions"]
        )
        self.encoder = WhisperEncoder._from_config(settings, attn_implementation="sdpa")
        if config["layer"] != "last":
            self.encoder.layer_norm = nn.Identity()  # hidden states stand before the final norm
        positions = self.encoder.embed_positions
        table = positions.weight.detach()
        del positions.weight
        positions.register_buffer("weight", table)

    @property
    def embed_dim(self) -> int:
        return self.encoder.config.d_model

    @classmethod
    def read_config(cls, checkpoint: str, *, layer: str | int = "last", window_seconds: float = 30.0) -> dict[str, Any]:
        """The configuration of a Whisper model's encoder.

        Args:
            checkpoint: hub name or directory.
            layer: ``last``, or an index into transformers' hidden states of the encoder, negative from the end; the
                last of them has the final norm and is ``last``.
            window_seconds: the length that is encoded at a time; the checkpoint's positions are the most.

        Raises:
            KitError: not found, of another kind, without such a layer, or with fewer positions.
        """
        found = read_pretrained(AutoConfig, checkpoint)
        check_model_type(found.model_type, MODEL_TYPES, checkpoint)
        encoder = {key: getattr(found, key) for key in _ENCODER_KEYS}
        layer = parse_layer(layer, found.encoder_layers, checkpoint)
        layer = "last" if layer == found.encoder_layers else layer
        if isinstance(layer, int):
            encoder["encoder_layers"] = layer
        mel = _read_mel(checkpoint, found.num_mel_bins)
        rate = mel["rate_hz"] / (2 * mel["hop"])  # features a second
        positions = _parse_window(window_seconds, rate, found.max_source_positions, checkpoint)
        return {"layer": layer, "positions": positions, "encoder": encoder}

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> WhisperPreprocessor:
        """Rate and spectrum as the checkpoint's feature extractor has them, or Whisper's where it ships none.

        Raises:
            KitError: a feature extractor of another kind, or with another number of mel bands than the encoder.
        """
        mel = _read_mel(checkpoint, config["encoder"]["num_mel_bins"])
        return WhisperPreprocessor(**mel, window_features=config["positions"])

    def load_weights(self, checkpoint: str) -> None:
        """The encoder's weights; the decoder, and layers and positions that are not needed, stay behind.

        Raises:
            KitError: keys are missing or of other shapes.
        """
        with without_reports():  # the decoder is surplus; what is missing is checked below
            encoder, info = read_pretrained(
                WhisperEncoder,
                checkpoint,
                config=network(WhisperConfig, self.config["encoder"], f"{_WHERE}.encoder"),
                dtype=torch.float32,
                key_mapping=_ENCODER_PREFIX,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        mismatched = [key for key, *_ in info["mismatched_keys"]]
        check_loaded(checkpoint, missing=info["missing_keys"], mismatched=mismatched)
        state = encoder.state_dict()
        state["embed_positions.weight"] = state["embed_positions.weight"][: self.config["positions"]]
        load_state(self.encoder, state, checkpoint, surplus_ok=True)

    def rows_at_once(self, inputs: Mapping[str, Tensor]) -> int:
        """Four minutes of sound."""
        return max(1, _FRAMES_AT_ONCE // inputs["input_features"].shape[-1])

    def forward(self, input_features: Tensor, keep: Tensor) -> Features:
        """Windows of log-mels to features.

        Args:
            input_features: (N, M, S) float, whole windows: S is twice the positions.
            keep: (N, P) bool, which of the first P features of each window lie in the sound.

        Returns:
            Features: (N, P, E), zero where not kept, and the lengths (N,).
        """
        mel = input_features.to(self.encoder.conv1.weight.dtype)
        hidden = self.encoder(mel).last_hidden_state[:, : keep.shape[1]]  # (N, P, E)
        return Features(hidden.masked_fill(~keep[..., None], 0.0), keep.sum(1))


def _read_mel(checkpoint: str, num_mels: int) -> dict[str, int]:
    """Rate and spectrum that the encoder was trained with, as arguments of the preprocessor."""
    if not any(_has_file(checkpoint, name) for name in (FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME)):
        return {"rate_hz": 16_000, "num_mels": num_mels, "n_fft": 400, "hop": 160}
    extractor = read_pretrained(AutoFeatureExtractor, checkpoint)
    if not isinstance(extractor, WhisperFeatureExtractor):
        raise KitError(f"{checkpoint!r} has a {type(extractor).__name__}; expected a WhisperFeatureExtractor")
    if extractor.feature_size != num_mels:
        raise KitError(
            f"{checkpoint!r} has a feature extractor of {extractor.feature_size} mel bands; its encoder takes "
            f"{num_mels}; give it the preprocessor_config.json of the model it comes from"
        )
    found = {
        "rate_hz": extractor.sampling_rate,
        "num_mels": num_mels,
        "n_fft": extractor.n_fft,
        "hop": extractor.hop_length,
    }
    return arguments(WhisperPreprocessor, found, f"{checkpoint!r}: its feature extractor")


def _has_file(checkpoint: str, name: str) -> bool:
    try:
        return cached_file(checkpoint, name, local_files_only=looks_local(checkpoint) or offline()) is not None
    except OSError:
        return False


def _parse_window(seconds: float, rate: float, max_positions: int, checkpoint: str) -> int:
    """The number of features of a window of so many seconds, at `rate` a second."""
    positions = seconds * rate
    if not (1 <= positions <= max_positions and abs(positions - round(positions)) < 1e-6):
        raise KitError(
            f"{checkpoint!r}: window_seconds must be a multiple of {1 / rate:g} up to {max_positions / rate:g}, "
            f"for which it has positions; got {seconds:g}"
        )
    return round(positions)
