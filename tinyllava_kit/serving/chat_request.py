"""``POST /v1/chat/completions``: what may be asked, and how it is to be answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from .answer_formats import ANY_OBJECT, AnswerFormat
from .answer_options import AnswerOptions
from .api_errors import ApiError
from .json_body import ModelRequest, StrictModel
from .limits import Limits

Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
_Tokens = Annotated[int, Field(ge=1, le=1 << 31)]
_Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
# Parameters of OpenAI's API that no answer here depends on.
_IGNORED = (
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    *("parallel_tool_calls", "reasoning_effort", "verbosity", "prompt_cache_options", "moderation"),
)
# Parameters of OpenAI's API that change the answer and are not supported here.
_ABSENT = {
    "tools": "tools are not supported",
    "functions": "tools are not supported",
    "tool_choice": "tools are not supported",
    "function_call": "tools are not supported",
    "prediction": "predicted outputs are not supported",
    "web_search_options": "web search is not supported",
}


class StreamOptions(StrictModel):
    """What a stream holds beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JsonSchema(StrictModel):
    """A schema that an answer is held to, `strict` or not."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    given: dict[str, JsonValue] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(StrictModel):
    """How an answer is written."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class AudioFormat(StrictModel):
    """How an answer in sound is written."""

    format: Literal["wav", "mp3", "flac", "opus", "pcm16", "aac"]
    voice: JsonValue = None


class ChatRequest(ModelRequest):
    """The body of a request."""

    messages: list[JsonValue] = Field(min_length=1)
    audio: AudioFormat | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    max_completion_tokens: _Tokens | None = None
    max_tokens: _Tokens | None = None
    modalities: list[str] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: Penalty | None = None
    response_format: ResponseFormat | None = None
    seed: _Seed | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None

    @classmethod
    def known(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Values without those that change no answer.

        Raises:
            ApiError: one that would change it, and is not there.
        """
        for name, reason in _ABSENT.items():
            if values.get(name) not in (None, [], "none", {}):
                raise ApiError(f"{name}: {reason}; leave it out", param=name, code="unsupported_parameter")
        return {name: value for name, value in values.items() if name not in (*_IGNORED, *_ABSENT)}

    def check(self, limits: Limits, vocabulary: int, places: int) -> None:
        """Check the request's fields against the limits and against each other.

        Args:
            places: answers that the server generates at once.

        Raises:
            ApiError: more than the limits allow, or what does not go together.
        """
        bounds = (
            ("n", self.n or 1, min(limits.answers, places)),
            ("top_logprobs", self.top_logprobs or 0, min(limits.likeliest, vocabulary)),
            ("logit_bias", len(self.logit_bias or ()), limits.biases),
            ("stop", len(self.stops), limits.stop_strings),
            ("stop", max(map(len, self.stops), default=0), limits.stop_chars),
        )
        for name, value, most in bounds:
            if value > most:
                raise ApiError(f"{name}: {value} is more than {most}", param=name, code="invalid_value")
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError("top_logprobs is given without logprobs: true", param="top_logprobs", code="invalid_value")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ApiError("max_tokens and max_completion_tokens differ; give one", param="max_tokens")
        if self.stream_options is not None and not self.stream:
            raise ApiError("stream_options is given without stream: true", param="stream_options")
        form = self.response_format
        if form is not None and (form.type == "json_schema") != (form.json_schema is not None):
            wanted = 'response_format: give {"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}'
            raise ApiError(wanted, param="response_format", code="invalid_value")
        self._check_sound()

    def _check_sound(self) -> None:
        others = [each for each in self.modalities or () if each not in ("text", "audio")]
        if others:
            raise ApiError(f"modalities: {others[0][:40]!r} is neither text nor audio", param="modalities")
        if self.wants_sound != (self.audio is not None):
            raise ApiError('for sound give modalities: ["text", "audio"] and audio: {"format": ...}', param="audio")
        if not self.wants_sound:
            return
        changed = {
            "response_format": self.schema_of_answer is not None,
            "logprobs": self.logprobs,
            "stop": self.stops,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": self.logit_bias,
        }
        for name, value in changed.items():
            if value:
                raise ApiError(f"{name} does not work with an answer in sound; leave it out", param=name)
        if self.audio is not None and self.audio.format == "aac":
            raise ApiError("audio.format aac is not written; take wav, flac, mp3, opus or pcm16", param="audio.format")
        if self.stream and self.audio is not None and self.audio.format != "pcm16":
            raise ApiError("a stream of sound is pcm16; give audio.format pcm16", param="audio.format")

    @property
    def wants_sound(self) -> bool:
        """Whether the answer is spoken."""
        return "audio" in (self.modalities or ())

    @property
    def schema_of_answer(self) -> Mapping[str, Any] | None:
        """The JSON schema that the answer is held to; None: to none."""
        form = self.response_format
        if form is None or form.type == "text":
            return None
        return ANY_OBJECT if form.json_schema is None else form.json_schema.given

    @property
    def stops(self) -> Sequence[str]:
        """The texts that end an answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    def options(self, number: int, vocabulary: int, form: AnswerFormat | None) -> AnswerOptions:
        """How the answer of that number is generated: greedily, unless it is one of several or the request says more.

        Args:
            form: that of its words.

        Raises:
            ApiError: a bias for an id that is not a token.
        """
        by_chance = (self.n or 1) > 1 or (self.top_p or 1) < 1
        temperature = (1.0 if by_chance else 0.0) if self.temperature is None else self.temperature
        biases = self.logit_bias or {}
        wrong = next((key for key in biases if not (key.isdecimal() and len(key) < 9 and int(key) < vocabulary)), None)
        if wrong is not None:
            raise ApiError(
                f"logit_bias: {wrong[:40]!r} is not a token; tokens are 0 to {vocabulary - 1}", param="logit_bias"
            )
        return AnswerOptions(
            max_new_tokens=self.max_completion_tokens or self.max_tokens,
            temperature=temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=None if self.seed is None else (self.seed + number) % (1 << 63),
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias={int(key): value for key, value in biases.items()},
            num_likeliest=(self.top_logprobs or 0) if self.logprobs else None,
            stop=self.stops,
            force=("audio",) if self.wants_sound else (),
            format=form,
        )
