"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.core.specs import DecoderSpec, Option
from tinyllava_kit.modalities.talker_options import TALKER_OPTIONS

_MIMI = (
    Option(
        name="books",
        type=int,
        default=8,
        help="how many ids a frame has: the first says what is spoken, each further one how it sounds",
    ),
    Option(
        name="layout",
        type=str,
        default="flat",
        choices=("flat", "delay"),
        help="flat: one id at a step; delay: one of each book, each further book a step later",
    ),
)


@hookimpl
def tinyllava_decoders() -> tuple[DecoderSpec, ...]:
    return (
        DecoderSpec(
            name="mimi",
            target="tinyllava_kit_speech_codec.mimi:MimiCodec",
            summary="Mimi: 12.5 frames a second of several ids; heard while it is written",
            modality="audio",
            checkpoint="kyutai/mimi",
            options=_MIMI,
        ),
        DecoderSpec(
            name="xcodec2",
            target="tinyllava_kit_speech_codec.single_book:Xcodec2Codec",
            summary="X-codec 2: 50 ids a second of 65536, 16 kHz",
            modality="audio",
            checkpoint="HKUSTAudio/xcodec2-hf",
        ),
        DecoderSpec(
            name="neucodec",
            target="tinyllava_kit_speech_codec.single_book:NeuCodecCodec",
            summary="NeuCodec: 50 ids a second of 65536, 16 kHz in, 24 kHz out",
            modality="audio",
            checkpoint="neuphonic/neucodec",
        ),
        DecoderSpec(
            name="mimi_talker",
            target="tinyllava_kit_speech_codec.talkers:MimiTalker",
            summary="Mimi, whose ids a small transformer writes, of what the LLM holds of its words",
            modality="audio",
            reads="hidden",
            checkpoint="kyutai/mimi",
            options=(*_MIMI, *TALKER_OPTIONS),
        ),
        DecoderSpec(
            name="xcodec2_talker",
            target="tinyllava_kit_speech_codec.talkers:Xcodec2Talker",
            summary="X-codec 2, whose ids a small transformer writes, of what the LLM holds of its words",
            modality="audio",
            reads="hidden",
            checkpoint="HKUSTAudio/xcodec2-hf",
            options=TALKER_OPTIONS,
        ),
        DecoderSpec(
            name="neucodec_talker",
            target="tinyllava_kit_speech_codec.talkers:NeuCodecTalker",
            summary="NeuCodec, whose ids a small transformer writes, of what the LLM holds of its words",
            modality="audio",
            reads="hidden",
            checkpoint="neuphonic/neucodec",
            options=TALKER_OPTIONS,
        ),
    )
