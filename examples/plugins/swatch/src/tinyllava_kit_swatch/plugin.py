"""What this distribution offers: the modality `swatch` and the decoder `swatch_rows`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import DecoderSpec, ModalitySpec, TokenType


@hookimpl
def tinyllava_modalities() -> tuple[ModalitySpec, ...]:
    swatch = ModalitySpec(
        name="swatch",
        target="tinyllava_kit_swatch.swatches:SwatchModality",
        contract="tinyllava_kit_swatch.contract:SwatchContract",
        summary="swatches of 4 x 4 colours: text files of four lines of four digits",
        token=TokenType(placeholder="<swatch>"),
        suffixes=(".txt",),
        verb="paint",
    )
    return (swatch,)


@hookimpl
def tinyllava_decoders() -> tuple[DecoderSpec, ...]:
    rows = DecoderSpec(
        name="swatch_rows",
        target="tinyllava_kit_swatch.decoder:SwatchDecoder",
        contract="tinyllava_kit_swatch.contract:SwatchRowsContract",
        summary="swatches, a row of colours at a position",
        modality="swatch",
    )
    return (rows,)
