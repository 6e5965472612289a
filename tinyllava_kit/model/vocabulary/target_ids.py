"""What of a batch is learned, group by group: the order in which losses are counted and averaged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...core.decoders import HiddenDecoder
from ...core.ids import NO_ID, TEXT
from ...core.plan import Plan
from .grammar import Grammar


def targets_of(
    layout: Plan, previous: Tensor | None, grammar: Grammar | None, hidden_decoders: Mapping[str, HiddenDecoder]
) -> dict[str, Tensor]:
    """Every group, in order, with what of it is in a batch, as the model takes it: (g,) int64 each.

    Args:
        layout: of the batch, with labels.
        previous: (n,) the ids at its target positions; None: the grammar is None, too.
        grammar: of the ids that the LLM writes; None: text alone.
        hidden_decoders: modality -> decoder that makes items of words.
    """
    rows = layout.target_positions
    assert rows is not None  # of a layout with labels
    if grammar is None or previous is None:
        targets = {TEXT: torch.arange(len(rows), device=rows.device)}
    else:
        targets = grammar.targets(previous, layout.target_parallel)
    for modality, maker in hidden_decoders.items():
        found: Mapping[str, Tensor] = {
            group: torch.empty(0, dtype=torch.int64, device=rows.device) for group in maker.loss_weights
        }
        if modality in layout.generated and (layout.generated[modality].ids != NO_ID).any():  # not so in a probe
            found = maker.targets(layout.generated[modality].ids)
        targets |= {f"{modality}.{group}": found[group] for group in maker.loss_weights}
    return targets
