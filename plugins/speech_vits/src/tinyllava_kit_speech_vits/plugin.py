"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.core.specs import DecoderSpec, Option


@hookimpl
def tinyllava_decoders() -> tuple[DecoderSpec, ...]:
    return (
        DecoderSpec(
            name="vits",
            target="tinyllava_kit_speech_vits.decoder:VitsDecoder",
            summary="a VITS voice of transformers (MMS-TTS) that reads the answer aloud",
            modality="audio",
            reads="text",
            checkpoint="facebook/mms-tts-eng",
            options=(
                Option(name="speed", type=float, default=1.0, help="how fast, beside the voice's own speed"),
                Option(
                    name="varied",
                    type=bool,
                    default=False,
                    help="with the voice's own noise: livelier, and a text sounds different each time",
                ),
                Option(name="speaker", type=int, default=0, help="which speaker of a voice that has several"),
            ),
        ),
    )
