"""``/v1/decisions``: typed questions about texts, pictures and sounds; every answer with its probability.

Nothing is generated: the answers that a question allows are compared by how probable the model finds each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..core.conversation import Conversation, Turn
from ..evaluation.likelihood import answer_log_probs
from ..processing.encoded import Encoded
from .api_errors import ApiError
from .json_body import ModelRequest, StrictModel
from .service import Service
from .usage import prompt_tokens

_IGNORED = ("prompt_cache_key", "prompt_cache_options", "safety_identifier")
_YES, _NO = "yes", "no"
_Label = Annotated[str, Field(min_length=1, max_length=1000)]


class PredicateQuestion(StrictModel):
    """How probable it is that a statement is true."""

    type: Literal["predicate"]
    name: str | None = None
    instructions: JsonValue

    def answers(self) -> list[str]:
        """What is compared."""
        return [_YES, _NO]

    def advice(self) -> str:
        """How the model is told to answer."""
        return "Answer yes or no."

    def result(self, probabilities: Sequence[float]) -> dict[str, Any]:
        """As the API says it."""
        return {"type": "predicate", "name": self.name, "probability": probabilities[0]}


class ChoiceValue(StrictModel):
    """One of several answers."""

    value: _Label | bool
    description: str | None = None

    @property
    def text(self) -> str:
        """As the model reads it."""
        return str(self.value).lower() if isinstance(self.value, bool) else self.value


class ChoiceQuestion(StrictModel):
    """Which of several answers is right."""

    type: Literal["choice"]
    name: str | None = None
    instructions: JsonValue
    choices: list[ChoiceValue] = Field(min_length=2)

    def answers(self) -> list[str]:
        """What is compared."""
        return [each.text for each in self.choices]

    def advice(self) -> str:
        """How the model is told to answer."""
        return _listed([(each.text, each.description) for each in self.choices])

    def result(self, probabilities: Sequence[float]) -> dict[str, Any]:
        """As the API says it."""
        best = max(range(len(probabilities)), key=lambda number: probabilities[number])
        found = [
            {"value": each.value, "probability": value} for each, value in zip(self.choices, probabilities, strict=True)
        ]
        confidence = probabilities[best]
        head = {"type": "choice", "name": self.name, "choice": self.choices[best].value}
        return {**head, "confidence": confidence, "probabilities": found}


class ScoreLevel(StrictModel):
    """One step of a scale."""

    label: _Label
    description: str | None = None


class ScoreQuestion(StrictModel):
    """Where on a scale, whose lowest level is 0."""

    type: Literal["score"]
    name: str | None = None
    instructions: JsonValue
    levels: list[ScoreLevel] = Field(min_length=2, max_length=10)

    def answers(self) -> list[str]:
        """What is compared."""
        return [each.label for each in self.levels]

    def advice(self) -> str:
        """How the model is told to answer."""
        return _listed([(each.label, each.description) for each in self.levels])

    def result(self, probabilities: Sequence[float]) -> dict[str, Any]:
        """As the API says it."""
        found = [
            {"label": each.label, "value": number, "probability": value}
            for number, (each, value) in enumerate(zip(self.levels, probabilities, strict=True))
        ]
        mean = sum(number * value for number, value in enumerate(probabilities))
        head = {"type": "score", "name": self.name, "score": mean, "confidence": max(probabilities)}
        return {**head, "probabilities": found}


TypedQuestion = Annotated[PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class DecisionRequest(ModelRequest):
    """The body of a request."""

    input: str | list[JsonValue]
    questions: list[TypedQuestion] = Field(min_length=1)

    @classmethod
    def known(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Values without those that change no answer."""
        return {name: value for name, value in values.items() if name not in _IGNORED}


async def decisions(request: Request, service: Service) -> Response:
    """Answer typed questions.

    Raises:
        ApiError, KitError: what cannot be asked.
    """
    asked = await service.asked(request, DecisionRequest, DecisionRequest.known)
    _check(asked, service)
    with service.engine.places():
        answers, tokens = [], 0
        for question in asked.questions:
            samples = await _samples(service, asked, question)
            counts = prompt_tokens(samples[0])
            service.metrics.prompt_tokens.update(counts)
            tokens += sum(counts.values())
            answers.append(question.result(await _probabilities(service, samples)))
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }
    return JSONResponse({"model": service.name, "answers": answers, "usage": usage})


def _check(asked: DecisionRequest, service: Service) -> None:
    if len(asked.questions) > service.limits.questions:
        raise ApiError(f"more than {service.limits.questions} questions", param="questions")
    for number, question in enumerate(asked.questions):
        answers, param = question.answers(), f"questions.{number}"
        if len(answers) > service.limits.choices:
            raise ApiError(f"{param}: more than {service.limits.choices} choices", param=param)
        if len(set(answers)) < len(answers):
            raise ApiError(f"{param}: the same answer twice", param=param)


async def _samples(service: Service, asked: DecisionRequest, question: Any) -> list[Encoded]:
    """The conversation with each answer that the question allows."""
    given = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else asked.input
    parts = question.instructions if isinstance(question.instructions, list) else [question.instructions]
    turn = {"role": "user", "content": [*parts, {"type": "text", "text": f"\n{question.advice()}"}]}
    messages = [*map(_message, given), turn]
    conversation = await service.conversation(_joined(messages))
    engine = service.engine

    def encode() -> list[Encoded]:
        read = {id(item): engine.processor.read_item(item) for item in engine.processor.input_items(conversation)}
        how: Any = {"sanitize": True, "reader": lambda item: read[id(item)], "writer": engine.codes}
        answered = [_answered(conversation, answer) for answer in question.answers()]
        return [engine.processor.encode(each, **how) for each in answered]

    return await engine.read(encode)


def _message(message: Any) -> Any:
    """A message without its ``type``, which says that it is one."""
    if isinstance(message, dict) and message.get("type", "message") != "message":
        raise ApiError(f"input: {str(message['type'])[:40]!r} is not supported; give messages", param="input")
    return {key: value for key, value in message.items() if key != "type"} if isinstance(message, dict) else message


def _joined(messages: list[Any]) -> list[Any]:
    """The messages, a question of the user behind one of the user's as one turn."""
    *_, last, question = [None, *messages]  # of no message at all, the question is left
    if not (isinstance(last, dict) and last.get("role") == "user"):
        return messages
    content = last.get("content")
    parts = [content] if isinstance(content, str) else content
    if not isinstance(parts, list):
        return messages
    return [*messages[:-2], {**last, "content": [*parts, "\n", *question["content"]]}]


def _answered(conversation: Conversation, answer: str) -> Conversation:
    return replace(conversation, turns=(*conversation.turns, Turn("assistant", answer)))


async def _probabilities(service: Service, samples: list[Encoded]) -> list[float]:
    """Of each answer, among those that are allowed."""
    engine = service.engine
    found = await engine.alone(lambda: answer_log_probs(engine.model, engine.processor, samples))
    values: list[float] = torch.softmax(found.double(), 0).tolist()
    return values


def _listed(answers: Sequence[tuple[str, str | None]]) -> str:
    lines = [f"- {answer}: {description}" for answer, description in answers if description]
    return "\n".join([f"Answer with one of: {', '.join(answer for answer, _ in answers)}.", *lines])
