"""What a user may set of a talker, beside its codec's options. Light: specs are made of it."""

from __future__ import annotations

from ..core.specs import Option

TALKER_OPTIONS = (
    Option(name="layers", type=int, default=4, help="of the transformer that writes the codec's ids"),
    Option(name="width", type=int, default=384, help="of its hidden states"),
    Option(name="heads", type=int, default=6, help="of its attention"),
    Option(name="dropout", type=float, default=0.3, help="share of the ids that it goes on from, hidden in training"),
    Option(name="max_ids", type=int, default=4000, help="after which an item that it does not end is cut"),
)
