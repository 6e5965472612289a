"""Held-out rows of a stage: their loss and a scorer's figures while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from ...data.dataset import ConversationDataset
from ...evaluation.asking import answers
from ...evaluation.question import Question
from ...evaluation.scorer import Scorer, find_scorer
from ...model.modeling import TinyLlavaForConditionalGeneration
from ..objectives.objective import Lesson, lesson_of
from ..recipe import Stage
from ..stage_settings import Validation

LOSS, SCORE = "loss", "score"  # what decides which checkpoint is the best; logged as transformers does, with `eval_`


@dataclass(frozen=True)
class HeldOut:
    """Rows that a stage is judged on and does not learn from.

    Args:
        dataset: the rows.
        how: what the recipe says.
        objective: how they make batches, and their loss.
        batch_size: rows of a batch.
        questions: to the model, where a scorer judges it.
        scorer: of the answers; None: the loss alone counts.
    """

    dataset: ConversationDataset
    how: Validation
    objective: Lesson
    batch_size: int
    questions: Sequence[Question] = ()
    scorer: Scorer | None = None

    @classmethod
    def of(cls, stage: Stage, dataset: ConversationDataset, model: TinyLlavaForConditionalGeneration) -> HeldOut:
        """Of a stage with `validation`, and the rows that it names.

        Raises:
            KitError: a row that the scorer cannot judge; an objective that does not fit the rows.
        """
        how = stage.validation
        assert how is not None
        objective = lesson_of(stage.model_copy(update={"packing": None}), dataset, model)
        if how.scorer is None:
            return cls(dataset, how, objective, stage.batch_size)
        scorer = find_scorer(how.scorer)
        questions = [Question.from_conversation(conversation) for conversation in dataset.conversations]
        scorer.check(questions)
        return cls(dataset, how, objective, stage.batch_size, questions, scorer)

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self) -> Iterator[Any]:
        """Every row once, in order."""
        samples, size = self.objective.samples, self.batch_size
        for start in range(0, len(self), size):
            yield self.objective.collator([samples[index] for index in range(start, min(start + size, len(self)))])

    def figures(self, model: TinyLlavaForConditionalGeneration) -> dict[str, float]:
        """The scorer's figures of the model's answers, and the first of them as `SCORE`; empty without a scorer."""
        if self.scorer is None:
            return {}
        judged = answers(
            model,
            self.dataset.processor,
            self.questions,
            batch_size=self.batch_size,
            max_new_tokens=self.how.max_new_tokens,
        )
        found = {name: figure.value for name, figure in self.scorer.figures(judged).items()}
        return {**found, SCORE: next(iter(found.values()))}


class ValidateAtEnd(TrainerCallback):
    """Validates after the last step, too, whatever its number is."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps or control.should_training_stop:
            control.should_evaluate = True
