"""The objectives that the kit ships, as `Objective`s."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from ...data.dataset import Collator, ConversationDataset
from ...errors import KitError
from ...model.modeling import TinyLlavaForConditionalGeneration
from ..stage_settings import Distill
from .ctc import CTCCollator, CTCDataset, matcher
from .distillation import DistillationCollator, DistillationDataset, distillation_loss
from .feature_matching import FeatureMatcher, FeatureMatchingCollator, FeatureMatchingDataset
from .objective import Lesson, Objective


class Distillation(Objective):
    """From the LLM that reads the items' texts."""

    def __init__(self, **how: float) -> None:
        self.how = Distill(**how)

    def prepare(
        self,
        dataset: ConversationDataset,
        model: TinyLlavaForConditionalGeneration,
        collate: Collator,
        trained: Collection[str],
    ) -> Lesson:
        if dataset.processor.gives:
            raise KitError("distill: the model's decoders learn, too, and a teacher has words alone; leave distill out")
        loss = partial(distillation_loss, how=self.how)
        return Lesson(DistillationDataset(dataset), DistillationCollator(collate), loss)


class WordMatching(Objective):
    """Rows near the LLM's embeddings of the items' words."""

    def __init__(self, *, sharpness: float) -> None:
        self.sharpness = sharpness

    def prepare(
        self,
        dataset: ConversationDataset,
        model: TinyLlavaForConditionalGeneration,
        collate: Collator,
        trained: Collection[str],
    ) -> Lesson:
        worded = CTCDataset(dataset)
        embeddings: Any = model.get_input_embeddings().weight
        return Lesson(worded, CTCCollator(dataset.processor), matcher(embeddings, worded.words, self.sharpness))


class FeatureMatching(Objective):
    """The features of another model's towers."""

    def __init__(self, *, teacher: str) -> None:
        self.teacher = teacher

    def prepare(
        self,
        dataset: ConversationDataset,
        model: TinyLlavaForConditionalGeneration,
        collate: Collator,
        trained: Collection[str],
    ) -> Lesson:
        towers: Any = model.towers
        widths = {
            modality: towers[modality].embed_dim for modality in (name.removeprefix("tower.") for name in trained)
        }
        matched = FeatureMatchingDataset(dataset, self.teacher, widths)
        return Lesson(matched, FeatureMatchingCollator(dataset.processor), FeatureMatcher(matched.spread()))
