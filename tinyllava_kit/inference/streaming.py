"""An answer while it is generated: its segments, in this thread or from another, until it ends or is stopped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Collection, Iterator, Mapping
from contextvars import copy_context
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from ..errors import KitError
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.encoded import Encoded
from ..processing.processor import TinyLlavaProcessor
from .generation_options import ends_of
from .items_of_words import ItemsOfWords
from .reply import Reply, parallel_ids, until_end
from .segments import AnswerPart, Segments, Show, nothing


class AnswerStream:
    """One answer that is generated once: by `run`, or by iterating.

    Example:
        >>> stream = stream_answer(model, processor, conversation)  # doctest: +SKIP
        >>> for part in stream:  # text, and chunks of items  # doctest: +SKIP
        ...     print(part, end="")
        >>> stream.reply.text  # doctest: +SKIP

    Iterating runs the model in a thread of its own. A loop that is left, by ``break`` or by an exception, stops it, and
    so does `stop`, which any thread may call; the reply then holds what was generated until then.

    Args:
        prompt: to answer.
        inputs: of `generate`, beside `options`: those of a batch of one.
        options: see `options_for`; an LLM's ``stopping_criteria`` among them count, too.
        force: modalities whose decoders make items of the answer's words, after it.
    """

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        prompt: Encoded,
        inputs: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        force: Collection[str] = (),
    ) -> None:
        self.model, self.processor, self.prompt = model, processor, prompt
        self.inputs, self.options, self.force = inputs, options, force
        self.ids: list[int] = []  # what was generated, the end's id included
        self._reply: Reply | None = None
        self._stopped = threading.Event()
        self._begun = False

    @property
    def reply(self) -> Reply:
        """The whole answer, or what there is of one that was stopped.

        Raises:
            KitError: it is not generated yet.
        """
        if self._reply is None:
            raise KitError("the answer is not generated yet; run the stream, or iterate it to its end")
        return self._reply

    def stop(self) -> None:
        """End the answer with the next token; from any thread, also before it begins."""
        self._stopped.set()

    @torch.no_grad()
    def run(self, show: Show) -> Reply:
        """Generate the answer; `show` gets its segments as they come.

        Whatever `show` raises ends the answer and is raised here; the reply holds what there is.

        Raises:
            KitError: it has been generated before.
        """
        if self._begun:
            raise KitError("an answer is generated once; make another stream")
        self._begun = True
        ends = ends_of(self.model, self.options)
        segments = Segments(self.model.decoders, self.processor, show)
        chosen: list[Tensor] = []
        try:
            self._generate(segments, chosen)
        except BaseException:
            segments.show = nothing  # whom it was for has gone
            segments.end()
            raise
        finally:
            self._reply = Reply(tuple(segments.parts))
        if not self._stopped.is_set():
            words = until_end(self.ids, ends)
            (parallel,) = parallel_ids(self.processor, torch.tensor([self.ids]), chosen)
            made = ItemsOfWords(
                self.model, self.processor, self.prompt, words, parallel, self.options, self._stopped.is_set
            )
            self._reply = Reply((*self._reply.parts, *made.items(self.force, self._reply.text, show)))
        return self._reply

    def _generate(self, segments: Segments, chosen: list[Tensor]) -> None:
        own = self.options.get("stopping_criteria") or ()
        options = {**self.options, "stopping_criteria": StoppingCriteriaList([*own, _Stop(self._stopped)])}
        streamer = _Streamer(segments, self.ids, chosen)
        if not self._stopped.is_set():
            self.model.generate(**self.inputs, streamer=streamer, parallel=chosen, **options)

    def __iter__(self) -> Iterator[AnswerPart]:
        parts: queue.SimpleQueue[AnswerPart | BaseException | None] = queue.SimpleQueue()
        worker = threading.Thread(target=copy_context().run, args=(self._work, parts), name="answer", daemon=True)
        worker.start()
        try:
            while (part := parts.get()) is not None:
                if isinstance(part, BaseException):
                    raise part
                yield part
        finally:
            self.stop()
            worker.join()

    def _work(self, parts: queue.SimpleQueue[AnswerPart | BaseException | None]) -> None:
        try:
            self.run(parts.put)
        except BaseException as error:  # the reader raises it
            parts.put(error)
        parts.put(None)


class _Stop(StoppingCriteria):
    """Ends an answer once the event is set."""

    def __init__(self, stopped: threading.Event) -> None:
        self.stopped = stopped

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self.stopped.is_set(), device=input_ids.device)  # (B,)


class _Streamer(BaseStreamer):
    """What `generate` gives new ids to; the first call is the prompt's."""

    def __init__(self, segments: Segments, ids: list[int], chosen: list[Tensor]) -> None:
        self.segments, self.ids, self.chosen = segments, ids, chosen
        self.seen_prompt = False

    def put(self, value: Tensor) -> None:
        if not self.seen_prompt:
            self.seen_prompt = True
            return
        for each in value.flatten().tolist():
            parallel_ids = [streams.cpu() for streams in self.chosen[len(self.ids) : len(self.ids) + 1]]
            self.ids.append(each)
            self.segments.take(each, parallel_ids)

    def end(self) -> None:
        self.segments.end()
