"""What this distribution offers: the tower `clip`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import Option, TowerSpec

CLIP = TowerSpec(
    name="clip",
    modality="image",
    target="tinyllava_kit_vision_clip.tower:ClipTower",
    contract="tinyllava_kit_vision_clip.contract:ClipContract",
    summary="CLIP vision transformer (CLIPVisionModel)",
    model_types=("clip", "clip_vision_model"),
    checkpoint="openai/clip-vit-large-patch14-336",
    options=(
        Option(name="layer", type=int, default=-2, help="whose hidden states are read; -1 is the last layer"),
        Option(
            name="select",
            default="patch",
            choices=("patch", "cls_patch"),
            help="patch: the patches; cls_patch: the class token, then the patches",
        ),
    ),
)


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    """CLIP's vision encoder."""
    return (CLIP,)
