"""A model of the kit as vLLM runs it: its own towers and connectors, vLLM's LLM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces import SupportsMultiModal, SupportsPP
from vllm.model_executor.models.utils import AutoWeightsLoader, init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY

from tinyllava_kit import ItemEncoder, KitError, TinyLlavaConfig, TinyLlavaProcessor, discover

from .items import FEATURES, RequestItems
from .processing import ItemInfo, ItemProcessing, LargestItems


@MULTIMODAL_REGISTRY.register_processor(ItemProcessing, info=ItemInfo, dummy_inputs=LargestItems)
class ServedTinyLlava(nn.Module, SupportsMultiModal, SupportsPP):
    """Answers in words about pictures and sounds. What decoders make of an answer is not made.

    Raises:
        KitError: the weights are quantized, which vLLM does by itself.
    """

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        spec: Any = discover().find("modality", modality).spec
        text: str = spec.token.text
        return text

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: TinyLlavaConfig = vllm_config.model_config.hf_config
        self.name = vllm_config.model_config.model
        if getattr(config, "quantization_config", None) is not None:
            raise KitError(f"{self.name!r} is quantized; serve the model that it was made of, with --quantization")
        revision = vllm_config.model_config.revision
        self.items = RequestItems(TinyLlavaProcessor.from_pretrained(self.name, revision=revision))
        self.encoder = ItemEncoder(config)
        text_config = config.text_config
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=text_config,
                architectures=text_config.architectures or [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[text_config.model_type]],
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **fields: Any) -> list[Tensor]:
        """The rows (n, D) of each item."""
        rows = []
        for modality in self.encoder.towers:
            if f"{modality}_{FEATURES}" in fields:
                inputs = self.items.tower_inputs(modality, fields)
                device = next(self.encoder.parameters()).device
                moved = {name: tensor.to(device) for name, tensor in inputs.items()}
                rows += self.items.rows_of(modality, self.encoder.encode(modality, moved), fields)
        return rows

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The LLM's hidden states; items are among the embeddings."""
        embeds = inputs_embeds if intermediate_tensors is None else None
        return self.language_model(input_ids, positions, intermediate_tensors, inputs_embeds=embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Of the LLM's head."""
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """A saved model's; those of its decoders are not read.

        Raises:
            KitError: those of towers and connectors do not fit.
        """
        mine: dict[str, Tensor] = {}

        def of_llm() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in weights:
                if name.startswith("language_model."):
                    yield name, tensor
                else:
                    mine[name] = tensor

        loaded = AutoWeightsLoader(self).load_weights(of_llm())
        self.encoder.load_weights(mine, self.name)
        return loaded | {f"encoder.{name}" for name, _ in self.encoder.named_parameters()}
