"""The decoder `piper`: a voice of Piper, run by onnxruntime.

Piper: Hansen, github.com/rhasspy/piper: VITS (Kim et al., 2021, arXiv:2106.06103) on phonemes of espeak-ng, exported to
ONNX. A voice is a file ``NAME.onnx`` with its settings beside it, ``NAME.onnx.json``.

Legend: t phonemes, pads among them; n samples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
from pydantic import Field
from typing_extensions import TypedDict

from tinyllava_kit import KitError
from tinyllava_kit.components import Waveform, check_voice_options, join_sentences
from tinyllava_kit.files import Count, Size, checked, first_line, read_mapping
from tinyllava_kit.interfaces import TextDecoder

from .phonemes import espeak, phonemes
from .sentences import sentences

PAD, BEGIN, END = "_", "^", "$"


_Positive = Annotated[float, Field(gt=0, le=1000)]
_Noise = Annotated[float, Field(ge=0, le=1000)]


class PiperVoice(TypedDict):
    """The settings of a voice that the decoder uses; `language` is espeak-ng's name, which opens a path as a file."""

    rate_hz: Count
    language: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]+$", max_length=80)]
    num_speakers: Count
    ids: dict[str, list[Size]]
    noise_scale: _Noise
    length_scale: _Positive
    noise_w: _Noise


class PiperConfig(TypedDict):
    """Of a `PiperDecoder`, as a file holds it."""

    num_bytes: Count
    voice: PiperVoice
    speed: _Positive
    varied: bool
    speaker: Size


class PiperDecoder(TextDecoder):
    """Reads text aloud, a sentence at a time.

    The ONNX file is a buffer of bytes, so that it is saved with the model; onnxruntime runs it on the CPU. `config`
    holds ``num_bytes`` of it, ``voice`` (the voice's settings that are used) and the options.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        checked(PiperConfig, config, "decoder's config")
        self.register_buffer("graph", torch.zeros(config["num_bytes"], dtype=torch.uint8))
        self._session: onnxruntime.InferenceSession | None = None

    @classmethod
    def read_config(
        cls, checkpoint: str, *, speed: float = 1.0, varied: bool = False, speaker: int = 0
    ) -> dict[str, Any]:
        """See `Decoder.read_config`.

        Args:
            checkpoint: the voice's ``.onnx`` file.
            speed: beside the voice's own, 1.0.
            varied: with the voice's noise, so that a text is another sound each time; without, it is the same.
            speaker: of a voice that has several, from 0.

        Raises:
            KitError: no such file, settings that are missing or of another kind, a language without espeak-ng's help.
        """
        file = _voice_file(checkpoint)
        voice = _read_voice(Path(f"{file}.json"))
        check_voice_options(checkpoint, speed=speed, speaker=speaker, num_speakers=voice["num_speakers"])
        espeak().check(voice["language"])
        return {"num_bytes": file.stat().st_size, "voice": voice, "speed": speed, "varied": varied, "speaker": speaker}

    def load_weights(self, checkpoint: str) -> None:
        """Read the ONNX file of a voice into `graph`, (bytes,) uint8, and check its inputs.

        Raises:
            KitError: the file cannot be read, is no ONNX file, or one with other inputs than a Piper voice has.
        """
        file = _voice_file(checkpoint)
        content = file.read_bytes()
        self.graph = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        try:
            inputs = {given.name for given in self._running().get_inputs()}
        except Exception as error:  # onnxruntime's own kinds have no common parent
            raise KitError(f"{checkpoint!r}: onnxruntime cannot read it: {first_line(error)}") from error
        wanted = {"input", "input_lengths", "scales"} | ({"sid"} if self.config["voice"]["num_speakers"] > 1 else set())
        if inputs != wanted:
            raise KitError(f"{checkpoint!r} takes {sorted(inputs)}; a Piper voice takes {sorted(wanted)}")

    def decode(self, text: str) -> Waveform:
        """The text as speech, in the voice's own rate.

        Marks of Markdown are not said. Phonemes that the voice was not trained on are left out, as Piper does.

        Raises:
            KitError: the text has no word.
        """
        voice = self.config["voice"]
        said = [self._say(self._ids(phonemes(sentence, voice["language"]))) for sentence in sentences(text)]
        if not said:
            raise KitError(f"nothing to say in {text!r}; expected at least one word")
        return join_sentences(said, voice["rate_hz"])

    def _ids(self, sentence: str) -> np.ndarray:
        """Phonemes -> (1, t) int64: a pad behind each, marks around all."""
        id_of = self.config["voice"]["ids"]
        ids = [*id_of[BEGIN], *id_of[PAD]]
        for phoneme in sentence:
            if phoneme in id_of:
                ids += [*id_of[phoneme], *id_of[PAD]]
        return np.array([[*ids, *id_of[END]]], np.int64)

    def _say(self, ids: np.ndarray) -> np.ndarray:
        """(1, t) -> (n,) float32."""
        voice = self.config["voice"]
        noise, noise_of_durations = (voice["noise_scale"], voice["noise_w"]) if self.config["varied"] else (0.0, 0.0)
        scales = [noise, voice["length_scale"] / self.config["speed"], noise_of_durations]
        inputs = {
            "input": ids,
            "input_lengths": np.array([ids.shape[1]], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if voice["num_speakers"] > 1:
            inputs["sid"] = np.array([self.config["speaker"]], np.int64)
        (samples,) = self._running().run(None, inputs)
        return samples.reshape(-1).clip(-1.0, 1.0)

    def _running(self) -> onnxruntime.InferenceSession:
        if self._session is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            self._session = onnxruntime.InferenceSession(
                self.graph.cpu().numpy().tobytes(), options, providers=["CPUExecutionProvider"]
            )
        return self._session

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}  # copies and other processes start their own


def _voice_file(checkpoint: str) -> Path:
    file = Path(os.path.expanduser(checkpoint))
    if not checkpoint or not os.path.isfile(file):
        raise KitError(f"no Piper voice {checkpoint!r}; write piper:FILE.onnx, with its FILE.onnx.json beside it")
    return file


def _read_voice(path: Path) -> dict[str, Any]:
    """The settings of a voice that the decoder uses.

    Raises:
        KitError: not found, or not those of a Piper voice that speaks espeak-ng's phonemes.
    """
    if not path.exists():
        raise KitError(f"cannot open {str(path)!r}: No such file or directory; it comes with the voice's .onnx file")
    found = read_mapping(path)
    try:
        kind = found.get("phoneme_type", "espeak")
        voice = {
            "rate_hz": int(found["audio"]["sample_rate"]),
            "language": str(found["espeak"]["voice"]),
            "num_speakers": int(found.get("num_speakers", 1)),
            "ids": {str(phoneme): [int(each) for each in ids] for phoneme, ids in found["phoneme_id_map"].items()},
            **{name: float(found["inference"][name]) for name in ("noise_scale", "length_scale", "noise_w")},
        }
        marks = [voice["ids"][mark] for mark in (PAD, BEGIN, END)]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise KitError(f"{str(path)!r} holds no settings of a Piper voice: {first_line(error)}") from error
    if kind != "espeak" or found.get("phoneme_map") or not all(marks):
        raise KitError(f"{str(path)!r}: the voice does not take espeak-ng's phonemes unchanged, and cannot be used")
    return voice
