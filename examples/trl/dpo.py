"""Direct preference optimisation (Rafailov et al. 2023) on easy-VQA: the right answer is preferred to another one.

    pip install trl
    python -m examples.trl.dpo .demo/runs/match dpo-model .demo/easy-vqa/{compare,open}.json --minutes 10

The rejected answer belongs to another question of the same kind: another colour where a colour is asked for. So the
pairs say nothing that a model could learn without looking.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from .rows import Row, read_rows, said, with_pictures
from .running import arguments, opened, train


def preferences(rows: Sequence[Row], seed: int = 0) -> Dataset:
    """For each row its answer and a wrong one, which is an answer to the same form of question."""
    draw = random.Random(seed)
    known: dict[str, list[str]] = {}
    for row in rows:
        known.setdefault(form(row), []).append(row["answer"])
    pairs = []
    for row in rows:
        others = sorted({answer for answer in known[form(row)] if answer != row["answer"]})
        if others:
            pairs.append(
                {
                    "prompt": said("user", row["question"]),
                    "chosen": said("assistant", row["answer"]),
                    "rejected": said("assistant", draw.choice(others)),
                    "image": row["image"],
                }
            )
    return with_pictures(pairs)


def form(row: Row) -> str:
    """What kind of answer is right: yes or no, a colour, a shape."""
    if row["answer"] in ("yes", "no"):
        return "yes or no"
    return "colour" if "color" in row["question"] else "other"


def main(words: Sequence[str] | None = None) -> Any:
    """Train, save, and write the curve."""
    given = arguments(__doc__, words)
    model, processor = opened(given)
    settings = DPOConfig(
        given.output, beta=0.1, learning_rate=given.rate, per_device_train_batch_size=given.batch, **given.common
    )
    data = preferences(read_rows(given.data, given.limit))
    trainer = DPOTrainer(model=model, args=settings, train_dataset=data, processing_class=processor)
    return train(trainer, given, figure="rewards/accuracies")


if __name__ == "__main__":
    main()
