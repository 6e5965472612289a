"""The spec of a talker: that of its codec, and what a user may set beside. Light."""

from __future__ import annotations

from dataclasses import replace

from ...plugin.specs import DecoderSpec, Option

TALKER_OPTIONS = (
    Option(name="layers", type=int, default=4, help="of the transformer that writes the codec's ids"),
    Option(name="width", type=int, default=384, help="of its hidden states"),
    Option(name="heads", type=int, default=6, help="of its attention"),
    Option(name="dropout", type=float, default=0.3, help="share of its previous ids that are hidden in training"),
    Option(name="max_ids", type=int, default=4000, help="after which an item that it does not end is cut"),
)


def talker_of(codec: DecoderSpec, target: str, contract: str = "") -> DecoderSpec:
    """The spec of the `Talker` at `target`, which writes the ids of a codec: ``NAME_talker``."""
    what = codec.summary.partition(":")[0]
    return replace(
        codec,
        name=f"{codec.name}_talker",
        target=target,
        contract=contract,
        summary=f"{what}, whose ids a small transformer writes, of what the LLM holds of its words",
        reads="hidden",
        options=(*codec.options, *TALKER_OPTIONS),
    )
