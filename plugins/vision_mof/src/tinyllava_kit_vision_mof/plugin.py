"""What this distribution offers: the tower `mof` and its connector `mof_mlp`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import ConnectorSpec, Option, TowerSpec

MOF = TowerSpec(
    name="mof",
    modality="image",
    target="tinyllava_kit_vision_mof.tower:MofTower",
    contract="tinyllava_kit_vision_mof.contract:MofContract",
    summary="CLIP and DINOv2 on the same pictures, features side by side; checkpoint CLIP+DINOV2",
    model_types=("mof",),
    checkpoint="openai/clip-vit-large-patch14+facebook/dinov2-large",
    options=(
        Option(name="layer", type=int, default=-2, help="of both, whose hidden states are read; -1 is the last layer"),
        Option(
            name="select",
            default="patch",
            choices=("patch", "cls_patch"),
            help="patch: the patches of both; cls_patch: the class tokens, then the patches",
        ),
    ),
)
MOF_MLP = ConnectorSpec(
    name="mof_mlp",
    target="tinyllava_kit_vision_mof.connector:MofMLP",
    summary="for mof: two linear layers with GELU between for CLIP, two for DINOv2, their rows in turn",
)


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    """CLIP and DINOv2 on the same pictures, as one tower."""
    return (MOF,)


@hookimpl
def tinyllava_connectors() -> tuple[ConnectorSpec, ...]:
    """The connector that interleaves features of both."""
    return (MOF_MLP,)
