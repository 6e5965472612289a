"""Memory that a speech encoder takes: one of wav2vec2-base's size, with random weights, for half a minute to ten.

Each case has a process of its own, in which large tensors come from the kernel and go back to it, so that the peak is
what was alive at once. It is counted above what the weights and a first, short sound left, with the sound.

Legend: S samples, P features, E tower width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import memory, process
from .figure import Figure

if TYPE_CHECKING:
    from tinyllava_kit_audio_wav2vec2.tower import Wav2Vec2Tower
    from torch import Tensor

    Run = Callable[[Tensor], Tensor]  # (1, S) -> (1, P, E)

IN_TRANSFORMERS = 1.1
LINEAR = 1.1
LONG = 1.25

RATE_HZ = 16_000
BASE: Mapping[str, Any] = {}  # transformers' Wav2Vec2Config is that of wav2vec2-base


def figures(config: Mapping[str, Any] = BASE, *, seconds: float = 30, long: float = 600) -> Iterator[Figure]:
    """The tower's peak in that of transformers' own model, its growth, and its bound for a long sound in windows.

    Args:
        config: of the encoder.
        seconds: of the shorter of two sounds that are encoded in one piece; the other is twice as long.
        long: of a sound that is encoded in windows; it is compared with a minute, which the tower runs at a time.
    """
    twice = 2 * seconds
    ours = {length: process.call(peak, kit, config, length) for length in (seconds, twice)}
    for length, taken in ours.items():
        theirs = process.call(peak, transformers, config, length)
        yield Figure(name=f"audio_peak_{length:g}s_in_transformers", value=taken / theirs, goal=IN_TRANSFORMERS)
    growth = ours[twice] / (2 * ours[seconds])
    yield Figure(name=f"audio_peak_{twice:g}s_in_twice_{seconds:g}s", value=growth, goal=LINEAR)
    yield Figure(name="audio_peak_mib_per_second", value=ours[twice] / twice / 2**20)
    parts = [process.call(peak, windows, config, length) for length in (long, 60)]
    yield Figure(name=f"audio_windows_peak_{long:g}s_in_60s", value=parts[0] / parts[1], goal=LONG)


def peak(way: Callable[[Mapping[str, Any]], Run], config: Mapping[str, Any], seconds: float) -> int:
    """Bytes that a sound of so many seconds takes."""
    import torch

    memory.take("fresh")
    torch.manual_seed(0)
    run = way(config)
    with torch.no_grad():
        run(torch.randn(1, RATE_HZ))
        process.forget_peak()
        before = process.memory()["VmRSS"]
        run(torch.randn(1, round(seconds * RATE_HZ)))
    return process.memory()["VmHWM"] - before


def kit(config: Mapping[str, Any]) -> Run:
    """The tower on a sound in one piece."""
    import torch

    tower = _tower(config)
    return lambda samples: tower(samples, torch.tensor([samples.shape[1]])).features


def transformers(config: Mapping[str, Any]) -> Run:
    """The model of the library on the same, without a mask and with its fastest attention."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    settings = Wav2Vec2Config(apply_spec_augment=False, **config)
    model = Wav2Vec2Model._from_config(settings, attn_implementation="sdpa").eval()
    return lambda samples: model(samples).last_hidden_state


def windows(config: Mapping[str, Any]) -> Run:
    """From a waveform to the features of the whole, as the processor and the model do it."""
    from tinyllava_kit_audio_wav2vec2.preprocessor import Wav2Vec2Preprocessor

    from tinyllava_kit.components.modalities.audio import Waveform
    from tinyllava_kit.model.windows import join_windows, run_windows
    from tinyllava_kit.processing.item_tensors import window_inputs

    tower, preprocessor = _tower(config), Wav2Vec2Preprocessor()

    def run(samples: Tensor) -> Tensor:
        item = Waveform(samples[0].numpy(), RATE_HZ, "sound")
        features = run_windows(tower, preprocessor.collate(preprocessor(item)))
        joint = window_inputs([preprocessor.num_features(item)])
        return (join_windows(features, joint) if joint else features).features

    return run


def _tower(config: Mapping[str, Any]) -> Wav2Vec2Tower:
    from tinyllava_kit_audio_wav2vec2.tower import Wav2Vec2Tower

    encoder = {"model_type": "wav2vec2", "apply_spec_augment": False, **config}
    return Wav2Vec2Tower({"layer": "last", "encoder": encoder}).eval()
