"""The connectors that the kit ships."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import ConnectorSpec, Option

_NUM_QUERIES = Option(name="num_queries", type=int, default=128, help="rows that an item becomes")
_HIDDEN_DIM = Option(name="hidden_dim", type=int, default=0, help="between the two linear layers; 0: the LLM's width")
_SQUARE = Option(name="factor", type=int, default=2, help="the side of a square, in patches")
_QFORMER_SIZES = (
    Option(name="hidden_dim", type=int, default=768),
    Option(name="num_heads", type=int, default=12),
    Option(name="mlp_dim", type=int, default=3072),
)


_HERE = "tinyllava_kit.components.connectors"
_CONTRACTS = "tinyllava_kit.testing.own_connectors"


@hookimpl
def tinyllava_connectors() -> list[ConnectorSpec]:
    """Those of TinyLLaVA_Factory for one tower, pixel shuffle, and four for long sequences."""
    return [*_for_items(), *_for_sequences()]


def _for_items() -> list[ConnectorSpec]:
    """TinyLLaVA_Factory's, and two for rasters."""
    return [
        ConnectorSpec(
            name="identity",
            target=f"{_HERE}.identity:Identity",
            contract=f"{_CONTRACTS}:IdentityContract",
            summary="features, unchanged; equal widths only",
        ),
        ConnectorSpec(name="linear", target=f"{_HERE}.linear:Linear", summary="one linear layer"),
        ConnectorSpec(
            name="mlp2x_gelu",
            pattern=r"mlp(?P<depth>[1-9]\d*)x_gelu",
            target=f"{_HERE}.mlp:MLP",
            summary="linear layers with GELU between; the number in the name says how many",
        ),
        ConnectorSpec(
            name="resampler",
            target=f"{_HERE}.resampler:Resampler",
            contract=f"{_CONTRACTS}:QueriesContract",
            summary="perceiver: learned rows that look at the features",
            options=(_NUM_QUERIES, Option(name="num_layers", type=int, default=3)),
        ),
        ConnectorSpec(
            name="qformer",
            target=f"{_HERE}.qformer:QFormer",
            contract=f"{_CONTRACTS}:QFormerContract",
            summary="BLIP-2's Q-Former: learned rows that look at each other and at the features",
            options=(
                _NUM_QUERIES,
                Option(name="num_layers", type=int, default=12, help="every other one looks at the features"),
                *_QFORMER_SIZES,
            ),
        ),
        ConnectorSpec(
            name="pixel_shuffle_mlp",
            target=f"{_HERE}.pixel_shuffle:PixelShuffleMLP",
            summary="squares of patches folded to one row each, then two linear layers",
            needs_grid=True,
            options=(_SQUARE,),
        ),
        ConnectorSpec(
            name="ldpv2",
            target=f"{_HERE}.ldp:LDPv2",
            summary="MobileVLM V2's: two linear layers, means of squares of patches, and a convolution over the rows",
            needs_grid=True,
            options=(_SQUARE,),
        ),
    ]


def _for_sequences() -> list[ConnectorSpec]:
    """Those that make a long sequence shorter."""
    return [
        ConnectorSpec(
            name="stack_mlp",
            target=f"{_HERE}.stack:StackMLP",
            summary="neighbours of a long sequence side by side in one row each, then two linear layers",
            options=(Option(name="factor", type=int, default=5, help="features that become one row"), _HIDDEN_DIM),
        ),
        ConnectorSpec(
            name="conv_mlp",
            target=f"{_HERE}.conv:ConvMLP",
            summary="convolutions of stride 2 along a long sequence, then two linear layers",
            options=(Option(name="num_layers", type=int, default=2, help="each halves the sequence"), _HIDDEN_DIM),
        ),
        ConnectorSpec(
            name="avgpool_mlp",
            target=f"{_HERE}.average_pool:AveragePoolMLP",
            summary="the mean of neighbours of a long sequence, then two linear layers",
            options=(Option(name="factor", type=int, default=5, help="features that become one row"), _HIDDEN_DIM),
        ),
        ConnectorSpec(
            name="window_qformer",
            target=f"{_HERE}.window_qformer:WindowQFormer",
            contract=f"{_CONTRACTS}:WindowQFormerContract",
            summary="a Q-Former that looks at one window of a long sequence at a time",
            options=(
                Option(name="window", type=int, default=15, help="features that it sees at a time"),
                Option(name="num_queries", type=int, default=3, help="rows that a window becomes"),
                Option(name="num_layers", type=int, default=2, help="every other one looks at the features"),
                *_QFORMER_SIZES,
            ),
        ),
    ]
