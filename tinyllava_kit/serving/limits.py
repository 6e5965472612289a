"""How much of everything a request may bring, and a connection may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import KitError, near

Bytes = Annotated[int, Field(ge=1, le=1 << 40)]
Number = Annotated[int, Field(ge=1, le=1 << 31)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Limits(BaseModel):
    """Each with its default; `docs/serving.md` has the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: Bytes = 32 << 20  # of a request
    bodies_bytes: Bytes = 512 << 20  # of all requests that are being read and answered
    json_values: Number = 200_000  # in a body: numbers of a signal count one by one
    json_depth: Number = 32
    messages: Number = 1024
    text_chars: Number = 1_000_000  # of all texts of a request
    items: Number = 64  # of a request
    item_bytes: Bytes = 25 << 20  # of one, as it comes
    decoded_bytes: Bytes = 716 << 20  # of all items of a request, read
    pixels: Number = 100_000_000  # of a picture, by its header
    seconds: Seconds = 600.0  # of a sound, by its header
    stop_strings: Number = 4
    stop_chars: Number = 256  # of each
    answers: Number = 32  # n
    schema_chars: Number = 65_536  # of the schema of a response_format
    schema_seconds: Seconds = 5.0  # until it is compiled
    likeliest: Number = 20  # top_logprobs
    biases: Number = 1024  # entries of logit_bias
    questions: Number = 400  # of a decision
    choices: Number = 255  # of a question
    speech_chars: Number = 4096  # of a text that is spoken
    kept_sounds: Number = 64  # answers in sound that later messages may name
    kept_seconds: Seconds = 3600.0
    connections: Number = 256  # open at once, idle ones too
    head_seconds: Seconds = 10.0  # until a request's head has come
    body_seconds: Seconds = 60.0  # until its body has come
    write_seconds: Seconds = 30.0  # in which a client must read what waits for it
    fetch_bytes: Bytes = 25 << 20  # of an address, where a host is allowed
    fetch_seconds: Seconds = 10.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Limits:
        """The defaults, with the given values in place of some.

        Raises:
            KitError: an unknown limit, or a value that is none.
        """
        unknown = sorted(given.keys() - cls.model_fields.keys())
        if unknown:
            raise KitError(f"no limit is called {unknown[0]!r}; {near(unknown[0], cls.model_fields)}")
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            raise KitError(f"limit {first['loc'][0]}: {first['msg']}, got {first['input']!r}") from error
