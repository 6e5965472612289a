"""vLLM's processor of requests, by means of the kit's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

from torch import Tensor
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdateDetails,
)
from vllm.multimodal.processing.processor import PlaceholderFeaturesInfo
from vllm.renderers import TokenizeParams

from tinyllava_kit import KitError, TinyLlavaProcessor

from .items import IDS, ROW, RequestItems
from .prompts import cut_at_placeholders


class SourceParser(MultiModalDataParser):
    """Leaves sounds as they come, with their rate: the kit reads and resamples them."""

    def _get_audio_with_sr(self, audio: Any) -> Any:
        return audio, None


class ItemInfo(BaseProcessingInfo):
    """What the model reads, and how many tokens an item is."""

    @cached_property
    def items(self) -> RequestItems:
        """The kit's processor of the model, asked for items."""
        config = self.ctx.model_config
        return RequestItems(TinyLlavaProcessor.from_pretrained(config.model, revision=config.revision))

    def get_data_parser(self) -> MultiModalDataParser:
        return SourceParser(expected_hidden_size=self._get_expected_hidden_size())

    def get_default_tok_params(self) -> TokenizeParams:
        """Prompts are what the chat template writes, with a begin token where the model has one."""
        return super().get_default_tok_params().with_kwargs(add_special_tokens=False)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return dict.fromkeys(self.items.processor.reads)

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        return {m: self.items.num_tokens(m, self.items.largest(m, seq_len)) for m in mm_counts}


class LargestItems(BaseDummyInputsBuilder[ItemInfo]):
    """Items as large as any, with which vLLM finds out how much memory it needs."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        specs = self.info.items.processor.specs
        return "".join(specs[modality].token.placeholder * count for modality, count in mm_counts.items())

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {m: [self.info.items.largest(m, seq_len)] * count for m, count in mm_counts.items()}


class ItemProcessing(BaseMultiModalProcessor[ItemInfo]):
    """Items to fields of the model, and prompts to ids with the right number of places."""

    def _apply_hf_processor_main(self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        """The fields of all items, each a list with an entry for an item.

        Raises:
            ValueError: an item cannot be read, or `hf_kwargs` ask for another preparation than the model's own.
        """
        if hf_kwargs:
            raise ValueError(f"mm_processor_kwargs {dict(hf_kwargs)!r}: how items are prepared belongs to the model")
        fields: dict[str, list[Any]] = {}
        for modality, given in mm_items.items():
            for item in given.get_all():
                with _answered():
                    made = self.info.items.fields(modality, item)
                for key, value in made.items():
                    fields.setdefault(key, []).append(value)
        return BatchFeature(fields)

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        """Rows stay on the CPU until the model collates them."""
        return {key: MultiModalFieldConfig.batched(key.partition("_")[0], keep_on_cpu=True) for key in hf_inputs}

    def _get_prompt_updates(
        self, mm_items: MultiModalDataItems, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[PromptReplacement]:
        processor = self.info.items.processor

        def content(modality: str, number: int) -> PromptUpdateDetails:
            ids: Tensor = out_mm_kwargs[modality][number][f"{modality}_{IDS}"].data  # (n,)
            rows = ids == ROW
            return PromptUpdateDetails(ids.masked_fill(rows, processor.pad_id).tolist(), partial(_given, rows))

        def target(modality: str) -> list[int]:
            placeholder = processor.specs[modality].token.placeholder
            ids: list[int] = processor.tokenizer.encode(placeholder, add_special_tokens=False)
            return ids

        return [PromptReplacement(m, target(m), partial(content, m)) for m in mm_items]

    def _apply_prompt_updates(
        self, token_ids: list[int], mm_prompt_updates: Any
    ) -> tuple[list[int], Mapping[str, list[PlaceholderFeaturesInfo]]]:
        """As the kit tokenizes: the text between items by itself.

        Raises:
            ValueError: as many placeholders as items are expected.
        """
        processor = self.info.items.processor
        placeholders = {processor.specs[m].token.placeholder: m for m in mm_prompt_updates}
        pieces = cut_at_placeholders(token_ids, placeholders, processor.tokenizer)
        if pieces is None:  # then as vLLM does
            return super()._apply_prompt_updates(token_ids, mm_prompt_updates)
        for placeholder, modality in placeholders.items():
            wanted, given = pieces.count(placeholder), len(mm_prompt_updates[modality])
            if wanted != given:
                raise ValueError(f"the prompt has {wanted} {placeholder}, {given} item(s) of {modality} are given")
        ids: list[int] = []
        found: dict[str, list[PlaceholderFeaturesInfo]] = {modality: [] for modality in mm_prompt_updates}
        for piece in pieces:
            if not isinstance(piece, str):
                ids += piece
                continue
            modality, number = placeholders[piece], len(found[placeholders[piece]])
            content = mm_prompt_updates[modality][number][0].content
            mask = content.is_embed(content.full)
            found[modality].append(PlaceholderFeaturesInfo(modality, number, len(ids), content.full, mask))
            ids += content.full
        return ids, found


def _given(rows: Tensor, ids: list[int]) -> Tensor:
    """Where a row stands, (n,) bool."""
    return rows


@contextmanager
def _answered() -> Iterator[None]:
    """A mistake in a request is an answer of the server, not its end."""
    try:
        yield
    except KitError as error:
        raise ValueError(str(error)) from error
