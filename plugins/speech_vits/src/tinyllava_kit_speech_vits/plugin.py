"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.components import VOICE_OPTIONS
from tinyllava_kit.specs import DecoderSpec


@hookimpl
def tinyllava_decoders() -> tuple[DecoderSpec, ...]:
    """Voices of VITS in transformers (MMS-TTS), which read an answer's text."""
    return (
        DecoderSpec(
            name="vits",
            target="tinyllava_kit_speech_vits.decoder:VitsDecoder",
            contract="tinyllava_kit_speech_vits.contract:VitsContract",
            summary="a VITS voice of transformers (MMS-TTS) that reads the answer aloud",
            modality="audio",
            reads="text",
            checkpoint="facebook/mms-tts-eng",
            options=VOICE_OPTIONS,
        ),
    )
