"""What a stage learns: its samples, how they make a batch, and the loss where it is not the model's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from ...data.dataset import Collator, ConversationDataset
from ...data.stream import RowStream
from ...errors import KitError
from ...model.modeling import TinyLlavaForConditionalGeneration
from ..batches.packing import PackedCollator, PackedDataset
from ..recipe import Stage
from .ctc import CTCCollator, CTCDataset, matcher
from .distillation import DistillationCollator, DistillationDataset, distillation_loss
from .feature_matching import FeatureMatcher, FeatureMatchingCollator, FeatureMatchingDataset

Loss = Callable[[Any, Any, Any], Tensor]  # of a model, a batch and the number of its step's target tokens


class Objective(NamedTuple):
    """`loss` None: the model's own."""

    samples: Dataset[Any] | RowStream
    collator: Any
    loss: Loss | None = None


def objective_of(
    stage: Stage, dataset: ConversationDataset | RowStream, model: TinyLlavaForConditionalGeneration
) -> Objective:
    """Of a stage on a dataset; a teacher's features are computed here.

    Raises:
        KitError: a teacher for a model that learns to give more than words.
    """
    collator = Collator(dataset.processor, stage.max_length)
    if isinstance(dataset, RowStream):  # which a recipe with another objective refuses
        return Objective(dataset, collator)
    if stage.distill:
        if dataset.processor.gives:
            raise KitError("distill: the model's decoders learn, too, and a teacher has words alone; leave distill out")
        return Objective(
            DistillationDataset(dataset), DistillationCollator(collator), partial(distillation_loss, how=stage.distill)
        )
    if stage.match_words:
        worded = CTCDataset(dataset)
        embeddings: Any = model.get_input_embeddings().weight
        loss = matcher(embeddings, worded.words, stage.match_words.sharpness)
        return Objective(worded, CTCCollator(dataset.processor), loss)
    if stage.match_features:
        modalities = [name.removeprefix("tower.") for name in stage.train]
        towers: Any = model.towers
        widths = {modality: towers[modality].embed_dim for modality in modalities}
        matched = FeatureMatchingDataset(dataset, stage.match_features.teacher, widths)
        return Objective(matched, FeatureMatchingCollator(dataset.processor), FeatureMatcher(matched.spread()))
    if stage.packing:
        return Objective(PackedDataset(dataset), PackedCollator(collator))
    return Objective(dataset, collator)
