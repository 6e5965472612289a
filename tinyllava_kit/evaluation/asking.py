"""Answers of a model to questions, each beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from ..core.conversation import Conversation
from ..distributed import from_all, rank, world_size
from ..inference.answering import answer, without_defaults
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor
from .controls import Control, content_key, controlled
from .judged import Judged
from .question import Question

_Batch = dict[Hashable, tuple[Conversation, list[int]]]  # asked together, each with the places that ask it


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
    share: bool = False,
    **generation: Any,
) -> list[Judged]:
    """Ask every question, in batches padded on the left; the same about the same once, where answers are not sampled.

    Args:
        control: how the items are changed first; see `controls.controlled`. `seed`: of its shuffle.
        batch_size: questions asked at a time. `max_new_tokens`: of an answer; see `answering.answer`.
        known: place of a question -> its earlier answer; it is not asked again.
        keep: gets the answers after each batch, by the places of the questions.
        share: the processes of a distributed run, which all call this, ask a batch each in turn, and all have all
            answers: those that one process alone would get, because the batches are the same.
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
    full: list[_Batch] = []
    waiting: _Batch = {}

    def ask(batches: Sequence[_Batch]) -> None:
        own = batches[rank()] if share and rank() < len(batches) else {} if share else batches[0]
        new: dict[Hashable, str] = {}
        if own:
            with without_defaults(model):
                asked = [conversation for conversation, _ in own.values()]
                given = answer(model, processor, asked, max_new_tokens=max_new_tokens, **generation)
            new = dict(zip(own, given, strict=True))
        for each in from_all(new) if share else [new]:
            said.update(each)
        for batch in batches:
            found = {place: said[key] for key, (_, places) in batch.items() for place in places}
            texts.update(found)
            keep(found)

    for place, conversation in enumerate(conversations):
        if place not in texts:
            key = place if generation.get("do_sample") else content_key(conversation)
            if key in said:
                texts[place] = said[key]
                keep({place: said[key]})
            else:
                batch = next((each for each in full if key in each), waiting)
                batch.setdefault(key, (conversation, []))[1].append(place)
        if len(waiting) == batch_size:
            full, waiting = [*full, waiting], {}
        if len(full) == (world_size() if share else 1):
            ask(full)
            full = []
    rest = [*full, waiting] if waiting else full
    if rest:
        ask(rest)
    return [question.judged(texts[place]) for place, question in enumerate(questions)]
