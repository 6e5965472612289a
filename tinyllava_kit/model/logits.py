"""Which logits a step of the model gives: all, the last, those at the positions that have a target, or none.

Legend: B rows of the batch, T positions, D width of the LLM, V ids, n positions that have a target.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from ..core.plan import Plan
from ..errors import FusionError
from .offloading import at_hand
from .whole import Whole

# The last so many positions (0: all) or an index, as in transformers; those that have a target; none.
Keep = int | Tensor | Literal["targets", "none"]


def check_keep(keep: Keep, labels: Tensor | None, plan: Plan | None) -> None:
    """Refuse to leave logits out that a step needs.

    Raises:
        FusionError: target positions are asked for, or labels come with no logits, and no plan says where targets are.
    """
    has_targets = plan is not None and plan.target_positions is not None
    if isinstance(keep, str) and not has_targets and (keep == "targets" or labels is not None):
        raise FusionError(
            f"logits_to_keep={keep!r} needs a plan that says where targets are; give the batch as the processor makes "
            "it with labels, or leave logits_to_keep out"
        )


class Logits(Whole):
    """The logits of a model whose decoders may have ids behind the LLM's own."""

    def _head(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) -> the LLM's own logits (..., V)."""
        return self.llm_interface.logits(self.language_model, hidden)

    def _all_logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) -> (..., V), those of decoders behind the LLM's own."""
        return self._head(hidden) if self.extension is None else self.extension.logits(self._head, hidden)

    def _kept_logits(self, hidden: Tensor, keep: Keep, plan: Plan | None) -> dict[str, Any]:
        """Final hidden states (B, T, D) -> the fields of the output that hold logits."""
        if isinstance(keep, str):
            if keep == "none":
                return {}
            assert plan is not None  # see `check_keep`
            assert plan.target_positions is not None
            kept = hidden.flatten(0, 1).index_select(0, plan.target_positions)  # (n, D)
        else:
            kept = hidden[:, slice(-keep, None) if isinstance(keep, int) else keep]  # (B, t, D)
        with at_hand(self.decoders):
            logits: dict[str, Any] = {"logits": self._all_logits(kept)}  # (n, V) or (B, t, V)
            if self.extension is not None and self.extension.grammar.parallel:
                logits["parallel_logits"] = self.extension.parallel_logits(kept)
        return logits

    def _known_at_targets(self, logits: Tensor | None, keep: Keep, positions: Tensor) -> Tensor | None:
        """The logits (n, V) at target positions (n,), where those that are kept are all that a loss of text needs."""
        if self.extension is not None or logits is None:
            return None
        if isinstance(keep, str):
            return logits  # those of the target positions
        everything = isinstance(keep, int) and keep == 0
        return logits.flatten(0, 1).index_select(0, positions) if everything else None
