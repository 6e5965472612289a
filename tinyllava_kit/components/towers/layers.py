"""Which layer of an encoder a tower reads, as a user writes it."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import KitError


def parse_layer(layer: str | int, num_layers: int, checkpoint: str, names: Sequence[str] = ("last",)) -> int | str:
    """An index into transformers' hidden states, from 0 (what goes into the first layer) to `num_layers`, or a name.

    Args:
        layer: one of `names`, or a number; negative ones count from the end, and -1 is ``last``.
        num_layers: of the encoder.
        checkpoint: named in messages.
        names: values that are not numbers.

    Raises:
        KitError: there is no such layer.
    """
    if layer in names:
        return layer
    try:
        index = int(layer)
    except ValueError:
        index = num_layers + 1  # refused below
    if not -num_layers - 1 <= index <= num_layers:
        raise KitError(
            f"{checkpoint!r} has {num_layers} layers, layer {layer!r} is not there; "
            f"expected {', '.join(names)} or a number from {-num_layers - 1} to {num_layers}"
        )
    if index == -1:
        return "last"
    return index if index >= 0 else num_layers + 1 + index
