"""Teaching a tower the features that another model's tower gives for the same items.

As DistilHuBERT does (Chang et al. 2021): a student learns its teacher's features position by position, here in units
of their own spread, so that it can stand in the teacher's place behind a connector that was trained for them. Neither
connectors nor LLM take part, and the items need no text.

Legend: N items, P features of an item, E tower width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ...checkpoints.loading import load_pretrained
from ...core.conversation import Conversation
from ...data.dataset import ConversationDataset
from ...errors import KitError
from ...features.cache import FeatureCache
from ...features.store import features_of
from ...processing.batch import Batch
from ...processing.encoded import Encoded
from ...processing.processor import TinyLlavaProcessor

SLACK = 2, 0.02  # how many features, and what share, an item may have more or fewer of than the teacher's

FeatureMatchingTargets = Mapping[str, Sequence[Tensor]]  # modality -> the teacher's features of each item, (P, E)


class FeatureMatchingDataset(Dataset[Any]):
    """Each sample with what the teacher's towers make of its items.

    Args:
        dataset: the conversations.
        teacher: a model directory whose towers are run once over all items, here.
        widths: modality whose tower learns -> E of that tower.

    Raises:
        KitError: the teacher does not read a modality, is of another width or rate, or a sample has nothing to learn.
    """

    def __init__(self, dataset: ConversationDataset, teacher: str, widths: Mapping[str, int]) -> None:
        self.dataset, self.modalities = dataset, tuple(widths)
        model, processor = load_pretrained(teacher)
        for modality, width in widths.items():
            if modality not in model.towers:
                raise KitError(f"match_features: the teacher {teacher!r} has no tower for {modality!r}")
            given = model.towers[modality].embed_dim
            if given != width:
                raise KitError(
                    f"match_features: features of the teacher {teacher!r} are {given} wide, those of the tower that "
                    f"learns {width}; they must be equal"
                )
        for conversation in dataset.conversations:
            if not any(item.modality in self.modalities for item in conversation.items):
                raise KitError(f"{conversation.name}: has no {' or '.join(self.modalities)} item to learn from")
        self.teacher = FeatureCache(model, processor)
        self.teacher.fill(item for c in dataset.conversations for item in c.items if item.modality in self.modalities)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Encoded, FeatureMatchingTargets]:
        conversation, encoded = self.dataset.conversations[index], self.dataset[index]
        taught = self._features(conversation)
        for modality, features in taught.items():
            own = [sum(item.num_features) for item in encoded.items if item.modality == modality]
            _check_rates(conversation.name, own, [len(f) for f in features])
        return encoded, taught

    def spread(self) -> dict[str, Tensor]:
        """The standard deviation of each of the teacher's features over all items, modality -> (E,)."""
        every: dict[str, list[Tensor]] = {modality: [] for modality in self.modalities}
        items = {item.key: item for c in self.dataset.conversations for item in c.items}
        for item in items.values():
            if item.modality in self.modalities:
                every[item.modality] += features_of(self.teacher(item))
        return {m: torch.cat(features).float().std(0).clamp(min=1e-6) for m, features in every.items()}

    def _features(self, conversation: Conversation) -> FeatureMatchingTargets:
        found: dict[str, list[Tensor]] = {}
        for item in conversation.items:
            if item.modality in self.modalities:
                found.setdefault(item.modality, []).extend(features_of(self.teacher(item)))
        return found


class FeatureMatchingCollator:
    """Samples of a `FeatureMatchingDataset` -> ``items``, and per modality ``taught`` (N, P, E) and ``num_taught``
    (N,)."""

    num_cut = 0  # nothing ever is

    def __init__(self, processor: TinyLlavaProcessor) -> None:
        self.processor = processor

    def __call__(self, samples: Sequence[tuple[Encoded, FeatureMatchingTargets]]) -> Batch:
        items = self.processor.collate([encoded for encoded, _ in samples])["items"]
        data: dict[str, Any] = {"items": {}, "taught": {}, "num_taught": {}, "names": [e.name for e, _ in samples]}
        for modality in {m: None for _, taught in samples for m in taught}:
            features = [f for _, taught in samples for f in taught.get(modality, ())]
            data["items"][modality] = items[modality]
            data["taught"][modality] = pad_sequence(features, batch_first=True)
            data["num_taught"][modality] = torch.tensor([len(f) for f in features])
        return Batch(data)


class FeatureMatcher:
    """The loss of a batch of a `FeatureMatchingCollator`: () mean distance from the teacher's features, in their own
    spread.

    A tower that always gives each feature's median has a loss of about 0.8, where features are normal.

    Args:
        spread: modality -> (E,), the unit of each feature.
    """

    def __init__(self, spread: Mapping[str, Tensor]) -> None:
        self.spread = dict(spread)

    def __call__(self, model: Any, batch: Mapping[str, Any], num_items: Any = None) -> Tensor:
        learned = model(items=batch["items"]).item_features
        losses = []
        for modality, taught in batch["taught"].items():
            features, lengths, _ = learned[modality]  # (N, P, E)
            size = min(features.shape[1], taught.shape[1])
            real = batch["num_taught"][modality].to(features.device)  # (N,)
            real = real if lengths is None else real.minimum(lengths)
            keep = torch.arange(size, device=features.device) < real[:, None]  # (N, P)
            away = (features[:, :size].float() - taught[:, :size].to(features.device)).abs()  # (N, P, E)
            per_row = (away / self.spread[modality].to(away.device)).mean(-1)  # (N, P)
            losses.append((per_row * keep).sum() / keep.sum())
        dummy = [features.sum() * 0 for m, (features, _, _) in learned.items() if m not in batch["taught"]]
        return torch.stack(losses).mean() + sum(dummy)


def _check_rates(name: str, own: Sequence[int], taught: Sequence[int]) -> None:
    """Check that both models give each item about the same number of features.

    Raises:
        KitError: items are cut into parts in another way, or have features at another rate than the teacher's.
    """
    few, share = SLACK
    if len(own) == len(taught) and all(abs(a - b) <= few + share * b for a, b in zip(own, taught, strict=True)):
        return
    raise KitError(
        f"{name}: its items have {own} features, with the teacher {taught}; match_features needs towers of one rate"
    )
