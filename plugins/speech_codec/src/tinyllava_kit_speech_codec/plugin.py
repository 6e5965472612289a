"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.components import talker_of
from tinyllava_kit.specs import DecoderSpec, Option

MIMI = DecoderSpec(
    name="mimi",
    target="tinyllava_kit_speech_codec.mimi:MimiCodec",
    contract="tinyllava_kit_speech_codec.contract:MimiContract",
    summary="Mimi: 12.5 frames a second of several ids; heard while it is written",
    modality="audio",
    checkpoint="kyutai/mimi",
    options=(
        Option(
            name="codebooks",
            type=int,
            default=8,
            help="how many ids a frame has: the first says what is spoken, each further one how it sounds",
        ),
        Option(
            name="pattern",
            type=str,
            default="flat",
            choices=("flat", "delay"),
            help="flat: one id at a step; delay: one of each codebook, each further codebook a step later",
        ),
    ),
)

XCODEC2 = DecoderSpec(
    name="xcodec2",
    target="tinyllava_kit_speech_codec.single_codebook:Xcodec2Codec",
    contract="tinyllava_kit_speech_codec.contract:Xcodec2Contract",
    summary="X-codec 2: 50 ids a second of 65536, 16 kHz",
    modality="audio",
    checkpoint="HKUSTAudio/xcodec2-hf",
)

NEUCODEC = DecoderSpec(
    name="neucodec",
    target="tinyllava_kit_speech_codec.single_codebook:NeuCodecCodec",
    contract="tinyllava_kit_speech_codec.contract:NeuCodecContract",
    summary="NeuCodec: 50 ids a second of 65536, 16 kHz in, 24 kHz out",
    modality="audio",
    checkpoint="neuphonic/neucodec",
)


@hookimpl
def tinyllava_decoders() -> tuple[DecoderSpec, ...]:
    """Neural codecs, and a talker for each."""
    talkers, contracts = "tinyllava_kit_speech_codec.talkers", "tinyllava_kit_speech_codec.contract"
    return (
        MIMI,
        XCODEC2,
        NEUCODEC,
        talker_of(MIMI, f"{talkers}:MimiTalker", f"{contracts}:MimiTalkerContract"),
        talker_of(XCODEC2, f"{talkers}:Xcodec2Talker", f"{contracts}:Xcodec2TalkerContract"),
        talker_of(NEUCODEC, f"{talkers}:NeuCodecTalker", f"{contracts}:NeuCodecTalkerContract"),
    )
