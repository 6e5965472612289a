"""The model: towers and connectors, one per modality, in front of a causal language model.

Legend: B rows of the batch, T positions, N items, P features of an item, E tower width, D width of the LLM,
V vocabulary, n positions that have a target.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    Cache,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple
from typing_extensions import NotRequired, TypedDict

from ..core.cache_name import CACHE
from ..core.decoders import (
    AnswerStates,
    CodingDecoder,
    Decoder,
    HiddenDecoder,
    Losses,
    TokenDecoder,
    TokenEmbeddings,
    TokenSampler,
)
from ..core.fusion import check_features, check_inputs, fuse, gather_features
from ..core.ids import NO_ID, TEXT
from ..core.interfaces import Connector, Features, LanguageModel, Tower
from ..core.moved_batches import join_batches, plan_of_types
from ..core.plan import GeneratedItems, GeneratedSpan, Plan, TextSpan
from ..errors import FusionError, KitError
from ..files.atomic import HUB_ARGUMENTS
from ..files.content import Count, arguments, checked
from ..files.failures import reading
from ..plugin.catalog import Catalog
from ..plugin.discovery import discover
from ..plugin.specs import load
from ..pretrained.checkpoint import check_index, check_loaded, find_file, open_tensors
from ..pretrained.generation_settings import GENERATION_FILE, check_ids, read_generation
from ..pretrained.sizes import bounded
from .backbone import Backbone
from .configuration import TinyLlavaConfig
from .encoders import Encoders
from .generation import PromptText, TextOnly, apart, check_cache, check_cache_kind, check_way, prompt_text, text_by_mask
from .memory import trim_memory
from .named_parts import NamedParts
from .offloading import at_hand
from .packed_attention import borders_of
from .storage.external import open_if_external
from .storage.replaced import atomic_weights
from .vocabulary.extension import ParallelWriter, VocabularyExtension, mean_of_groups, token_sampler
from .vocabulary.grammar import FollowGrammar, grammar_of

Items = Mapping[str, Mapping[str, Tensor]]
_OURS = ("force", "forbid", "parallel")  # arguments of `generate` that transformers does not know
_EVERYWHERE = ("eager", "sdpa")  # the ways to compute attention that every layer has


@dataclass
class TinyLlavaOutput(CausalLMOutputWithPast):
    """What `TinyLlavaForConditionalGeneration.forward` returns.

    loss: () mean cross-entropy over the target tokens, where labels were given.
    logits: (B, T, V); None while training with labels, where only the rows with a target are computed.
    parallel_logits: of models with streams, the logits of each for the position behind, (B, T, its size), where
        `logits` are.
    target_losses: (n,) float32 without a graph, the cross-entropy at each of ``plan.target_positions``, of all ids
        there.
    target_logits: (n, V), those rows, in the same order, where they were asked for.
    target_groups: group -> its losses without a graph, and whether the label was the likeliest id there, (g,) each; of
        models with decoders that learn.
    item_features, item_embeddings: modality -> what the tower made, and the connector of it, (N, P', D); where items
        were given and no text.
    """

    parallel_logits: tuple[Tensor, ...] | None = None
    target_losses: Tensor | None = None
    target_logits: Tensor | None = None
    target_groups: dict[str, tuple[Tensor, Tensor]] | None = None
    item_features: dict[str, Features] | None = None
    item_embeddings: dict[str, Tensor] | None = None


class TinyLlavaPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation, as transformers does it."""

    config_class = TinyLlavaConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values", "cache"]  # noqa: RUF012

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # from_pretrained replaces non-persistent buffers by uninitialised memory; some
        # towers know how to make theirs again
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """As in transformers; a key that is missing in the file or unknown to the model is an error.

        Raises:
            KitError: lists the keys.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        kwargs["trust_remote_code"] = False  # code that comes with a checkpoint is never run, whoever asks
        settings = _generation_settings(pretrained_model_name_or_path, kwargs)
        check_index(pretrained_model_name_or_path)
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        check_loaded(
            str(pretrained_model_name_or_path),
            missing={*info["missing_keys"], *_missing_scales(model)},
            unexpected=info["unexpected_keys"],
        )
        if settings is not None:
            vocabulary = model.config.get_text_config().vocab_size
            check_ids(model.generation_config, vocabulary, f"{str(pretrained_model_name_or_path)!r}: {GENERATION_FILE}")
        # transformers has replaced non-persistent buffers by uninitialised memory; it makes those of its own
        # models again, other towers do so when asked
        for module in model.modules():
            if hasattr(module, "init_non_persistent_buffers"):
                module.init_non_persistent_buffers()
        return (model, info) if wants_info else model

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel, state_dict: Any, checkpoint_files: Any, load_config: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """As in transformers, but what is quantized while it is read does not stay in memory."""
        load = partial(PreTrainedModel._load_pretrained_model, model)
        quantizer = load_config.hf_quantizer
        if quantizer is None or quantizer.pre_quantized:
            return load(state_dict, checkpoint_files, load_config, *args, **kwargs)
        if state_dict is None:
            names = (name for name, _ in model.named_parameters())
            passing = {name for name in names if quantizer.param_needs_quantization(model, name)}
            state_dict = open_tensors(checkpoint_files, passing)
        loaded = load(state_dict, checkpoint_files, load_config, *args, **kwargs)
        trim_memory()
        return loaded

    def _get_dtype_plan(self, dtype: torch.dtype) -> dict[str, torch.dtype]:
        """As in transformers, but what stays in float32 is what has fractions: whole numbers keep their own type."""
        whole = {f"^{name}$": each.dtype for name, each in self.named_buffers() if not each.is_floating_point()}
        plan = super()._get_dtype_plan(dtype)
        return {**whole, **plan} if plan else plan

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """As in transformers, but the directory changes as a whole or not at all.

        What it says of other weights that were in it, their history, figures and card, goes with them.

        Raises:
            KitError: it cannot be written, or its weights are of 4 bits and have changed; the old content is as it was.
        """
        if _has_repacked_weights(self):
            raise KitError(
                "a 4-bit model that has run on the CPU cannot be saved: running has repacked its weights and rounded "
                "their scales; load it again and save it before it runs"
            )
        hub = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs}
        with atomic_weights(save_directory) as stage:
            super().save_pretrained(stage, *args, **kwargs)
        if push_to_hub:
            self.push_to_hub(hub.pop("repo_id", Path(save_directory).name), **hub)


class TinyLlavaForConditionalGeneration(Encoders, TinyLlavaPreTrainedModel, GenerationMixin):
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
        catalog = catalog or discover()
        if not isinstance(config.text_config, PreTrainedConfig):
            raise KitError("config.json: the model has no text_config, the configuration of its LLM")
        self.llm_interface: type[LanguageModel] = load(config.component("llm").offer("llm", catalog).spec)
        with bounded("config.json: text_config"):
            self.language_model = language_model or self.llm_interface.build(config.text_config)
        config.text_config = self.language_model.config  # one truth; generate makes its masks from this one
        self.towers = NamedParts(towers or {m: build_tower(config, m, catalog) for m in config.towers})
        self.connectors = NamedParts(connectors or {m: build_connector(config, m, catalog) for m in config.connectors})
        self.decoders = nn.ModuleDict(decoders or {m: build_decoder(config, m, catalog) for m in config.decoders})
        grammar = grammar_of(config, self.decoders)
        writing = {m: decoder for m, decoder in self.decoders.items() if isinstance(decoder, TokenDecoder)}
        self.extension = None if grammar is None else VocabularyExtension(grammar, writing)
        if self.device.type != "meta":
            for module in self.modules():
                module._is_hf_initialized = True  # each part initialised itself; post_init shall not do it again
        self.post_init()
        self._collect_from_parts()
        if attention is not None:
            self._attend_in_towers(attention)

    def _collect_from_parts(self) -> None:
        """What post_init gathers from direct children only: of towers, decoders and transformers models inside them."""
        for tower in self.towers.values():
            self._no_split_modules.update(tower.no_split_modules)
        if self.decoders:
            self._keep_in_fp32_modules_strict.add("decoders")
        towers, decoders = (getattr(self, part).named_modules(prefix=part) for part in ("towers", "decoders"))
        for name, module in (*towers, *decoders):
            if isinstance(module, PreTrainedModel):
                tied = module.all_tied_weights_keys
                self.all_tied_weights_keys.update({f"{name}.{k}": f"{name}.{v}" for k, v in tied.items()})
                self._no_split_modules.update(module._no_split_modules or ())
                self._keep_in_fp32_modules.update(module._keep_in_fp32_modules or ())

    def _attend_in_towers(self, attention: str) -> None:
        """Compute attention in this way in the towers, too; one that has no such way keeps its own."""
        for module in self.towers.modules():
            if isinstance(module, PreTrainedModel):
                with suppress(ValueError):
                    module.set_attn_implementation(attention)
            elif isinstance(getattr(module, "config", None), PreTrainedConfig) and attention in _EVERYWHERE:
                module.config._attn_implementation = attention  # layers of a model, which is not there to ask

    def set_attn_implementation(self, attn_implementation: str | dict, *args: Any, **kwargs: Any) -> None:
        """As in transformers, in the towers, too."""
        super().set_attn_implementation(attn_implementation, *args, **kwargs)
        if isinstance(attn_implementation, str):
            self._attend_in_towers(attn_implementation)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """See `TinyLlavaPreTrainedModel`; a directory of another project is opened as ``load_pretrained`` opens it."""
        if pretrained_model_name_or_path and (foreign := open_if_external(pretrained_model_name_or_path)):
            kwargs.pop("config", None)  # an Auto class has read the directory's own
            kwargs.pop("trust_remote_code", None)
            return foreign.model(cls, **kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
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
        """As in torch, but a tower or connector of which nothing is trained stays in eval, and so do decoders but for
        what they train.

        Raises:
            KitError: its 4-bit weights have changed, so that no gradient would pass them.
        """
        if mode and _has_repacked_weights(self):
            raise KitError(
                "a 4-bit model that has run on the CPU cannot be trained: running has repacked its weights, and no "
                "gradient passes them; load it again and train it before it runs"
            )
        super().train(mode)
        for part in (*self.towers.values(), *self.connectors.values()):
            if not _is_trained(part):
                part.eval()
        for decoder in self.decoders.values():
            decoder.eval()
            for module in decoder.trained_modules():
                module.train(mode)
        return self

    def encode(self, modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Items of one modality through tower and connector -> rows for the LLM, (N, P', D).

        A tower of which nothing is trained runs without a graph.
        """
        return self.connect(modality, self.encode_features(modality, inputs))

    def connect(self, modality: str, features: Features) -> Tensor:
        """Features of items through the connector of their modality -> rows for the LLM, (N, P', D)."""
        with at_hand(self.connectors):
            return self.connectors(modality, features)

    def encode_features(self, modality: str, inputs: Mapping[str, Tensor]) -> Features:
        """Items of one modality through the tower, the windows of each joined -> Features of whole items."""
        if "features" in inputs:
            return Features(inputs["features"], inputs.get("lengths"), self.towers[modality].grid)
        tower = self.towers[modality]
        rows = {name: value for name, value in inputs.items() if not name.startswith("window_")}
        with torch.set_grad_enabled(torch.is_grad_enabled() and _is_trained(tower)), at_hand(tower):
            features = run_windows(tower, rows)
            return join_windows(features, inputs) if "window_rows" in inputs else features

    def embed(
        self,
        input_ids: Tensor,
        items: Items | None = None,
        plan: Plan | None = None,
        parallel_ids: Tensor | None = None,
    ) -> Tensor:
        """The embeddings of a batch, items in their places: (B, T) -> (B, T, D).

        Args:
            parallel_ids: (B, T, K) the ids beside `input_ids`; those of the plan, where there is one.

        Raises:
            FusionError: what the towers and connectors made does not fit the plan.
        """
        if plan is None:
            return self._with_dummy_parts(self._look_up(input_ids, parallel_ids), ())  # (B, T, D)
        text = self._embed_text(input_ids, plan)  # (n_text, D)
        rows = {}
        strays = [] if self.training else sorted(set(items or ()) - set(plan.item_positions))  # idle ones, in training
        if strays:
            raise FusionError(f"the batch brings {', '.join(strays)} items, and the plan has no place for them")
        for modality in plan.item_positions:
            if modality not in (items or {}):
                raise KitError(f"the plan has {modality} items, but the batch brings none")
            encoded = self.encode(modality, items[modality])  # (N, P', D)
            if not torch.compiler.is_compiling():
                check_features(plan, modality, encoded.shape)
            rows[modality] = gather_features(plan, modality, encoded)  # (R, D)
        return self._with_dummy_parts(fuse(plan, text, rows), rows, items or {})  # (B, T, D)

    def _look_up(self, ids: Tensor, parallel_ids: Tensor | None) -> Tensor:
        """Ids (...) and those beside them (..., K) -> (..., D)."""
        table = self.get_input_embeddings()
        if self.extension is None:
            return table(ids)
        with at_hand(self.decoders):
            return self.extension.embed(table, ids, parallel_ids)

    def _embed_text(self, input_ids: Tensor, plan: Plan) -> Tensor:
        """The text of a batch, ids (B, T) -> (n_text, D), without the positions of items and padding."""
        if self.get_input_embeddings()._forward_hooks:  # which expect whole rows, (B, T, D): NEFTune's noise
            return self._look_up(input_ids, plan.parallel_ids).flatten(0, 1).index_select(0, plan.text_positions)
        beside = (
            None if plan.parallel_ids is None else plan.parallel_ids.flatten(0, 1).index_select(0, plan.text_positions)
        )
        return self._look_up(input_ids.flatten().index_select(0, plan.text_positions), beside)

    def hidden_decoders(self) -> dict[str, HiddenDecoder]:
        """The decoders that make items of words, in order."""
        return {m: self.decoders[m] for m in sorted(self.decoders) if isinstance(self.decoders[m], HiddenDecoder)}

    def ids_of(self, modality: str, item: Any, name: str = "") -> TextSpan | GeneratedSpan:
        """An item, as its modality reads it, as ids that are learned, all of them.

        Those that the LLM writes for it, marks included, or those of its decoder, which makes it of words.

        Raises:
            KitError: the model does not learn to give this modality, or the item cannot be written; names it.
        """
        if modality not in self.decoders or not isinstance(self.decoders[modality], CodingDecoder):
            raise KitError(f"the model does not write {modality!r} in ids; assemble it with --decoder {modality}=NAME")
        decoder = self.decoders[modality]
        try:
            with torch.no_grad():
                ids = decoder.encode(item).cpu()  # (n,) or (n, k)
        except KitError as error:
            raise KitError(f"{name}: {error}" if name and name not in str(error) else str(error)) from error
        if isinstance(decoder, HiddenDecoder):
            return GeneratedSpan(modality, ids.tolist())
        whole = self.extension.grammar.enclosed(modality, ids, name or modality)
        return TextSpan(whole, whole, self.extension.grammar.beside(modality, ids))

    def _with_dummy_parts(self, embeds: Tensor, busy: Container[str], items: Items | None = None) -> Tensor:
        """The same embeddings (B, T, D), in a graph that also holds what is trained of the parts that had no item.

        Their gradient is then zero rather than none: a batch of text alone can be learned from when only a
        connector is trained, and every rank of a distributed step has the same gradients to reduce. Items that the plan
        has no place for are run, times zero: parts that are sharded must be called by every rank as often.
        """
        dummy_items = {m: inputs for m, inputs in (items or {}).items() if m not in busy}
        for modality, inputs in dummy_items.items():
            embeds = embeds + (self.encode(modality, inputs).flatten()[:1].sum() * 0).to(embeds.dtype)
        if not (self.training and torch.is_grad_enabled()):
            return embeds
        alone = [m for m in self.config.connectors if m not in busy and m not in dummy_items]
        dummy = (getattr(parts, m) for m in alone for parts in (self.towers, self.connectors))  # perhaps PEFT's wrapper
        zeros = [p.flatten()[:1].sum() * 0 for part in dummy for p in part.parameters() if p.requires_grad]
        return embeds + torch.stack(zeros).sum().to(embeds.dtype) if zeros else embeds

    @can_return_tuple
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
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        skip_logits: bool | None = None,
        return_target_logits: bool = False,
        cache: Cache | None = None,
        mm_token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> TinyLlavaOutput | BaseModelOutputWithPast:
        """One step of the model.

        Args:
            input_ids: (B, T) int64. attention_mask: (B, T), 1 = keep. position_ids: (B, T).
            inputs_embeds: (B, T, D), in place of `input_ids`, `items` and `plan`.
            labels: (B, T) int64, IGNORE_INDEX where nothing is learned; those of the plan, where there is one.
            items, plan: see the class. Items alone, without `input_ids` and `inputs_embeds`, run towers and
                connectors only.
            targets: of models with decoders that learn: group -> (g,) which of ``plan.target_positions`` are of it,
                or what
                `HiddenDecoder.targets` gave. Losses are then among the ids that may stand at a place, and averaged for
                each group, see `VocabularyExtension`.
            parallel_ids: (B, T, K) the ids beside `input_ids` where there is no plan, which has them.
            logits_to_keep: as in transformers, the last so many positions, or an index.
            num_items_in_batch: the number of target tokens of the whole step, over which the loss is averaged; with
                `targets`, perhaps that of each group.
            skip_logits: compute the head only where a label is, and return no logits; without labels, the final
                hidden states. Default: while training with labels and a plan.
            return_target_logits: with `skip_logits`, return the logits of those rows.
            mm_token_type_ids: (B, T) as the processor made them of prompts, or moved with `input_ids`: what stands
                where is then read off them, positions off the mask, and no label is learned where an item stands.
            past_key_values, cache: the cache of keys and values, under the older or the newer name of transformers.
            kwargs: for the LLM; and ``shift_labels`` (B, T), what each position predicts, where labels are of the
                whole sequence and the batch is a part of it; not with a plan.

        Raises:
            FusionError: a packed plan with an attention mask or a cache, under which samples would attend to each
                other; inputs of another shape than the plan's; items or `shift_labels` that would be ignored.
        """
        beside = {"attention_mask": attention_mask, "position_ids": position_ids, "labels": labels}
        cache = past_key_values if cache is None else cache
        if mm_token_type_ids is not None and input_ids is not None:
            planned = () if plan is None else plan.items
            plan = plan_of_types(input_ids, attention_mask, mm_token_type_ids, planned, sorted(self.config.modalities))
            position_ids, labels = plan.position_ids, None if labels is None else plan.without_items(labels)
            beside |= {"position_ids": position_ids, "labels": labels}
        check_inputs(plan, items, cache, input_ids=input_ids, inputs_embeds=inputs_embeds, **beside)
        if plan is not None and cache is None:  # what is left out is as the plan says
            input_ids = plan.input_ids if input_ids is None and inputs_embeds is None else input_ids
            position_ids = plan.position_ids if position_ids is None else position_ids
            padded = not plan.is_packed and plan.pad_positions.shape[0] > 0
            attention_mask = plan.attention_mask if attention_mask is None and padded else attention_mask
        if input_ids is None and inputs_embeds is None:
            features = {m: self.encode_features(m, inputs) for m, inputs in (items or {}).items()}
            rows = {m: self.connect(m, each) for m, each in features.items()}  # each (N, P', D)
            return TinyLlavaOutput(item_features=features, item_embeddings=rows)
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids, items, plan, parallel_ids)  # (B, T, D)
        packed = plan is not None and plan.is_packed
        if packed and (attention_mask is not None or cache is not None):
            name = "attention_mask" if attention_mask is not None else CACHE
            raise FusionError(f"a packed batch takes no {name}: its position_ids keep samples apart; leave it out")
        shift_labels = kwargs.pop("shift_labels", None)  # not in the signature, where Trainer looks for labels
        if plan is not None and shift_labels is not None:
            raise FusionError("a batch with a plan takes no shift_labels: the plan says what each position predicts")
        loss_options = {"shift_labels": shift_labels, "num_items_in_batch": num_items_in_batch}
        if labels is not None or packed:  # with a cache, transformers does not look for packs
            kwargs["use_cache"] = False
        for name in ("output_hidden_states", "output_attentions"):
            if kwargs.get(name) is None and getattr(self.config, name, False):
                kwargs[name] = True
        if packed and self.language_model.config._attn_implementation == "sdpa":
            kwargs["pack_borders"] = borders_of(plan)
        shape = inputs_embeds.shape[:2]
        if packed and self._wants_packs_in_one_row:
            inputs_embeds, position_ids = inputs_embeds.flatten(0, 1)[None], position_ids.flatten()[None]  # (1, B*T, D)
        inputs = {
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            CACHE: cache,
            **kwargs,
        }
        target_positions = None if plan is None else plan.target_positions
        if skip_logits is None:
            skip_logits = self.training and labels is not None and target_positions is not None
        if skip_logits and labels is None:
            hidden, output = self._hidden(inputs, shape)  # (B, T, D)
            return BaseModelOutputWithPast(hidden, **output)
        groups = targets if labels is not None and target_positions is not None else None
        if self.extension is not None or groups is not None:
            embeds = inputs_embeds.view(*shape, -1)
            hidden, output = self._hidden(inputs, shape)  # (B, T, D)
            if groups is not None:
                self._learn(output, hidden, embeds, labels, plan, groups, num_items_in_batch, return_target_logits)
            if not (skip_logits and groups is not None):
                self._add_logits(output, hidden, labels, logits_to_keep, **loss_options)
            return output
        if skip_logits:
            outputs = self.get_decoder()(**inputs)
            hidden = outputs.last_hidden_state.flatten(0, 1)  # (B*T, D)
            logits = self.llm_interface.logits(self.language_model, hidden.index_select(0, target_positions))  # (n, V)
            losses = target_losses(logits, labels, target_positions)  # (n,)
            return TinyLlavaOutput(
                loss=mean_loss(losses, num_items_in_batch),
                target_losses=losses.detach(),
                target_logits=logits if return_target_logits else None,
                hidden_states=outputs.hidden_states,
                attentions=outputs.attentions,
            )
        outputs = self.language_model(**inputs, logits_to_keep=logits_to_keep)
        loss, losses = None, None
        if labels is not None and target_positions is not None:
            logits = outputs.logits.flatten(0, 1).index_select(0, target_positions)  # (n, V)
            losses = target_losses(logits, labels, target_positions)  # (n,)
            loss = mean_loss(losses, num_items_in_batch)
        elif labels is not None:
            vocab = outputs.logits.shape[-1]
            loss = self.loss_function(outputs.logits, labels, vocab, **loss_options)
        return TinyLlavaOutput(
            loss=loss,
            target_losses=None if losses is None else losses.detach(),
            logits=outputs.logits.view(*shape, -1) if packed else outputs.logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            **{CACHE: outputs.get(CACHE)},
        )

    @property
    def _wants_packs_in_one_row(self) -> bool:
        """transformers finds packs for flash-attention in a batch of one row only; the other ways find them in each."""
        return "flash" in (self.language_model.config._attn_implementation or "")

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

    def _head(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) -> the LLM's own logits (..., V)."""
        return self.llm_interface.logits(self.language_model, hidden)

    def _hidden(self, inputs: Mapping[str, Any], shape: torch.Size) -> tuple[Tensor, TinyLlavaOutput]:
        """The LLM without its head: final hidden states (B, T, D), and an output that has the rest."""
        outputs = self.get_decoder()(**inputs)
        others = {name: outputs.get(name) for name in (CACHE, "hidden_states", "attentions")}
        return outputs.last_hidden_state.view(*shape, -1), TinyLlavaOutput(**others)

    def _learn(
        self,
        output: TinyLlavaOutput,
        hidden: Tensor,
        embeds: Tensor,
        labels: Tensor,
        plan: Plan,
        targets: Mapping[str, Tensor],
        num_items: Tensor | int | None,
        return_target_logits: bool,
    ) -> None:
        """Give the output its losses, of a model whose decoders learn: hidden and embeds (B, T, D), labels (B, T)."""
        rows = plan.target_positions
        mine = hidden.flatten(0, 1).index_select(0, rows)  # (n, D)
        following = labels.flatten().index_select(0, rows + 1)  # (n,)
        losses = self._losses(mine, following, plan, targets)
        output.target_losses = mine.new_zeros(len(mine), dtype=torch.float32)  # (n,)
        for group, (each, _) in losses.items():
            output.target_losses.index_add_(0, targets[group], each.detach())
        losses |= self._generated_losses(hidden, embeds, plan, targets)
        in_order = {group: losses[group] for group in targets}
        output.loss = mean_of_groups(in_order, self.loss_weights(), len(rows), num_items) + self._dummy_decoders(plan)
        output.target_groups = {group: (each.detach(), hits) for group, (each, hits) in in_order.items()}
        if return_target_logits:
            output.target_logits = self._all_logits(mine)  # (n, V)

    def _losses(
        self, hidden: Tensor, following: Tensor, plan: Plan, targets: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Those of what the LLM writes: hidden (n, D) of the target rows, following (n,) the ids there."""
        if self.extension is None:
            logits = self._head(hidden).float()  # (n, V)
            return {TEXT: (F.cross_entropy(logits, following, reduction="none"), logits.argmax(-1) == following)}
        previous = plan.input_ids.flatten().index_select(0, plan.target_positions)  # (n,)
        mine = {group: targets[group] for group in self.extension.grammar.groups}
        return dict(self.extension.losses(self._head, hidden, previous, following, plan.target_parallel, mine))

    def _generated_losses(
        self, hidden: Tensor, embeds: Tensor, plan: Plan, targets: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Those of the items that decoders make of words: hidden and embeds (B, T, D)."""
        nothing = hidden.new_zeros(0, dtype=torch.float32)
        losses = {}
        for modality, maker in self.hidden_decoders().items():
            found: Losses = dict.fromkeys(maker.loss_weights, (nothing, nothing.bool()))
            if modality in plan.generated:
                items = plan.generated[modality]
                mine = {group: targets[f"{modality}.{group}"] for group in maker.loss_weights}
                found = maker.losses(answer_states_of(items, hidden, embeds), items.ids, mine)
            losses.update({f"{modality}.{group}": each for group, each in found.items()})
        return losses

    def _dummy_decoders(self, plan: Plan) -> Tensor | float:
        """Zero, in the graph of the decoders that have no item in the batch while the model is trained."""
        if not (self.training and torch.is_grad_enabled()):
            return 0.0
        return sum(
            (maker.dummy() for modality, maker in self.hidden_decoders().items() if modality not in plan.generated), 0.0
        )

    def loss_weights(self) -> dict[str, float]:
        """What the mean loss of each group of ids counts in the loss, see `targets` in `forward`."""
        weights = {TEXT: 1.0} if self.extension is None else dict(self.extension.weights)
        for modality, maker in self.hidden_decoders().items():
            weights.update({f"{modality}.{group}": weight for group, weight in maker.loss_weights.items()})
        return weights

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
                f"no words to make {modality!r} of: wants a batch, one sample a row, in which a GeneratedSpan of it "
                "stands behind learned text"
            )
        embeds = self.embed(input_ids, items, plan)  # (B, T, D)
        inputs = {"inputs_embeds": embeds, "attention_mask": attention_mask, "position_ids": position_ids}
        hidden, _ = self._hidden({**inputs, "use_cache": False}, embeds.shape[:2])
        return answer_states_of(plan.generated[modality], hidden, embeds)

    def _all_logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) -> (..., V), those of decoders behind the LLM's own."""
        return self._head(hidden) if self.extension is None else self.extension.logits(self._head, hidden)

    def _add_logits(
        self,
        output: TinyLlavaOutput,
        hidden: Tensor,
        labels: Tensor | None,
        logits_to_keep: int | Tensor,
        **loss_options: Any,
    ) -> None:
        """Give the output its logits, those of decoders behind the LLM's own, and a loss where labels have none yet."""
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        with at_hand(self.decoders):
            output.logits = self._all_logits(hidden[:, keep])  # (B, T, V)
            if self.extension is not None and self.extension.grammar.parallel:
                output.parallel_logits = self.extension.parallel_logits(hidden[:, keep])
        if labels is not None and output.loss is None:
            vocab = output.logits.shape[-1]
            output.loss = self.loss_function(output.logits, labels, vocab, **loss_options)

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
    ):
        """As in transformers, with `items` and `plan`; returns prompt and new tokens.

        Ids of decoders come in the order that these state, so that every item is whole but for one that
        `max_new_tokens` ends. `force` names modalities of which the answer must hold an item, `forbid` those of which
        it must not.

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
            if isinstance(plan, list):  # what a pipeline with batch_size collates
                planned, items = join_batches(plan, items)
            else:
                planned = () if plan is None else plan.items
            kwargs.pop("position_ids", None)
            modalities = sorted(self.config.modalities)
            plan = plan_of_types(ids, kwargs.get("attention_mask"), mm_token_type_ids, planned, modalities)
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
                "generate wants one sample a row, padded on the left; make the batch with padding_side='left', in a "
                "pipeline with batch_size by pipe.tokenizer.padding_side = 'left'"
            )
        options = {**options, "input_ids": plan.input_ids if ids is None else ids}
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
                    f"generate writes text only, not {', '.join((*force, *forbid))}; inference.replies gives what "
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
        others = {name: value for name, value in options.items() if name not in ("generation_config", *_OURS)}
        return self._prepare_generation_config(options.get("generation_config"), **others)[0]


def _generation_settings(path: Any, how: dict[str, Any]) -> GenerationConfig | None:
    """Those of a directory or repository, put among the arguments of ``from_pretrained`` where none are given."""
    if how.get("generation_config") is not None or not path:
        return None
    hub = {key: how[key] for key in ("cache_dir", "revision", "token", "subfolder", "local_files_only") if key in how}
    file = find_file(str(path), GENERATION_FILE, **hub)
    how["generation_config"] = None if file is None else read_generation(file)
    return how["generation_config"]


class Joint(TypedDict):
    """What a connector joins, as ``config.json`` holds it."""

    in_dim: Count
    out_dim: Count
    grid: NotRequired[tuple[Count, Count] | None]


def build_tower(config: TinyLlavaConfig, modality: str, catalog: Catalog) -> Tower:
    """The tower of a modality, without weights."""
    component = config.component("tower", modality)
    tower = load(component.offer("tower", catalog).spec)
    where = f"config.json: towers.{modality}.config"
    with reading(f"{where}: no {component.name!r} can be made of it"), bounded(where):
        return tower(component.config)


def build_connector(config: TinyLlavaConfig, modality: str, catalog: Catalog) -> Connector:
    """The connector of a modality, without weights.

    Raises:
        KitError: it cannot join this tower and this LLM.
    """
    component = config.component("connector", modality)
    connector = load(component.offer("connector", catalog).spec)
    where = f"config.json: connectors.{modality}"
    joint = checked(Joint, component.config, f"{where}.config")
    options = arguments(connector, component.options, f"{where}.options", given=tuple(Joint.__annotations__))
    with reading(f"{where}: no {component.name!r} can be made of it"), bounded(where):
        return connector(**{"grid": None, **joint}, **options)


def build_decoder(config: TinyLlavaConfig, modality: str, catalog: Catalog) -> Decoder:
    """The decoder of a modality, without weights; where the LLM writes its ids, with rows for these, their two marks
    and its parallel ids."""
    component = config.component("decoder", modality)
    decoder_class: type[Decoder] = load(component.offer("decoder", catalog).spec)
    where = f"config.json: decoders.{modality}.config"
    with reading(f"{where}: no {component.name!r} can be made of it"), bounded(where):
        if issubclass(decoder_class, HiddenDecoder):
            return decoder_class(component.config, config.text_config.hidden_size)
        decoder = decoder_class(component.config)
        if isinstance(decoder, TokenDecoder):
            beside = sum(side.size for side in decoder.parallel.values())
            decoder.rows = TokenEmbeddings(2 + sum(decoder.ranges.values()) + beside, config.text_config.hidden_size)
        return decoder


def run_windows(tower: Tower, inputs: Mapping[str, Tensor]) -> Features:
    """The tower on its rows: without a graph as many at a time as `Tower.rows_at_once` says, and put together again.

    All at once in a distributed run, where each rank must call a sharded tower as often as the others.
    """
    number = len(next(iter(inputs.values())))
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    step = tower.rows_at_once(inputs) if alone and not torch.is_grad_enabled() else number
    if step >= number:
        return tower(**inputs)
    starts = range(0, number, step)
    parts = [tower(**{name: value[start : start + step] for name, value in inputs.items()}) for start in starts]
    lengths = None if parts[0].lengths is None else torch.cat([part.lengths for part in parts])  # (N,)
    return Features(torch.cat([part.features for part in parts]), lengths, parts[0].grid)  # (N, P, E)


def join_windows(features: Features, inputs: Mapping[str, Tensor]) -> Features:
    """The rows of each item behind one another: (rows, P, E) -> (N, P', E), zero past each item's length.

    ``window_rows`` and ``window_features`` (N, P') say which row and which of its features stand where,
    ``window_lengths`` (N,) how many are real.
    """
    joined = features.features[inputs["window_rows"], inputs["window_features"]]  # (N, P', E)
    lengths = inputs["window_lengths"]
    real = torch.arange(joined.shape[1], device=joined.device) < lengths[:, None]  # (N, P')
    return Features(joined * real[..., None].to(joined.dtype), lengths)


def answer_states_of(generated: GeneratedItems, hidden: Tensor, embeds: Tensor) -> AnswerStates:
    """The words of items in a batch: hidden and embeds (B, T, D) -> (N, P, D) each."""
    rows = generated.words.clamp(min=0)  # (N, P)
    return AnswerStates(hidden.flatten(0, 1)[rows], embeds.flatten(0, 1)[rows], generated.words != NO_ID)


def target_losses(logits: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    """Cross-entropy of the logits (n, V) of positions `rows` against the labels (B, T) that follow them -> (n,)."""
    return F.cross_entropy(logits.float(), labels.flatten().index_select(0, rows + 1), reduction="none")  # (n,)


def mean_loss(losses: Tensor, num_items: Tensor | int | None) -> Tensor:
    """The losses (n,) averaged over `num_items` target tokens, or over themselves.

    Raises:
        FusionError: there is none to average over.
    """
    if num_items is not None:
        return losses.sum() / (num_items.to(losses.device) if isinstance(num_items, Tensor) else num_items)
    if not losses.shape[0]:
        raise FusionError("no position of the batch has a label; there is nothing to learn from it")
    return losses.mean()


def _is_trained(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())


def _missing_scales(model: nn.Module) -> list[str]:
    """What quantized weights need beside them and did not get; transformers loads them all the same.

    The layers are bitsandbytes', known by name: it need not be installed.
    """
    missing = []
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind == "Linear8bitLt" and getattr(module.weight, "SCB", None) is None:
            missing.append(f"{name}.SCB")
        if kind == "Linear4bit":
            state = getattr(module.weight, "quant_state", None)
            if state is None:
                missing.append(f"{name}.weight.absmax")
            elif not state.nested and not state.absmax.is_floating_point():  # scales that are quantized themselves
                missing.append(f"{name}.weight.nested_absmax")
    return missing


def _has_repacked_weights(model: nn.Module) -> bool:
    """Whether bitsandbytes has laid 4-bit weights out for the CPU, as it does on some when they are first used.

    Reading the state dict undoes it but for the scales, which were rounded, and without double quantization are left in
    another order; the model itself is then wrong, too. What stays is the note of how the weight was before.
    """
    states = (getattr(parameter, "quant_state", None) for parameter in model.parameters())
    return any(hasattr(state, "original_qshape") for state in states)
