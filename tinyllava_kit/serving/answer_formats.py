"""Answers in JSON, of a schema or of any: each next id is one that the format allows.

Legend: V ids that are scored, t ids of the prompt and of the answer so far.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from ..errors import KitError
from ..plugin.extras import imported

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_PACKAGE = "llguidance"
_SPACES = {"whitespace_pattern": "[ ]?"}  # between two marks: a model that may write more writes nothing else
_OF_NAMES = ("properties", "patternProperties", "$defs", "definitions")
_OF_LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")
_ALONE = ("items", "additionalProperties", "additionalItems")


class FormatError(KitError):
    """A schema that no answer can be held to, or an answer that could not be held to its own."""


class AnswerFormats:
    """Makes formats of schemas.

    Args:
        tokenizer: of the LLM. ends: the ids that end its answers; where there are none, the tokenizer's.
    """

    def __init__(self, tokenizer: Any, ends: Collection[int]) -> None:
        self.tokenizer = tokenizer
        self.ends = sorted(ends) or [end for end in (tokenizer.eos_token_id,) if end is not None]

    @cached_property
    def vocabulary(self) -> Any:
        """What each id spells; some tokenizers take a second.

        Raises:
            FormatError: the package is missing, or cannot read this tokenizer.
        """
        try:
            return imported(f"{_PACKAGE}.hf", "response_format").from_tokenizer(self.tokenizer, eos_token=self.ends)
        except KitError as error:
            raise FormatError(str(error)) from error
        except Exception as error:  # the package's own, of tokenizers that it does not know
            raise FormatError(f"response_format does not work with this model's tokenizer: {error}") from error

    def of(self, schema: Mapping[str, Any], seconds: float) -> AnswerFormat:
        """The format of a JSON schema.

        Args:
            seconds: that are spent to find where a wrong one is wrong.

        Raises:
            FormatError: a wrong schema, or one with unsupported keywords; says where.
        """
        matcher = self._matcher(schema)
        if matcher.is_error():
            until = time.monotonic() + seconds
            fault = _fault(matcher)
            place = self._place(schema, fault, until)
            raise FormatError(f"response_format: the schema cannot be held to{place}: {fault}")
        return AnswerFormat(matcher, self.ends)

    def _matcher(self, schema: Mapping[str, Any]) -> Any:
        package = imported(_PACKAGE, "response_format")
        grammar = package.LLMatcher.grammar_from_json_schema(dict(schema), overrides=_SPACES)
        return package.LLMatcher(self.vocabulary, grammar, log_level=0)

    def _place(self, schema: Mapping[str, Any], fault: str, until: float) -> str:
        """Where the innermost part is that is wrong in the same way."""
        for path, part in _parts(schema):
            if time.monotonic() < until and (found := self._matcher(part)).is_error() and _fault(found) == fault:
                return f" at {path}{self._place(part, fault, until).removeprefix(' at ')}"
        return ""


def _fault(matcher: Any) -> str:
    return str(matcher.get_error()).partition("\n")[0]


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schemas in a schema, and where they stand."""
    given: list[tuple[str, Any]] = [(f"/{key}", schema.get(key)) for key in _ALONE]
    for key in _OF_NAMES:
        if isinstance(named := schema.get(key), Mapping):
            given += [(f"/{key}/{name}", part) for name, part in named.items()]
    for key in _OF_LISTS:
        if isinstance(listed := schema.get(key), list):
            given += [(f"/{key}/{number}", part) for number, part in enumerate(listed)]
    return ((path, part) for path, part in given if isinstance(part, Mapping))


class AnswerFormat:
    """A format, compiled. ends: the ids that end an answer in it."""

    def __init__(self, matcher: Any, ends: list[int]) -> None:
        self._matcher, self.ends = matcher, ends

    def mask(self, length: int) -> FormatMask:
        """What holds one answer behind `length` ids to it."""
        return FormatMask(self._matcher.deep_copy(), length)


class FormatMask(LogitsProcessor):
    """Masks the ids that the format of one answer does not allow next, from its first id to its end."""

    def __init__(self, matcher: Any, length: int) -> None:
        self._matcher, self._seen = matcher, length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(1, t), (1, V) -> (1, V)."""
        self._matcher.consume_tokens(input_ids[0, self._seen :].tolist())
        self._seen = input_ids.shape[1]
        return scores.masked_fill(~self._allowed(scores.shape[1]).to(scores.device), -torch.inf)

    def _allowed(self, number: int) -> Tensor:
        """(V,); ids that the tokenizer has not, as those of items and of sounds, never. Behind a fault, an end."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = torch.zeros(number, dtype=torch.bool)
        known = torch.from_numpy(bits[:number]).bool()
        allowed[: len(known)] = known
        return allowed

    def check(self) -> None:
        """Check that the answer still follows its format.

        Raises:
            FormatError: the answer was given up, because its format takes too much at one of its places.
        """
        if self._matcher.is_error():
            raise FormatError(f"the answer could not be held to its response_format: {_fault(self._matcher)}")
