"""Group relative policy optimisation (Shao et al. 2024) on easy-VQA, rewarded by whether the answer is right.

    pip install trl
    python -m examples.trl.grpo .demo/runs/match grpo-model .demo/easy-vqa/{compare,open}.json --minutes 10

The model answers each question several times; an answer that is right counts 1, one that only holds the right word
among others 0.2, and the answers above the mean of their group become likelier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from .rows import read_rows, said, with_pictures
from .running import arguments, opened, train

RIGHT, AMONG_OTHERS = 1.0, 0.2
ANSWERS = 8  # to each question


def questions(files: Sequence[str], limit: int) -> Dataset:
    """Prompts with their pictures; the right answer goes to the reward."""
    rows = read_rows(files, limit)
    return with_pictures(
        [{"prompt": said("user", r["question"]), "answer": r["answer"], "image": r["image"]} for r in rows]
    )


def right_answer(completions: Sequence[Any], answer: Sequence[str], **others: Any) -> list[float]:
    """The reward of each completion, a message in a list.

    Example:
        >>> right_answer([[{"content": "Red."}], [{"content": "a red one"}], [{"content": "no"}]], ["red"] * 3)
        [1.0, 0.2, 0.0]
    """
    return [_reward(completion[0]["content"], truth) for completion, truth in zip(completions, answer, strict=True)]


def _reward(said: str, truth: str) -> float:
    words = said.lower().replace(".", " ").replace(",", " ").split()
    if words == truth.lower().split():
        return RIGHT
    return AMONG_OTHERS if truth.lower() in words else 0.0


def main(words: Sequence[str] | None = None) -> Any:
    """Train, save, and write the curve."""
    given = arguments(__doc__, words, batch=32)
    model, processor = opened(given)
    settings = GRPOConfig(
        given.output,
        learning_rate=given.rate,
        per_device_train_batch_size=given.batch,
        num_generations=min(ANSWERS, given.batch),
        max_completion_length=8,
        gradient_checkpointing=False,
        beta=0.0,
        **given.common,
    )
    data = questions(given.data, given.limit)
    trainer = GRPOTrainer(
        model=model, reward_funcs=right_answer, args=settings, train_dataset=data, processing_class=processor
    )
    return train(trainer, given, figure="reward")


if __name__ == "__main__":
    main()
