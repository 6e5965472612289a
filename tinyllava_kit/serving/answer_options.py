"""What a request says of how its answer is generated, and the choice of ids that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation import GenerationMode

from ..core.plan import plan
from ..core.spans import Sample, TextSpan
from ..inference.generation_options import options_for
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.prompt import PromptText, prompt_text
from ..processing.encoded import Encoded
from ..processing.processor import TinyLlavaProcessor
from .answer_formats import AnswerFormat, FormatMask
from .token_choice import CountPenalties, TokenBias, TokenChoice


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How one answer is generated.

    max_new_tokens: None: as many as `ask` gives, or as there is room for. temperature: 0: the likeliest id.
    num_likeliest: how many ids are scored beside each; None: none is scored. stop: texts that end the answer and are
    no part of it. force: modalities whose items the answer holds. format: what its words must be.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    num_likeliest: int | None = None
    stop: Sequence[str] = ()
    force: Sequence[str] = ()
    format: AnswerFormat | None = None

    def sampling(self) -> dict[str, Any]:
        """The options of `generate` for sampling, and for the ends of a format."""
        told: dict[str, Any] = {}
        if self.temperature:
            told |= {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p}
        if self.format is not None:
            told["eos_token_id"] = self.format.ends
        return told

    def scoring(self, length: int, device: torch.device) -> list[LogitsProcessor]:
        """What changes the scores of an answer behind `length` ids, beside what `generate` knows."""
        made: list[LogitsProcessor] = []
        if self.presence_penalty or self.frequency_penalty:
            made.append(CountPenalties(length, presence=self.presence_penalty, frequency=self.frequency_penalty))
        if self.logit_bias:
            made.append(TokenBias(self.logit_bias, device))
        if self.format is not None:
            made.append(self.format.mask(length))
        return made


@dataclass(frozen=True)
class PreparedAnswer:
    """How a prompt is answered.

    options: of `generate`. choice: the same, id by id. is_batchable: whether the next id depends on nothing but the
    LLM's scores and the ids before, all of them the LLM's own. mask: holds it to its format.
    """

    options: Mapping[str, Any]
    choice: TokenChoice
    is_batchable: bool
    mask: FormatMask | None


def prepare(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, prompt: Encoded, how: AnswerOptions
) -> PreparedAnswer:
    """How a prompt is answered, in words.

    Raises:
        KitError: no room for the answer.
    """
    laid_out, layout = plan([prompt.spans], pad_id=processor.pad_id)
    ids = laid_out["input_ids"].to(model.device)  # (1, T)
    length = ids.shape[1]
    options = options_for(model, processor, length, how.max_new_tokens, **how.sampling())
    settings = model._settings(options)
    settings.max_length = length + options["max_new_tokens"]
    mixin: Any = model  # whose methods want a model that types its own generation
    mixin._prepare_special_tokens(settings, True, device=model.device, batch_size=1)
    beside = how.scoring(length, model.device)
    processors = model._get_logits_processor(
        generation_config=settings,
        input_ids_seq_length=length,
        encoder_input_ids=ids,
        logits_processor=[*prompt_text(ids, layout), *beside],
        device=model.device,
        model_kwargs={"attention_mask": torch.ones_like(ids)},
    )
    changes = [each for each in processors if not isinstance(each, PromptText)]
    choice = TokenChoice(
        ids,
        processors if changes else LogitsProcessorList(),
        num_ids=None if model.extension is None else model.extension.grammar.size,
        do_sample=settings.do_sample,
        seed=how.seed,
        num_likeliest=how.num_likeliest,
    )
    alone = settings.get_generation_mode() not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)
    alone = alone or settings.guidance_scale not in (None, 1) or not _is_of_llm(prompt.spans, model)
    mask = next((each for each in beside if isinstance(each, FormatMask)), None)
    return PreparedAnswer({**options, "logits_processor": beside}, choice, not alone, mask)


def _is_of_llm(spans: Sample, model: TinyLlavaForConditionalGeneration) -> bool:
    """Whether every id of a prompt is the LLM's own: none of a decoder's, and none beside others."""
    if model.extension is None:
        return True
    first = model.extension.grammar.num_text
    text = [span for span in spans if isinstance(span, TextSpan)]
    return all(span.parallel is None and max(span.ids, default=0) < first for span in text)
