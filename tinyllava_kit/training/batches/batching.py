"""Which samples make the batches of a stage, where they are not drawn one after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ...core.conversation import Conversation
from ...core.interfaces import Modality
from ...data.dataset import ConversationDataset
from ...distributed import say, world_size
from ..recipe import Stage
from .epochs import Epochs
from .packing import PackedBatches, token_counts
from .sized import SizedBatches, check_budget, sizes_of


def stage_batches(stage: Stage, dataset: ConversationDataset, seed: int) -> Epochs | None:
    """As `batches_of` a dataset; says how full packed rows are, and what exceeds the budget.

    Raises:
        KitError: as `batches_of`; a file cannot be read.
    """
    tokens = partial(token_counts, dataset, stage.max_length, workers=stage.workers)
    found = batches_of(stage, dataset.conversations, dataset.processor.modalities, tokens, seed)
    batches = None if found is None else found.batches
    if isinstance(batches, PackedBatches):
        rows = f"{len(batches.packs)} rows of {batches.length}"
        say(f"packed {len(batches.tokens)} samples into {rows}: fill {batches.fill:.1%}")
    elif batches is not None:
        alone = sum(not batches.fits([i]) for i in range(len(dataset)))
        if alone:
            say(f"{alone} sample(s) exceed batch_budget by themselves; each is a batch of its own")
    return found


def batches_of(
    stage: Stage,
    conversations: Sequence[Conversation],
    modalities: Mapping[str, Modality],
    tokens: Callable[[], Sequence[int]],
    seed: int,
) -> Epochs | None:
    """All batches of the stage, for packing, `batch_budget` and `group_by_size`; None without them.

    Args:
        tokens: the positions that each conversation takes; called where it is asked for.

    Raises:
        KitError: a limit for a modality that the model does not have; a file that cannot be measured.
    """
    if stage.packing and stage.pack_length:
        check_budget("packing.limits", stage.packing.limits, modalities)
        batches: SizedBatches | PackedBatches = PackedBatches(
            tokens(),
            stage.pack_length,
            batch_size=stage.batch_size,
            sizes=sizes_of(conversations, modalities) if stage.packing.limits else (),
            limits=stage.packing.limits,
            seed=seed,
        )
    elif stage.group_by_size or stage.batch_budget:
        check_budget("batch_budget", stage.batch_budget, modalities)
        batches = SizedBatches(
            sizes_of(conversations, modalities),
            [sum(len(turn.text) for turn in c.turns) for c in conversations],
            batch_size=stage.batch_size,
            budget=stage.batch_budget,
            seed=seed,
        )
    else:
        return None
    wanted = max(stage.max_steps, 0) * stage.gradient_accumulation * world_size()
    epochs = max(stage.epochs, math.ceil(wanted / len(batches)) + 1 if wanted else 0)
    return Epochs(batches, epochs, processes=world_size())


def steps_of(stage: Stage, samples: int, batches: Epochs | None) -> tuple[int, int]:
    """How many batches one process sees in a stage, and how many steps it takes; time does not end it here.

    Args:
        samples: of an epoch. `batches`: as `batches_of` gives them.
    """
    if stage.max_steps > 0:
        return stage.max_steps * stage.gradient_accumulation, stage.max_steps
    if batches is not None:
        return len(batches), math.ceil(len(batches) / stage.gradient_accumulation)
    each = math.ceil(samples / stage.batch_size)
    steps = math.ceil(stage.epochs * math.ceil(each / stage.gradient_accumulation))
    return math.ceil(stage.epochs * each), steps
