"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.components import VOICE_OPTIONS
from tinyllava_kit.specs import DecoderSpec


@hookimpl
def tinyllava_decoders() -> tuple[DecoderSpec, ...]:
    """Voices of Piper, which read an answer's text."""
    return (
        DecoderSpec(
            name="piper",
            target="tinyllava_kit_speech_piper.decoder:PiperDecoder",
            contract="tinyllava_kit_speech_piper.contract:PiperContract",
            summary="a Piper voice that reads the answer aloud; the checkpoint is its .onnx file",
            modality="audio",
            reads="text",
            options=VOICE_OPTIONS,
        ),
    )
