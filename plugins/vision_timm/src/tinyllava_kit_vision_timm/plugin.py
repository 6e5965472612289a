"""What this distribution offers: the tower `timm`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import Option, TowerSpec

TIMM = TowerSpec(
    name="timm",
    modality="image",
    target="tinyllava_kit_vision_timm.tower:TimmTower",
    contract="tinyllava_kit_vision_timm.contract:TimmContract",
    summary="any image model of timm: its feature map or its patch tokens",
    checkpoint="vit_small_patch14_dinov2.lvd142m",
    options=(
        Option(
            name="layer",
            default="final",
            help="final: what forward_features gives; stage:K: feature map K (negative: from the end), not normalised",
        ),
        Option(name="image_size", type=int, default=0, help="side of the input in pixels; 0: the model's own"),
        Option(
            name="crop_pct",
            type=float,
            help="share of the scaled picture that the middle crop keeps, 1.0: all of a square one; none: the model's",
        ),
        Option(name="pretrained", type=bool, default=True, help="false: random weights"),
    ),
)


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    """Any image model of timm."""
    return (TIMM,)
