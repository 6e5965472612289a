"""Answers: transformers' `generate` with items, a plan and ids of decoders.

Legend: B rows of the batch, T positions, D width of the LLM, K parallel ids at a position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin, LogitsProcessorList

from ..core.decoders import TokenSampler
from ..core.fusion import check_inputs
from ..core.interfaces import Items
from ..core.plan import Plan
from ..errors import KitError
from .moved_batches import items_of_types, join_batches, plan_of_types
from .output import TinyLlavaOutput
from .prompt import PromptText, TextOnly, apart, check_cache, check_cache_kind, check_way, prompt_text, text_by_mask
from .vocabulary.extension import ParallelWriter, token_sampler
from .vocabulary.following import FollowGrammar

_OWN_ARGUMENTS = ("force", "forbid", "parallel")  # of `generate`; transformers does not know them


class Answers(GenerationMixin):
    """``generate`` of a model with towers, connectors and decoders."""

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, inputs_embeds: Any = None, parallel_writer: ParallelWriter | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        # The names stand in the signature because generate looks for them there.
        inputs = super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)
        if not kwargs.get("is_first_iteration"):
            inputs["parallel_ids"] = None if parallel_writer is None else parallel_writer.last(input_ids)  # (B, 1, K)
        return inputs

    def _update_model_kwargs_for_generation(
        self, outputs: TinyLlavaOutput, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        if (writer := model_kwargs.get("parallel_writer")) is not None:
            writer.choose(outputs.parallel_logits)
        return super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        *,
        items: Items | None = None,
        plan: Plan | None = None,
        mm_token_type_ids: Tensor | None = None,
        force: Collection[str] = (),
        forbid: Collection[str] = (),
        parallel: list[Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As in transformers, with `items` and `plan`; returns prompt and new tokens.

        Ids of decoders come in the order that these state, so that every item is whole but for one that
        `max_new_tokens` ends. `force` names modalities whose items the answer must hold, `forbid` those whose items
        it must not hold.

        Ids of streams are chosen beside the main ones, greedily or, with `do_sample`, at its `temperature`; `top_k` and
        `top_p` are of the main ids alone. An empty list as `parallel` gets them as they come, (B, K) for each new
        position, whether they stand there or not: `Grammar.written` says which do.

        The items are embedded here, once: what beams and several returned sequences repeat are ordinary tensors.

        A prompt of text alone is given to transformers as ids. `inputs_embeds` beside a plan are the embeddings of what
        it lays out, in place of `items`. Logits processors see the prompt's text and nothing else, see `TextOnly`.

        Raises:
            KitError: a packed or right-padded batch, or an option that cannot work with embeddings or with streams.
            FusionError: inputs that do not belong to the plan.
        """
        kwargs.setdefault("trust_remote_code", False)  # without a word of it, transformers asks on the terminal
        ids = kwargs.get("input_ids", inputs)
        if mm_token_type_ids is not None and ids is not None:
            modalities, mask = sorted(self.config.modalities), kwargs.get("attention_mask")
            if isinstance(plan, list):  # what a pipeline with batch_size collates
                planned, items = join_batches(plan, items)
            elif plan is None and items is None:
                towers = dict(self.towers.items())
                items, planned = items_of_types(kwargs, towers, mask, mm_token_type_ids, modalities)
            else:
                planned = () if plan is None else plan.items
            kwargs.pop("position_ids", None)
            plan = plan_of_types(ids, mask, mm_token_type_ids, planned, modalities)
        if plan is not None:
            inputs, kwargs = None, self._planned(kwargs, ids, plan, items)
            ids = kwargs["input_ids"]
        else:
            check_inputs(None, items, None, input_ids=ids, inputs_embeds=kwargs.get("inputs_embeds"))
        self._keep_order(kwargs, ids, force, forbid)
        self._write_parallel(kwargs, forbid, parallel)
        has_items = plan is not None and bool(
            plan.item_positions or plan.parallel_ids is not None or "inputs_embeds" in kwargs
        )
        check_way(settings := self._settings(kwargs), kwargs, has_items=has_items)
        check_cache_kind(settings, self.device)
        if has_items:
            if "inputs_embeds" not in signature(self.prepare_inputs_for_generation).parameters:
                raise KitError("prompt and prefix tuning cannot be answered with where there are items; LoRA can")
            if kwargs.get("inputs_embeds") is None:
                kwargs["inputs_embeds"] = self.embed(ids, items, plan)  # (B, T, D)
        if text := prompt_text(ids, plan):
            kwargs["logits_processor"] = [*text, *(kwargs.get("logits_processor") or ())]
        return super().generate(inputs, **kwargs)

    @staticmethod
    def _planned(options: dict[str, Any], ids: Tensor | None, plan: Plan, items: Items | None) -> dict[str, Any]:
        """Generation's options with the ids of the prompt, without what the plan knows better.

        Raises:
            KitError: a packed or right-padded batch, or inputs that do not belong to the plan.
        """
        if plan.is_packed or (plan.padding_side == "right" and len(plan.pad_positions)):
            raise KitError(
                "generate needs one sample a row, padded on the left; make the batch with padding_side='left', in a "
                "pipeline with batch_size by pipe.tokenizer.padding_side = 'left'"
            )
        if ids is None:
            raise KitError("generate needs the input_ids that the plan lays out; give it the batch as it was made")
        options = {**options, "input_ids": ids}
        names = ("input_ids", "inputs_embeds", "attention_mask", "position_ids", "labels")
        check_inputs(plan, items, None, **{name: options.get(name) for name in names})
        check_cache(options.get("past_key_values", options.get("cache")), plan)
        if options.get("attention_mask") is None:
            options["attention_mask"] = plan.attention_mask.to(options["input_ids"].device)
        return {name: value for name, value in options.items() if name not in ("position_ids", "labels", "targets")}

    def _get_logits_processor(
        self,
        *args: Any,
        encoder_input_ids: Tensor | None = None,
        logits_processor: Any = None,
        model_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> LogitsProcessorList:
        """As in transformers, but what of the prompt is no text is hidden from all of them."""
        kwargs |= {"logits_processor": logits_processor, "model_kwargs": model_kwargs}
        build = partial(super()._get_logits_processor, *args, **kwargs)
        inferred = text_by_mask(encoder_input_ids, (model_kwargs or {}).get("attention_mask"))
        given = next((each.ids for each in logits_processor or () if isinstance(each, PromptText)), None)
        text = inferred if given is None else given
        if text is None:
            return build(encoder_input_ids=encoder_input_ids)
        num_ids = self.config.text_config.vocab_size if self.extension is None else self.extension.grammar.size
        return TextOnly(build(encoder_input_ids=apart(text, num_ids)), text, num_ids)

    def _keep_order(
        self, options: dict[str, Any], prompt: Tensor | None, force: Collection[str], forbid: Collection[str]
    ) -> None:
        """Add to generation's `options` what keeps the ids of decoders in order.

        Raises:
            KitError: a modality that the model does not write; a repetition penalty, which distorts its ids.
        """
        if self.extension is None:
            if force or forbid:
                raise KitError(
                    f"generate writes text only, not {', '.join((*force, *forbid))}; tinyllava_kit.replies gives what "
                    "decoders make of it"
                )
            return
        grammar = self.extension.grammar
        if set(forbid) < set(grammar.begin) and options.setdefault("repetition_penalty", 1.0) != 1.0:
            raise KitError(
                "repetition_penalty distorts the ids of decoders, which repeat by nature; leave it out, or forbid "
                + ", ".join(sorted(set(grammar.begin) - set(forbid)))
            )
        config = options.get("generation_config") or self.generation_config
        ends = options.get("eos_token_id", config.eos_token_id)
        ends = ends.tolist() if isinstance(ends, Tensor) else ends
        ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        order = FollowGrammar(grammar, prompt=prompt, ends=ends, force=force, forbid=forbid)
        options["logits_processor"] = [*(options.get("logits_processor") or ()), order]

    def _write_parallel(self, options: dict[str, Any], forbid: Collection[str], chosen: list[Tensor] | None) -> None:
        """Add to generation's `options` what chooses the ids beside the main ones, where an answer may have some.

        Raises:
            KitError: beams, an assistant or no cache, with which they cannot be chosen.
        """
        writing = [] if self.extension is None else [m for m, d in self.extension.decoders.items() if d.parallel]
        if set(writing) <= set(forbid):
            return
        config = self._settings(options)
        guesses = options.get("assistant_model") is not None or config.prompt_lookup_num_tokens is not None
        if config.num_beams > 1 or guesses or not config.use_cache:
            what = "num_beams" if config.num_beams > 1 else "assisted generation" if guesses else "use_cache=False"
            raise KitError(
                f"{what} cannot be used where an answer may have several ids at a position; leave it out, or forbid "
                + ", ".join(sorted(writing))
            )
        chosen = [] if chosen is None else chosen
        options["parallel_writer"] = ParallelWriter(self.extension.grammar, self.sample_as(options), chosen)

    def sample_as(self, options: Mapping[str, Any]) -> TokenSampler:
        """How ids beside the LLM's own are taken under generation's `options`: greedily, or by its `temperature`."""
        config = self._settings(options)
        return token_sampler(config.do_sample, config.temperature)

    def _settings(self, options: Mapping[str, Any]) -> Any:
        """What `generate` makes of its options."""
        others = {name: value for name, value in options.items() if name not in ("generation_config", *_OWN_ARGUMENTS)}
        return self._prepare_generation_config(options.get("generation_config"), **others)[0]
