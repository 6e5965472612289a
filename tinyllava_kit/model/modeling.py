"""The model: towers and connectors, one per modality, in front of a causal language model.

Legend: B rows of the batch, T positions, N items, P features of an item, E tower width, D width of the LLM,
V vocabulary, n positions that have a target.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import can_return_tuple

from ..core.decoders import AnswerStates, CodingDecoder, Decoder, HiddenDecoder, TokenDecoder
from ..core.fusion import check_inputs
from ..core.interfaces import Connector, Items, LanguageModel, Tower
from ..core.plan import Plan, PlannedItem
from ..core.spans import GeneratedSpan, TextSpan
from ..errors import FusionError, KitError
from ..files.opening import check_directory
from ..plugin.catalog import Catalog
from ..plugin.discovery import installed_catalog
from ..plugin.specs import load
from ..pretrained.cache_name import CACHE
from ..pretrained.sizes import bounded
from .backbone import Backbone
from .builders import build_connector, build_decoder, build_tower
from .configuration import TinyLlavaConfig
from .embedding import Embedder
from .encoders import Encoders
from .generation import Answers
from .logits import Keep, check_keep
from .losses import GroupLosses, answer_states_of
from .moved_batches import items_of_types, plan_of_types
from .named_parts import NamedParts
from .output import TinyLlavaOutput
from .packed_attention import packed_inputs
from .pretrained import TinyLlavaPreTrainedModel
from .quantized_weights import has_repacked_weights
from .storage.recognition import open_if_external
from .vocabulary.extension import VocabularyExtension
from .vocabulary.grammar import grammar_of

_EVERYWHERE = ("eager", "sdpa")  # the ways to compute attention that every layer has


class TinyLlavaForConditionalGeneration(
    Encoders, Embedder, GroupLosses, Answers, TinyLlavaPreTrainedModel, GenerationMixin
):
    """Towers, connectors and an LLM as one transformers model.

    Items reach it as ``items={modality: {name: tensor}}`` with the `plan` that says where their rows go; both come
    from `TinyLlavaProcessor`. ``{"features": (N, P, E)}`` in place of a tower's inputs skips the tower.

    Args:
        config: what to build. Parts that are given are taken, the others are built without weights.
        language_model: a transformers causal LM of ``config.text_config``.
        towers: modality -> `Tower`.
        connectors: modality -> `Connector`.
        decoders: modality -> `Decoder`.
        catalog: the installed plugins; found when not given.

    Raises:
        MissingPluginError: a component's plugin is not installed.
    """

    def __init__(
        self,
        config: TinyLlavaConfig,
        *,
        language_model: PreTrainedModel | None = None,
        towers: Mapping[str, Tower] | None = None,
        connectors: Mapping[str, Connector] | None = None,
        decoders: Mapping[str, Decoder] | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        attention = getattr(config, "_attn_implementation_internal", None)  # as asked for; set by the next line if not
        super().__init__(config)
        catalog = catalog or installed_catalog()
        if not isinstance(config.text_config, PreTrainedConfig):
            raise KitError("config.json: the model has no text_config, the configuration of its LLM")
        self.llm_interface: type[LanguageModel] = load(config.component("llm").offer("llm", catalog).spec)
        with bounded("config.json: text_config"):
            self.language_model = language_model or self.llm_interface.build(config.text_config)
        config.text_config = self.language_model.config  # one truth; generate makes its masks from this one
        self.towers = NamedParts(towers or {m: build_tower(config, m, catalog) for m in config.towers})
        self.connectors = NamedParts(connectors or {m: build_connector(config, m, catalog) for m in config.connectors})
        self.decoders = nn.ModuleDict(decoders or {m: build_decoder(config, m, catalog) for m in config.decoders})
        grammar = grammar_of(config, dict(self.decoders.items()))
        writing = {m: decoder for m, decoder in self.decoders.items() if isinstance(decoder, TokenDecoder)}
        self.extension = None if grammar is None else VocabularyExtension(grammar, writing)
        if self.device.type != "meta":
            modules: Iterator[Any] = self.modules()
            for module in modules:
                module._is_hf_initialized = True  # each part initialised itself; post_init shall not do it again
        self.post_init()
        self._collect_from_parts()
        if attention is not None:
            self._attend_in_towers(attention)

    def _collect_from_parts(self) -> None:
        """What post_init gathers from direct children only: of towers, decoders and transformers models inside them."""
        unsplit, precise = self._no_split_modules, self._keep_in_fp32_modules
        always_precise = self._keep_in_fp32_modules_strict
        assert isinstance(unsplit, set)
        assert isinstance(precise, set)
        assert isinstance(always_precise, set)
        for tower in self.towers.values():
            unsplit.update(tower.no_split_modules)
        if self.decoders:
            always_precise.add("decoders")
        towers, decoders = (getattr(self, part).named_modules(prefix=part) for part in ("towers", "decoders"))
        for name, module in (*towers, *decoders):
            if isinstance(module, PreTrainedModel):
                tied = module.all_tied_weights_keys
                self.all_tied_weights_keys.update({f"{name}.{k}": f"{name}.{v}" for k, v in tied.items()})
                unsplit.update(module._no_split_modules or ())
                precise.update(module._keep_in_fp32_modules or ())

    def _attend_in_towers(self, attention: str) -> None:
        """Compute attention in this way in the towers, too; one that has no such way keeps its own."""
        for module in self.towers.modules():
            if isinstance(module, PreTrainedModel):
                with suppress(ValueError):
                    module.set_attn_implementation(attention)
            elif isinstance(config := getattr(module, "config", None), PreTrainedConfig) and attention in _EVERYWHERE:
                config._attn_implementation = attention  # layers of a model, which is not there to ask

    def set_attn_implementation(self, attn_implementation: str | dict[str, str], *args: Any, **kwargs: Any) -> None:
        """As in transformers, in the towers, too."""
        super().set_attn_implementation(attn_implementation, *args, **kwargs)
        if isinstance(attn_implementation, str):
            self._attend_in_towers(attn_implementation)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> Any:
        """See `TinyLlavaPreTrainedModel`; a directory of another project is opened as ``load_pretrained`` opens it."""
        path = pretrained_model_name_or_path
        config = kwargs.get("config")
        is_known = isinstance(config, TinyLlavaConfig) and config.llm is not None
        if is_known and path:
            check_directory(path)
        elif path and (external := open_if_external(path, kwargs.get("cache_dir"))):
            kwargs.pop("config", None)  # an Auto class has read the directory's own
            kwargs.pop("trust_remote_code", None)
            return external.model(cls, **kwargs)
        return super().from_pretrained(path, *args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The LLM's head."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    @property
    def base_model(self) -> Any:
        """As in transformers, the model without its head: ``base_model(**batch).last_hidden_state``."""
        return Backbone(self)

    def get_decoder(self) -> nn.Module:
        return self.language_model.get_decoder()

    def set_decoder(self, decoder: nn.Module) -> None:
        """As in transformers: another network in place of what `get_decoder` gives."""
        name = next(name for name, each in self.language_model.named_modules() if each is self.get_decoder())
        self.language_model.set_submodule(name, decoder)

    def train(self, mode: bool = True) -> TinyLlavaForConditionalGeneration:
        """As in torch, but decoders stay in eval but for what they train; of towers and connectors, see
        `QuietWhenFrozen`.

        Raises:
            KitError: its 4-bit weights have changed, so that no gradient would pass them.
        """
        if mode and has_repacked_weights(self):
            raise KitError(
                "a 4-bit model that has run on the CPU cannot be trained: running has repacked its weights, and no "
                "gradient passes them; load it again and train it before it runs"
            )
        super().train(mode)
        decoders: list[Any] = list(self.decoders.values())
        for decoder in decoders:
            decoder.eval()
            for module in decoder.trained_modules():
                module.train(mode)
        return self

    def ids_of(self, modality: str, item: Any, name: str = "") -> TextSpan | GeneratedSpan:
        """An item, as its modality reads it, as ids that are learned, all of them.

        Those that the LLM writes for it, marks included, or those of its decoder, which makes it of words.

        Raises:
            KitError: the model does not learn to give this modality, or the item cannot be written; names it.
        """
        decoder = dict(self.decoders.items()).get(modality)
        if not isinstance(decoder, CodingDecoder):
            raise KitError(f"the model does not write {modality!r} in ids; assemble it with --decoder {modality}=NAME")
        try:
            with torch.no_grad():
                ids = decoder.encode(item).cpu()  # (n,) or (n, k)
        except KitError as error:
            raise KitError(f"{name}: {error}" if name and name not in str(error) else str(error)) from error
        if isinstance(decoder, HiddenDecoder):
            return GeneratedSpan(modality, ids.tolist())
        assert self.extension is not None
        whole = self.extension.grammar.enclosed(modality, ids, name or modality)
        return TextSpan(whole, whole, self.extension.grammar.parallel_ids(modality, ids))

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        items: Items | None = None,
        plan: Plan | None = None,
        targets: Mapping[str, Tensor] | None = None,
        parallel_ids: Tensor | None = None,
        logits_to_keep: Keep | None = None,
        num_items_in_batch: Tensor | int | None = None,
        cache: Cache | None = None,
        mm_token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> TinyLlavaOutput | BaseModelOutputWithPast:
        """One step of the model: embeddings, hidden states, the logits that are asked for, the loss.

        Args:
            input_ids: (B, T) int64. attention_mask: (B, T), 1 = keep. position_ids: (B, T).
            inputs_embeds: (B, T, D), in place of `input_ids`, `items` and `plan`.
            labels: (B, T) int64, IGNORE_INDEX where nothing is learned; those of the plan, where there is one.
            items, plan: see the class. Items alone, without `input_ids` and `inputs_embeds`, run towers and
                connectors only.
            targets: group -> (g,) which of ``plan.target_positions`` are of it, or what `HiddenDecoder.targets` gave;
                found from the plan when not given. Losses are among the ids that may stand at a place, and averaged
                for each group, see `VocabularyExtension`.
            parallel_ids: (B, T, K) the ids beside `input_ids` where there is no plan, which has them.
            logits_to_keep: as in transformers, the last so many positions (0: all) or an index; "targets": the
                positions that have a target; "none": without labels, the final hidden states are then returned.
                Default: all, and none while training with labels and a plan.
            num_items_in_batch: the number of target tokens of the whole step, over which the loss is averaged; where
                there are several groups, perhaps that of each.
            mm_token_type_ids: (B, T) as the processor made them of prompts, or moved with `input_ids`: what stands
                where is then read off them, positions off the mask, and no label is learned where an item stands.
            past_key_values, cache: the cache of keys and values, under the older or the newer name of transformers.
            kwargs: for the LLM; beside `mm_token_type_ids` also the items' tensors under the names that their towers
                take (``pixel_values``), in place of `items`, where all take as many positions; and ``shift_labels``
                (B, T), what each position predicts, where labels are of the whole sequence and the batch is a part of
                it; not with a plan.

        Raises:
            FusionError: a packed plan with an attention mask or a cache, under which samples would attend to each
                other; inputs of another shape than the plan's; items or `shift_labels` that would be ignored.
        """
        cache = past_key_values if cache is None else cache
        if mm_token_type_ids is not None and input_ids is not None:
            modalities = sorted(self.config.modalities)
            planned: Sequence[PlannedItem] = () if plan is None else plan.items
            if plan is None and items is None:
                towers = dict(self.towers.items())
                items, planned = items_of_types(kwargs, towers, attention_mask, mm_token_type_ids, modalities)
            plan = plan_of_types(input_ids, attention_mask, mm_token_type_ids, planned, modalities)
            position_ids, labels = plan.position_ids, None if labels is None else plan.without_items(labels)
        beside = {"attention_mask": attention_mask, "position_ids": position_ids, "labels": labels}
        check_inputs(plan, items, cache, input_ids=input_ids, inputs_embeds=inputs_embeds, **beside)
        if plan is not None and cache is None:  # inputs that are left out come from the plan
            position_ids = plan.position_ids if position_ids is None else position_ids
            padded = not plan.is_packed and plan.pad_positions.shape[0] > 0
            attention_mask = plan.attention_mask if attention_mask is None and padded else attention_mask
        if input_ids is None and inputs_embeds is None:
            return self._of_items_alone(items or {}, plan)
        shift_labels = kwargs.pop("shift_labels", None)  # not in the signature, where Trainer looks for labels
        if plan is not None and shift_labels is not None:
            raise FusionError("a batch with a plan takes no shift_labels: the plan holds the target of each position")
        at_targets = None if labels is None or plan is None else plan.target_positions  # (n,)
        if logits_to_keep is None:
            logits_to_keep = "none" if self.training and at_targets is not None else 0
        check_keep(logits_to_keep, labels, plan)
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed(input_ids, items, plan, parallel_ids)  # (B, T, D)
        if labels is not None:
            kwargs["use_cache"] = False
        inputs = {"attention_mask": attention_mask, "position_ids": position_ids, CACHE: cache, **kwargs}
        hidden, others = self._hidden(inputs_embeds, plan, inputs)  # (B, T, D)
        if labels is None and isinstance(logits_to_keep, str) and logits_to_keep == "none":
            return BaseModelOutputWithPast(hidden, **others)
        kept = self._kept_logits(hidden, logits_to_keep, plan)
        logits, learned = kept.get("logits"), {}
        if at_targets is not None:
            assert labels is not None
            assert plan is not None
            known = self._known_at_targets(logits, logits_to_keep, at_targets)  # (n, V)
            learned = self._learn(hidden, inputs_embeds, input_ids, labels, plan, targets, num_items_in_batch, known)
        elif labels is not None:
            counts = {"shift_labels": shift_labels, "num_items_in_batch": num_items_in_batch}
            assert logits is not None  # see `check_keep`
            learned = {"loss": self.loss_function(logits, labels, logits.shape[-1], **counts)}
        return TinyLlavaOutput(**learned, **kept, **others)

    def _of_items_alone(self, items: Items, plan: Plan | None) -> TinyLlavaOutput:
        """What towers and connectors make of items, without the LLM.

        Raises:
            FusionError: there is a plan, which says where they stand among ids.
        """
        if plan is not None:
            raise FusionError("a plan comes without the input_ids that it lays out; give the batch as it was made")
        features = {m: self.encode_features(m, inputs) for m, inputs in items.items()}
        rows = {m: self.connect(m, each) for m, each in features.items()}  # each (N, P', D)
        return TinyLlavaOutput(item_features=features, item_embeddings=rows)

    def _hidden(self, embeds: Tensor, plan: Plan | None, inputs: Mapping[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The LLM without its head: embeddings (B, T, D) -> final hidden states (B, T, D), and the rest of its output.

        Raises:
            FusionError: see `forward`, of a packed plan.
        """
        shape, inputs = embeds.shape, {"inputs_embeds": embeds, **inputs}
        for name in ("output_hidden_states", "output_attentions"):
            if inputs.get(name) is None and getattr(self.config, name, False):
                inputs[name] = True
        if plan is not None and plan.is_packed:
            inputs = packed_inputs(inputs, plan, self.language_model.config._attn_implementation)
        outputs = self.get_decoder()(**inputs)
        others = {name: outputs.get(name) for name in (CACHE, "hidden_states", "attentions")}
        return outputs.last_hidden_state.view(*shape[:2], -1), others

    @torch.no_grad()
    def words(
        self,
        modality: str,
        input_ids: Tensor,
        plan: Plan,
        items: Items | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> AnswerStates:
        """What the decoder of a modality makes its items of, in a batch that has some, see `forward`.

        Raises:
            KitError: it has none, or several samples share a row.
        """
        if modality not in plan.generated or plan.is_packed:
            raise KitError(
                f"no words to make {modality!r} of: needs a batch, one sample a row, in which a GeneratedSpan of it "
                "stands behind learned text"
            )
        embeds = self.embed(input_ids, items, plan)  # (B, T, D)
        inputs = {"attention_mask": attention_mask, "position_ids": position_ids, "use_cache": False}
        hidden, _ = self._hidden(embeds, plan, inputs)
        return answer_states_of(plan.generated[modality], hidden, embeds)
