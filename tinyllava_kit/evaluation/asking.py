"""Answers of a model to questions, each beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from ..core.conversation import Conversation
from ..inference.answering import answer, without_defaults
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor
from .controls import Control, content_key, controlled
from .judged import Judged
from .question import Question


def answers(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    questions: Sequence[Question],
    *,
    control: Control = "as given",
    batch_size: int = 32,
    max_new_tokens: int | None = 8,
    seed: int = 0,
    known: Mapping[int, str] | None = None,
    keep: Callable[[Mapping[int, str]], None] = lambda said: None,
    **generation: Any,
) -> list[Judged]:
    """Ask every question, in batches padded on the left; the same about the same once, where answers are not sampled.

    Args:
        control: what is done to the items first; see `controls.controlled`. `seed`: of its shuffle.
        batch_size: questions asked at a time. `max_new_tokens`: of an answer; see `answering.answer`.
        known: place of a question -> what was said to it before; it is not asked again.
        keep: given what was said, after each batch, under the places of the questions.
        generation: options of ``generate``; greedy where they do not say otherwise, whatever the LLM's
            ``generation_config.json`` says.

    Raises:
        KitError: see `controlled` and `answering.answer`.
    """
    texts = dict(known or {})
    if len(texts) == len(questions):  # a control may read items
        return [question.judged(texts[place]) for place, question in enumerate(questions)]
    conversations = controlled([q.conversation for q in questions], control, processor.modalities, seed=seed)
    said: dict[Hashable, str] = {}
    waiting: dict[Hashable, tuple[Conversation, list[int]]] = {}  # what is asked next, and the places that ask it
    for place, conversation in enumerate(conversations):
        key = place if generation.get("do_sample") else content_key(conversation)
        if place not in texts and key in said:
            texts[place] = said[key]
            keep({place: said[key]})
        elif place not in texts:
            waiting.setdefault(key, (conversation, []))[1].append(place)
        if len(waiting) == batch_size or (waiting and place == len(questions) - 1):
            asked = [conversation for conversation, _ in waiting.values()]
            with without_defaults(model):
                given = answer(model, processor, asked, max_new_tokens=max_new_tokens, **generation)
            said |= zip(waiting, given, strict=True)
            new = {place: said[key] for key, (_, places) in waiting.items() for place in places}
            texts |= new
            keep(new)
            waiting = {}
    return [question.judged(texts[place]) for place, question in enumerate(questions)]
