"""A model of this kit as lmms-eval's model of messages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms

from tinyllava_kit import KitError, answer, load_pretrained, without_defaults

# A request's arguments: the text, what makes messages of a document, options, the document's place, task and split.
Arguments = tuple[str, Any, Mapping[str, Any], Any, str, str]


class TinyLlavaKit(lmms):
    """Answers lmms-eval's questions with a model of this kit.

    Args:
        pretrained: see `load_pretrained`. `dtype`: of the weights.
        batch_size: questions asked at a time. `device`: where the model is put.

    Raises:
        KitError: no such model, a value that makes no sense, or several processes.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        *,
        dtype: str = "auto",
        batch_size: int | str = 1,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise KitError("tinyllava_kit in lmms-eval runs in one process; start it without a launcher")
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise KitError(f"batch_size is {batch_size!r}; expected a number of questions")
        if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise KitError(f"dtype is {dtype!r}; expected auto, float32, bfloat16 or float16")
        self.batch_size = int(batch_size)
        weights = dtype if dtype == "auto" else getattr(torch, dtype)
        self.model, self.processor = load_pretrained(pretrained, dtype=weights, device_map=device)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """The answer to each request, in order."""
        said: dict[int, str] = {}
        order = sorted(range(len(requests)), key=lambda place: repr(requests[place].args[2]))
        for _, alike in groupby(order, key=lambda place: repr(requests[place].args[2])):
            places = list(alike)
            for start in range(0, len(places), self.batch_size):
                said |= self._answer(requests, places[start : start + self.batch_size])
        return [said[place] for place in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Not there."""
        raise NotImplementedError(
            "tinyllava_kit runs lmms-eval's tasks that generate, not those that compare likelihoods"
        )

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Not there."""
        raise NotImplementedError("tinyllava_kit runs lmms-eval's tasks of one round")

    def _answer(self, requests: Sequence[Instance], places: Sequence[int]) -> dict[int, str]:
        """Requests with the same options, at once."""
        arguments: list[Arguments] = [requests[place].args for place in places]
        conversations = []
        for _, to_messages, _, document, task, split in arguments:
            messages = [_in_front(message) for message in to_messages(self.task_dict[task][split][document])]
            conversations.append(self.processor.conversation(messages, name=f"{task} {split}[{document}]"))
        options, until = _options(arguments[0][2])
        with without_defaults(self.model):
            said = answer(self.model, self.processor, conversations, **options)
        texts = [_cut(text, until) for text in said]
        for (context, _, given, *_), text in zip(arguments, texts, strict=True):
            self.cache_hook.add_partial("generate_until", (context, given), text)
        return dict(zip(places, texts, strict=True))


def _in_front(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Each item that stands in front of all text gets a line of its own, as in LLaVA's rows and in `tinyllava ask`."""
    content = message["content"]
    if isinstance(content, str):
        return message
    kinds = [part["type"] for part in content]
    front = kinds.index("text") if "text" in kinds else 0
    lines = [piece for item in content[:front] for piece in (item, "\n")]
    return {**message, "content": [*lines, *content[front:]]}


def _options(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What ``generate`` takes of a task's options, and the texts at which an answer ends."""
    until = given.get("until") or []
    temperature = given.get("temperature") or 0.0
    options: dict[str, Any] = {"max_new_tokens": given.get("max_new_tokens")}
    options["do_sample"] = bool(given.get("do_sample", temperature > 0)) and temperature > 0
    if options["do_sample"]:
        options |= {"temperature": temperature, **_given(given, "top_p")}
    return options | _given(given, "num_beams"), [until] if isinstance(until, str) else list(until)


def _given(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {} if options.get(name) is None else {name: options[name]}


def _cut(text: str, until: Sequence[str]) -> str:
    """The text before the first of `until` that it holds."""
    ends = [text.find(mark) for mark in until if mark and mark in text]
    return text[: min(ends)].strip() if ends else text
