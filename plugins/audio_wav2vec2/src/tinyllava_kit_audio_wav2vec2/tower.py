"""wav2vec 2.0, HuBERT and WavLM encoders as one tower whose features do not depend on the batch.

The weights live in transformers' own modules, under their names. The way through them is written here: the group
norm of the first convolution counts real frames only, padded frames are zero wherever frames are mixed, only the
layers that are needed exist, and nothing is read back from the device.

Legend: N rows (windows of sounds), S samples, P frames, C channels of the convolutions, E tower width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from tinyllava_kit import KitError
from tinyllava_kit.components import parse_layer
from tinyllava_kit.files import Size, arguments, checked
from tinyllava_kit.interfaces import Features, Tower
from tinyllava_kit.pretrained import check_model_type, kind_of, load_state, network, read_pretrained, without_reports

from .preprocessor import Wav2Vec2Preprocessor, front_end

_WHERE = "tower's config"
_Layer = Literal["last", "mix"] | Size
MODEL_TYPES = ("wav2vec2", "hubert", "wavlm")

# Whose statistics are taken together: temporary tensors of all 512 channels would be half of the memory that is used.
_CHANNELS_AT_ONCE = 64
# Two windows of 30 s, the padding of shorter rows among them; a base encoder takes 16 MB for a second of them.
_SAMPLES_AT_ONCE = 960_160

# What says where a checkpoint comes from, not how to build the encoder.
_NOT_SAVED = ("_name_or_path", "architectures", "dtype", "transformers_version")
# LayerDrop and SpecAugment are for pretraining; without SpecAugment its learned vector does not exist.
_NO_AUGMENT = {"layerdrop": 0.0, "apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}


class Wav2Vec2Tower(Tower):
    """A speech encoder: 16 kHz waveforms to 50 features a second.

    `config` holds ``encoder``, the configuration of the transformers model, and ``layer``: ``last``, ``mix`` (the
    weights of a learned mean over all hidden states, as in SUPERB, are the tower's own) or a number of layers.
    While no parameter of the encoder is trained it stays in eval, and no graph is built through it: transformers'
    own forward would make its input require grad in train mode, and hold every activation.
    """

    preprocessor_class = Wav2Vec2Preprocessor
    never_quantized = ("gru_rel_pos_linear",)  # WavLM's; 8 bits take rows of (N, P, E), it gets those of each head

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.layer: int | str = checked(_Layer, config.get("layer"), f"{_WHERE}.layer")
        settings = _encoder_config(config)
        self.encoder = _build(settings)
        self.stable_norm: bool = settings.do_stable_layer_norm
        if self.stable_norm and isinstance(self.layer, int):
            self.encoder.encoder.layer_norm = nn.Identity()  # hidden states stand before the final norm
        if self.layer == "mix":
            self.mix_weights = nn.Parameter(torch.zeros(settings.num_hidden_layers + 1))

    @property
    def embed_dim(self) -> int:
        return self.encoder.config.hidden_size

    @classmethod
    def read_config(cls, checkpoint: str, *, layer: str | int = "last") -> dict[str, Any]:
        """The configuration of an encoder or of a model around one (CTC, pretraining).

        Args:
            checkpoint: hub name or directory.
            layer: ``last``, ``mix``, or an index into transformers' hidden states, 0 to their number of layers;
                -1 is ``last``.

        Raises:
            KitError: not found, of another kind, with an adapter, or without such a layer.
        """
        encoder = read_pretrained(AutoConfig, checkpoint)
        check_model_type(encoder.model_type, MODEL_TYPES, checkpoint)
        if getattr(encoder, "add_adapter", False):
            raise KitError(f"{checkpoint!r} has an adapter after its encoder (add_adapter); give one without")
        layer = parse_layer(layer, encoder.num_hidden_layers, checkpoint, ("last", "mix"))
        saved = {key: value for key, value in encoder.to_diff_dict().items() if key not in _NOT_SAVED}
        if isinstance(layer, int):
            saved["num_hidden_layers"] = layer
        return {"layer": layer, "encoder": {**saved, "model_type": encoder.model_type, **_NO_AUGMENT}}

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Wav2Vec2Preprocessor:
        """Rate and normalisation as the checkpoint's feature extractor has them.

        Raises:
            KitError: no feature extractor, or one that does not take waveforms.
        """
        extractor = read_pretrained(AutoFeatureExtractor, checkpoint)
        if not hasattr(extractor, "do_normalize") or extractor.feature_size != 1:
            raise KitError(f"{checkpoint!r} has a {type(extractor).__name__}; expected a Wav2Vec2FeatureExtractor")
        encoder = _encoder_config(config)
        field, stride = front_end(encoder.conv_kernel, encoder.conv_stride)
        found = {"rate_hz": extractor.sampling_rate, "normalize": extractor.do_normalize}
        found |= {"receptive_field": field, "stride": stride}
        return Wav2Vec2Preprocessor(**arguments(Wav2Vec2Preprocessor, found, f"{checkpoint!r}: its feature extractor"))

    def load_weights(self, checkpoint: str) -> None:
        """The encoder's weights; heads, quantizers and layers that are not needed stay behind.

        Raises:
            KitError: keys are missing or of other shapes.
        """
        with without_reports():  # heads are surplus; what is missing is checked below
            model, info = read_pretrained(
                AutoModel,
                checkpoint,
                config=_encoder_config(self.config),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        state = {key: value for key, value in model.state_dict().items() if key not in info["missing_keys"]}
        for key, shape, _ in info["mismatched_keys"]:
            state[key] = torch.empty(shape, device="meta")
        load_state(self.encoder, state, checkpoint, surplus_ok=True)

    def train(self, mode: bool = True) -> Wav2Vec2Tower:
        """As in torch, but a frozen encoder stays in eval: no dropout."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def rows_at_once(self, inputs: Mapping[str, Tensor]) -> int:
        """A minute of sound."""
        return max(1, _SAMPLES_AT_ONCE // inputs["input_values"].shape[1])

    def forward(self, input_values: Tensor, lengths: Tensor) -> Features:
        """Waveforms to features.

        Args:
            input_values: (N, S) float, samples past a row's length are ignored.
            lengths: (N,) int64, samples of each row, at least the receptive field.

        Returns:
            Features: (N, P, E), zero past each row's length, and the lengths (N,) in frames.
        """
        hidden, keep = self._convolve(input_values, lengths)  # (N, P, E), (N, P)
        states = self._run_layers(hidden, keep)  # each (N, P, E)
        hidden = states[-1]
        if self.layer == "mix":
            weights = self.mix_weights.float().softmax(0).to(hidden.dtype)
            hidden = sum(weight * state for weight, state in zip(weights.unbind(), states, strict=True))  # (N, P, E)
        if self.stable_norm:
            hidden = self.encoder.encoder.layer_norm(hidden)
        return Features(hidden.masked_fill(~keep[..., None], 0.0), keep.sum(1))

    def _convolve(self, input_values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The convolutions and the projection: (N, S) -> (N, P, E), and which frames are real, (N, P) bool."""
        layers = self.encoder.feature_extractor.conv_layers
        hidden = input_values.to(layers[0].conv.weight.dtype)[:, None]  # (N, 1, S)
        for layer in layers:
            lengths = (lengths - layer.conv.kernel_size[0]) // layer.conv.stride[0] + 1  # (N,)
            if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
                hidden = layer.activation(masked_group_norm(layer.layer_norm, layer.conv(hidden), lengths))
            else:
                hidden = layer(hidden)  # (N, C, P)
        keep = torch.arange(hidden.shape[-1], device=hidden.device) < lengths[:, None]  # (N, P)
        projected = self.encoder.feature_projection(hidden.transpose(1, 2))  # (N, P, E)
        return projected[0] if isinstance(projected, tuple) else projected, keep

    def _run_layers(self, hidden: Tensor, keep: Tensor) -> list[Tensor]:
        """The transformer: the last hidden state, or all where they are mixed; before a stable model's final norm."""
        encoder = self.encoder.encoder
        hidden = hidden.masked_fill(~keep[..., None], 0.0)
        hidden = hidden + _positions(encoder.pos_conv_embed, hidden, keep)
        if not self.stable_norm:
            hidden = encoder.layer_norm(hidden)
        hidden = encoder.dropout(hidden)
        states, bias = [hidden], None
        for layer in encoder.layers:
            if self.encoder.config.model_type == "wavlm":
                hidden, bias = layer(hidden, attention_mask=keep, position_bias=bias)
            else:
                hidden = layer(hidden, attention_mask=keep[:, None, None])
            states = [*states, hidden] if self.layer == "mix" else [hidden]
        return states


class MaskedWavLMAttention(WavLMAttention):
    """WavLM's attention through scaled_dot_product_attention: no weights are kept, masks of one kind are added."""

    def torch_multi_head_self_attention(
        self, hidden_states: Tensor, attention_mask: Tensor, gated_position_bias: Tensor
    ) -> tuple[Tensor, None]:
        """The scores of (N, P, E) with the bias (N*H, P, P), over the frames that `attention_mask` (N, P) keeps."""
        rows, frames, _ = hidden_states.shape
        heads = (rows, frames, self.num_heads, self.head_dim)
        query, key, value = (
            projection(hidden_states).view(heads).transpose(1, 2)  # (N, H, P, E/H)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = gated_position_bias.view(rows, self.num_heads, frames, frames)
        bias = bias.masked_fill(~attention_mask[:, None, None], float("-inf"))  # (N, H, P, P)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(mixed.transpose(1, 2).reshape(rows, frames, -1)), None  # (N, P, E)


def masked_group_norm(norm: nn.GroupNorm, hidden: Tensor, lengths: Tensor) -> Tensor:
    """Group norm with one channel a group, whose mean and variance are those of each row's real frames.

    ``nn.GroupNorm`` counts the padding as well, so that a clip's features change with what it is batched with:
    the reason why wav2vec2-base shall not be padded. Statistics are float32.

    Args:
        norm: its weight, bias (C,) and eps are used.
        hidden: (N, C, P). lengths: (N,), at least 1.

    Returns:
        (N, C, P); padding holds anything finite.
    """
    keep = (torch.arange(hidden.shape[-1], device=hidden.device) < lengths[:, None])[:, None]  # (N, 1, P)
    count = lengths[:, None, None].float()
    moments = [_moments(part.float(), keep, count) for part in hidden.split(_CHANNELS_AT_ONCE, dim=1)]
    mean, variance = (torch.cat(parts, dim=1) for parts in zip(*moments, strict=True))  # (N, C, 1)
    scale = torch.rsqrt(variance + norm.eps) * norm.weight[:, None].float()  # (N, C, 1)
    shift = norm.bias[:, None].float() - mean * scale  # (N, C, 1)
    return torch.addcmul(shift, hidden, scale).to(hidden.dtype)  # (N, C, P)


def _moments(hidden: Tensor, keep: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of (N, c, P) over the frames that are kept, (N, c, 1) each."""
    mean = hidden.masked_fill(~keep, 0.0).sum(-1, keepdim=True) / count  # (N, c, 1)
    variance = (hidden - mean).masked_fill(~keep, 0.0).square().sum(-1, keepdim=True) / count  # (N, c, 1)
    return mean, variance


def _positions(embed: nn.Module, hidden: Tensor, keep: Tensor) -> Tensor:
    """The convolutional position embedding of (N, P, E). A batch norm (some HuBERTs) would lift padding off zero."""
    if getattr(embed, "batch_norm", None) is None:
        return embed(hidden)  # (N, P, E)
    normed = embed.batch_norm(hidden.transpose(1, 2)).masked_fill(~keep[:, None], 0.0)  # (N, E, P)
    return embed.activation(embed.padding(embed.conv(normed))).transpose(1, 2)  # (N, P, E)


def _encoder_config(config: Mapping[str, Any]) -> PreTrainedConfig:
    kind = kind_of(config.get("encoder"), f"{_WHERE}.encoder")
    check_model_type(kind.model_type, MODEL_TYPES, f"{_WHERE}.encoder")
    return network(kind, config["encoder"], f"{_WHERE}.encoder")


def _build(settings: PreTrainedConfig) -> PreTrainedModel:
    """The encoder without weights."""
    if settings.model_type != "wavlm":
        return AutoModel.from_config(settings, trust_remote_code=False, attn_implementation="sdpa")
    encoder = AutoModel.from_config(settings, trust_remote_code=False)
    for number, layer in enumerate(encoder.encoder.layers):
        layer.attention = MaskedWavLMAttention(
            settings.hidden_size,
            settings.num_attention_heads,
            settings.attention_dropout,
            settings.num_buckets,
            settings.max_bucket_distance,
            has_relative_position_bias=number == 0,
        )
    return encoder
