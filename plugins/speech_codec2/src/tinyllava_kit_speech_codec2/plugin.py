"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.components import talker_of
from tinyllava_kit.specs import DecoderSpec, Option

_CONTRACTS = "tinyllava_kit_speech_codec2.contract"

CODEC2 = DecoderSpec(
    name="codec2",
    target="tinyllava_kit_speech_codec2.decoder:Codec2Decoder",
    contract=f"{_CONTRACTS}:Codec2Contract",
    summary="Codec 2: speech at 8 kHz 100 to 350 ids a second; its tables are in the library",
    modality="audio",
    options=(
        Option(
            name="mode",
            default="1200",
            choices=("3200", "2400", "1300", "1200", "700C"),
            help="bits a second; more are easier to understand, fewer are easier to learn",
        ),
    ),
)


_TALKER = talker_of(CODEC2, "tinyllava_kit_speech_codec2.talker:Codec2Talker", f"{_CONTRACTS}:Codec2TalkerContract")


@hookimpl
def tinyllava_decoders() -> tuple[DecoderSpec, ...]:
    """Codec2, and a talker for its frames."""
    return (CODEC2, _TALKER)
