"""What a stage learns: its samples, how they make a batch, and the loss where it is not the model's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from ...data.dataset import Collator, ConversationDataset
from ...data.stream import RowStream
from ...model.modeling import TinyLlavaForConditionalGeneration
from ...plugin.specs import load_class
from ..batches.packing import PackedCollator, PackedDataset
from ..recipe import Stage

Loss = Callable[[Any, Any, Any], Tensor]  # of a model, a batch and the number of its step's target tokens


class Lesson(NamedTuple):
    """What the Trainer gets of a stage.

    samples: what a batch is made of. collator: makes it, and counts in `num_cut` what was cut. loss: of the model, a
    batch, and the number of target tokens of the whole step, or None -> (); None: the model's own.
    """

    samples: Dataset[Any] | RowStream
    collator: Any
    loss: Loss | None = None


class Objective(ABC):
    """A loss in place of the model's own; the options of its spec arrive as keyword arguments."""

    @abstractmethod
    def prepare(
        self,
        dataset: ConversationDataset,
        model: TinyLlavaForConditionalGeneration,
        collate: Collator,
        trained: Collection[str],
    ) -> Lesson:
        """The samples of a stage, their collator and their loss.

        Args:
            dataset: the conversations, each encoded when it is asked for.
            collate: makes an ordinary batch, with the stage's `max_length`.
            trained: the parts that the recipe names (``tower.image``).

        Raises:
            KitError: rows, or a model, that it cannot learn from.
        """


def lesson_of(
    stage: Stage, dataset: ConversationDataset | RowStream, model: TinyLlavaForConditionalGeneration
) -> Lesson:
    """Of a stage on a dataset; a teacher's features are computed here.

    Raises:
        KitError: as `Objective.prepare`, or nobody offers what the stage names.
    """
    collate = Collator(dataset.processor, stage.max_length)
    if isinstance(dataset, RowStream):  # which a recipe with another objective refuses
        return Lesson(dataset, collate)
    if (spec := stage.objective) is not None:
        kind = load_class(spec, Objective, "training.Objective")  # type: ignore[type-abstract]
        (options,) = stage.chosen.values()  # under the name that the recipe writes, which may be a qualified one
        return kind(**options).prepare(dataset, model, collate, list(stage.train))
    if stage.packing:
        return Lesson(PackedDataset(dataset), PackedCollator(collate))
    return Lesson(dataset, collate)
