"""Supervised training on easy-VQA with TRL: the right answer is learned, the picture and the question are not.

pip install trl
python -m examples.trl.sft .demo/runs/match sft-model .demo/easy-vqa/{compare,open}.json --minutes 10
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from .rows import read_rows, said, with_pictures
from .running import arguments, opened, train


def completions(files: Sequence[str], limit: int) -> Dataset:
    """Prompts with their pictures, and the answers that complete them."""
    return with_pictures(
        [
            {"prompt": said("user", r["question"]), "completion": said("assistant", r["answer"]), "image": r["image"]}
            for r in read_rows(files, limit)
        ]
    )


def main(words: Sequence[str] | None = None) -> Any:
    """Train, save, and write the curve."""
    given = arguments(__doc__, words, batch=16)
    model, processor = opened(given)
    settings = SFTConfig(
        given.output, learning_rate=given.rate, per_device_train_batch_size=given.batch, **given.common
    )
    data = completions(given.data, given.limit)
    trainer = SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=processor)
    return train(trainer, given, figure="mean_token_accuracy")


if __name__ == "__main__":
    main()
