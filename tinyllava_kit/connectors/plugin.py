"""The connectors that the kit ships."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.core.specs import ConnectorSpec, Option

_NUM_QUERIES = Option(name="num_queries", type=int, default=128, help="rows that an item becomes")


@hookimpl
def tinyllava_connectors() -> list[ConnectorSpec]:
    """Those of TinyLLaVA_Factory for one tower, and pixel shuffle."""
    here = "tinyllava_kit.connectors"
    return [
        ConnectorSpec(
            name="identity",
            target=f"{here}.identity:Identity",
            summary="features as they are; equal widths only",
        ),
        ConnectorSpec(name="linear", target=f"{here}.linear:Linear", summary="one linear layer"),
        ConnectorSpec(
            name="mlp2x_gelu",
            pattern=r"mlp(?P<depth>[1-9]\d*)x_gelu",
            target=f"{here}.mlp:MLP",
            summary="linear layers with GELU between; the number in the name says how many",
        ),
        ConnectorSpec(
            name="resampler",
            target=f"{here}.resampler:Resampler",
            summary="perceiver: learned rows that look at the features",
            options=(_NUM_QUERIES, Option(name="num_layers", type=int, default=3)),
        ),
        ConnectorSpec(
            name="qformer",
            target=f"{here}.qformer:QFormer",
            summary="BLIP-2's Q-Former: learned rows that look at each other and at the features",
            options=(
                _NUM_QUERIES,
                Option(name="num_layers", type=int, default=12, help="every other one looks at the features"),
                Option(name="hidden_dim", type=int, default=768),
                Option(name="num_heads", type=int, default=12),
                Option(name="mlp_dim", type=int, default=3072),
            ),
        ),
        ConnectorSpec(
            name="pixel_shuffle_mlp",
            target=f"{here}.pixel_shuffle:PixelShuffleMLP",
            summary="squares of patches folded to one row each, then two linear layers",
            needs_grid=True,
            options=(Option(name="factor", type=int, default=2, help="the side of a square, in patches"),),
        ),
    ]
