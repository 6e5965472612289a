"""An external checkpoint mapped onto the kit's model: its configuration, and every weight under its new name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from ...assembly.licence import read_licence
from ...components.templates.vicuna import fitting
from ...core.interfaces import LanguageModel, Preprocessor, Tower
from ...errors import KitError, MissingPluginError
from ...files.origins import origin
from ...model.builders import build_connector
from ...model.configuration import Component, TinyLlavaConfig, as_json
from ...model.modeling import TinyLlavaForConditionalGeneration
from ...plugin.catalog import Catalog, Offer
from ...plugin.specs import LanguageModelSpec, TowerSpec, load
from ...pretrained.checkpoint import check_loaded, without_reports
from ...pretrained.generation_settings import GENERATION_FILE, check_ids, read_generation
from ...pretrained.saved_config import kind_of, network
from ...processing.processor import TinyLlavaProcessor
from .external_checkpoint import ExternalCheckpoint, Weights, image_processor_of
from .names import Names
from .weights import Lazy

IMAGE_MODALITY = "image"
# Keys of vision_config that do not describe the architecture.
_NOT_SAVED = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
# The layers that make a connector's rows; of the mlp family it is the last of its layers.
_LAST = {
    "linear": ("linear.",),
    "resampler": ("norm.",),
    "qformer": ("projector.",),
    "mof_mlp": ("clip.2.", "dinov2.2."),
}
_DINOV2_SIZES = {518: 224}  # trained at -> given by its image processor
_LONGEST = 200  # of what transformers says is wrong, which may list all that it knows
_ASPECTS = {"square": "square", "pad": "pad"}
_INNER = re.compile(r"(^|(?<=^clip\.))vision_model\.")  # around CLIP and SigLIP in transformers 4
# DINOv2's names in transformers 4 -> 5.
_DINOV2 = (
    (re.compile(r"attention\.attention\.(query|key|value)\."), lambda m: f"attention.{m[1][0]}_proj."),
    (re.compile(r"attention\.output\.dense\."), lambda m: "attention.o_proj."),
)


@dataclass(frozen=True)
class WeightRow:
    """One weight of the table: its key in the checkpoint, its key in the kit's model, and what was done with it.

    `key` is empty for what is left out, `external_key` for what the checkpoint does not have.
    """

    external_key: str
    key: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class MappedCheckpoint:
    """An external checkpoint, read but for its weights.

    tensors: a key of the kit's model -> the weight. rows: every key. notes: what a user should know. dtype: the LLM's.
    """

    layout: str
    directory: Path
    config: TinyLlavaConfig
    tokenizer: PreTrainedTokenizerBase
    preprocessors: Mapping[str, Preprocessor]
    tensors: Mapping[str, Lazy]
    rows: tuple[WeightRow, ...]
    notes: tuple[str, ...]
    dtype: torch.dtype
    catalog: Catalog = field(repr=False)

    def model(
        self, kind: type[TinyLlavaForConditionalGeneration] = TinyLlavaForConditionalGeneration, **how: Any
    ) -> TinyLlavaForConditionalGeneration:
        """The model; `how` is what ``kind.from_pretrained`` takes besides a configuration.

        Raises:
            KitError: weights do not fit.
        """
        how = {"dtype": self.dtype, **{key: value for key, value in how.items() if (key, value) != ("dtype", "auto")}}
        state = {name: tensor.read() for name, tensor in self.tensors.items()}
        loaded = kind.from_pretrained(None, config=self.config, state_dict=state, trust_remote_code=False, **how)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # where output_loading_info is asked for
        model.generation_config = self.generation_config()
        return loaded

    def generation_config(self) -> GenerationConfig:
        """The checkpoint's own, or what its LLM's configuration says."""
        if (self.directory / GENERATION_FILE).is_file():
            settings = read_generation(self.directory / GENERATION_FILE)
            check_ids(settings, self.config.text_config.vocab_size, str(self.directory / GENERATION_FILE))
            return settings
        return GenerationConfig.from_model_config(self.config.text_config)

    def processor(self) -> TinyLlavaProcessor:
        """Its processor."""
        return TinyLlavaProcessor(self.tokenizer, self.config, self.preprocessors, self.catalog)


def map_checkpoint(
    external: ExternalCheckpoint, catalog: Catalog, names: Names, *, template: str | None = None
) -> MappedCheckpoint:
    """Map a checkpoint's configurations and weights onto the kit's model, with installed components.

    Args:
        external: what a layout was read into.
        catalog: the installed plugins.
        names: where names in it are looked for.
        template: the chat template, in place of the one that is found.

    Raises:
        KitError: weights are missing, surplus or of other shapes than the configuration says; lists them.
        MissingPluginError: a part is of a plugin that is not installed.
    """
    where = str(external.directory)
    if external.unexpected_keys:
        check_loaded(where, missing=(), unexpected=external.unexpected_keys)
    described = f"{external.directory / 'config.json'}: text_config"
    with _broken_config(external.directory):
        text_config = network(kind_of(external.text_config, described), external.text_config, described)
    llm = _by_model_type("llm", text_config.model_type, catalog)
    tower = _by_model_type("tower", external.vision_config.get("model_type", ""), catalog)
    tower_class: type[Tower] = load(tower.spec)
    tower_config = _tower_config(external, tower_class)
    if any(option.name == "image_size" for option in tower.spec.options):
        tower_config["image_size"] = _picture_size(external, tower_class, names)
    with torch.device("meta"), _broken_config(external.directory):
        built_tower = tower_class(tower_config)
        built_llm = load(llm.spec).build(text_config)
    ledger = _Ledger(where)
    ledger.add_llm(external, built_llm)
    ledger.add_tower(external, built_tower, tower_class, tower_config, names)
    joint = {"in_dim": built_tower.embed_dim, "out_dim": text_config.hidden_size}
    if built_tower.grid is not None:
        joint["grid"] = list(built_tower.grid)
    connector = catalog.find("connector", external.connector)
    state = {name: source.tensor.read() for name, source in external.joint.items()}
    options = _connector_options(external, connector, state, names)
    tokenizer = _read_tokenizer(llm, where)
    licence = read_licence(where)  # of all its parts
    seen_with = " ".join(map(origin, external.vision_names))
    config = TinyLlavaConfig(
        text_config=text_config,
        llm=_component(llm, checkpoint=where, licence=licence),
        template={"name": template or fitting(tokenizer)},
        towers={IMAGE_MODALITY: _component(tower, config=tower_config, checkpoint=seen_with, licence=licence)},
        connectors={
            IMAGE_MODALITY: {
                **_component(connector, options=options, config=joint, licence=licence),
                "name": external.connector,
            }
        },
        modalities={IMAGE_MODALITY: {"name": IMAGE_MODALITY, "options": {"aspect": _aspect(external)}}},
    )
    with torch.device("meta"), _broken_config(external.directory):
        built_connector = build_connector(config, IMAGE_MODALITY, catalog)
    ledger.add_connector(external, built_connector, load(connector.spec), state)
    preprocessor, note = _read_preprocessor(external, tower_class, tower_config, names)
    dtype = next((t.dtype for name, t in ledger.tensors.items() if name.startswith("language_model.")), torch.float32)
    config.dtype = dtype
    return MappedCheckpoint(
        layout=external.layout,
        directory=external.directory,
        config=config,
        tokenizer=tokenizer,
        preprocessors={IMAGE_MODALITY: preprocessor},
        tensors=ledger.tensors,
        rows=tuple(ledger.rows),
        notes=(*note, *([f"its model card says: licence {licence}"] if licence else [])),
        dtype=dtype,
        catalog=catalog,
    )


@contextmanager
def _broken_config(directory: Path) -> Iterator[None]:
    """Transformers' classes raise anything where a configuration has a value that they cannot be built with."""
    try:
        yield
    except KitError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST]
        raise KitError(f"{directory / 'config.json'}: no model can be built from it: {what}") from error


class _Ledger:
    """Weights under the keys of the kit's model, and a row for every key of either."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.tensors: dict[str, Lazy] = {}
        self.rows: list[WeightRow] = []

    def add_llm(self, external: ExternalCheckpoint, llm: nn.Module) -> None:
        own = {name: tuple(value.shape) for name, value in llm.state_dict().items()}
        tied = set(getattr(llm, "all_tied_weights_keys", {}))
        extra = [name for name in external.llm if name not in own]
        dropped = [name for name in extra if name.endswith(("rotary_emb.inv_freq", ".attn.masked_bias"))]
        self._check(set(own) - tied - {"lm_head.bias"}, own, external.llm, surplus=set(extra) - set(dropped))
        for name, source in external.llm.items():
            if name in dropped:
                self.rows.append(WeightRow(source.key, "", "left out: computed"))
            elif name in tied:
                self.rows.append(WeightRow(source.key, "", "left out: tied to the embeddings"))
            else:
                self._add(source.key, f"language_model.{name}", source.tensor)
        if "lm_head.bias" in own and "lm_head.bias" not in external.llm:  # the older Phi's head had none
            zeros = torch.zeros(own["lm_head.bias"], dtype=self.tensors["language_model.lm_head.weight"].dtype)
            self._add("", "language_model.lm_head.bias", Lazy.of(zeros), "made: zeros, the older Phi has no bias here")

    def add_tower(
        self, external: ExternalCheckpoint, tower: nn.Module, kind: type[Tower], config: Mapping[str, Any], names: Names
    ) -> None:
        own = {name: tuple(value.shape) for name, value in tower.state_dict().items()}
        if not external.tower:
            self._add_tower_from_elsewhere(external, kind(config), names)
            return
        part = {_vision_name(name): source for name, source in external.tower.items()}
        self._check(set(own), own, part)
        for name, source in part.items():
            if name in own:
                self._add(source.key, f"towers.{IMAGE_MODALITY}.{name}", source.tensor)
            else:
                self.rows.append(WeightRow(source.key, "", "left out: behind the layer that is read"))

    def add_connector(
        self, external: ExternalCheckpoint, connector: nn.Module, kind: type, state: Mapping[str, Tensor]
    ) -> None:
        renamed = getattr(kind, "from_factory_keys", dict)(state)
        own = {name: tuple(value.shape) for name, value in connector.state_dict().items()}
        here = {name: tuple(value.shape) for name, value in renamed.items()}
        check_loaded(
            self.where,
            missing=own.keys() - here.keys(),
            unexpected=here.keys() - own.keys(),
            mismatched=[name for name in own.keys() & here.keys() if own[name] != here[name]],
        )
        keys = {id(state[name]): source.key for name, source in external.joint.items()}
        last = _last_layers(external, list(renamed)) if external.row_scale != 1 else None
        for name, tensor in renamed.items():
            key = keys.pop(id(tensor), "")
            note = "" if key else "made: fixed by the method"
            if last is not None and name.startswith(last):
                tensor = tensor * external.row_scale
                note = f"times {external.row_scale:g}, which the older Gemma did later"
            self._add(key, f"connectors.{IMAGE_MODALITY}.{name}", Lazy.of(tensor), note)
        self.rows += [WeightRow(key, "", "left out: not used by the connector") for key in keys.values()]

    def _add_tower_from_elsewhere(self, external: ExternalCheckpoint, tower: Tower, names: Names) -> None:
        """A tower that was frozen and not saved: from where it first came."""
        candidates = [c for name in external.vision_names for c in names.candidates(name)]
        if not candidates:
            raise KitError(
                f"{self.where!r} does not hold its vision model {' '.join(external.vision_names)!r}; give the folder "
                "in which it lies with --names-from DIR"
            )
        tower.load_weights(candidates[0])
        for name, tensor in tower.state_dict().items():
            self._add("", f"towers.{IMAGE_MODALITY}.{name}", Lazy.of(tensor), f"from {candidates[0]}")

    def _check(
        self, wanted: set[str], own: Mapping[str, tuple[int, ...]], part: Weights, *, surplus: Collection[str] = ()
    ) -> None:
        keys = {name: source.key for name, source in part.items()}
        wrong = [name for name in own.keys() & part.keys() if own[name] != part[name].tensor.shape]
        check_loaded(
            self.where,
            missing=wanted - part.keys(),
            unexpected=[keys[name] for name in surplus],
            mismatched=[f"{keys[n]} {part[n].tensor.shape}, config.json says {own[n]}" for n in wrong],
        )

    def _add(self, key: str, name: str, tensor: Lazy, note: str = "") -> None:
        self.tensors[name] = tensor
        self.rows.append(WeightRow(key, name, note))


def _last_layers(external: ExternalCheckpoint, names: Sequence[str]) -> tuple[str, ...]:
    """The prefixes of the layers that make a connector's rows, so that scaling them scales those.

    Raises:
        KitError: it has none.
    """
    layers = [int(match[1]) for name in names if (match := re.match(r"layers\.(\d+)\.weight$", name))]
    found = _LAST.get(external.connector) or ((f"layers.{max(layers)}.",) if layers else None)
    if found is None:
        raise KitError(
            f"{str(external.directory)!r}: connector {external.connector!r} in front of a Gemma of transformers 4 is "
            "not read: it has no layer that could scale its rows"
        )
    return found


def _by_model_type(kind: str, model_type: str, catalog: Catalog) -> Offer:
    """The component that takes checkpoints of a model type: one that names it, or one that takes any.

    Raises:
        MissingPluginError: none is installed.
    """
    offers = catalog.of_kind(kind)
    named = [offer for offer in offers if model_type in _model_types(offer)]
    anyone = [offer for offer in offers if kind == "llm" and not _model_types(offer)]
    if not (named or anyone):
        raise MissingPluginError(
            f"no installed {kind} takes {model_type!r} checkpoints; install the plugin that does, "
            f"'pip install tinyllava-kit-{'llm-hf' if kind == 'llm' else 'vision-' + model_type.partition('_')[0]}'"
        )
    return (named or anyone)[0]


def _model_types(offer: Offer) -> tuple[str, ...]:
    assert isinstance(offer.spec, (LanguageModelSpec, TowerSpec))
    return offer.spec.model_types


def _tower_config(external: ExternalCheckpoint, kind: Any) -> dict[str, Any]:
    """A tower's configuration; see `TransformersVisionTower`."""
    vision = _architecture(external.vision_config)
    dropped = kind.num_prefix if external.dropped is None else external.dropped
    select = next((name for name, count in kind.selections.items() if count == dropped), None)
    if select is None:
        raise KitError(f"{str(external.directory)!r}: {kind.__name__} cannot leave out {dropped} features in front")
    return {"vision_config": vision, "layer": external.layer, "select": select}


def _architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without keys that do not describe the architecture, nested ones too."""
    return {
        key: _architecture(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in _NOT_SAVED
    }


def _picture_size(external: ExternalCheckpoint, kind: type[Tower], names: Names) -> int:
    """The side of a picture as the image processor makes it, where that is not the side that a tower was trained at.

    DINOv2's configurations say 518, and its image processors make 224, which is what the external programs gave it.
    """
    for candidate in (c for name in external.vision_names for c in names.candidates(name)):
        try:
            return int(kind.read_config(candidate, layer=external.layer)["image_size"])
        except KitError:
            continue
    trained = int(external.vision_config.get("image_size", 0))
    return _DINOV2_SIZES.get(trained, trained)


def _vision_name(name: str) -> str:
    """A vision model's name in transformers 5."""
    name = _INNER.sub("", name)
    for pattern, new in _DINOV2:
        name = pattern.sub(new, name)
    return name


def _connector_options(
    external: ExternalCheckpoint, connector: Offer, state: Mapping[str, Tensor], names: Names
) -> dict[str, Any]:
    sizes = _qformer_sizes(external, state, names) if external.connector == "qformer" else {}
    known = {**external.connector_options, **sizes}
    options = {o.name: known[o.name] for o in connector.spec.options if known.get(o.name) is not None}
    return {**options, **connector.spec.name_options(external.connector)}


def _qformer_sizes(external: ExternalCheckpoint, state: Mapping[str, Tensor], names: Names) -> dict[str, int]:
    """Sizes of the Q-Former: of its weights, but for the number of heads, which is that of the BERT it was made from.

    Raises:
        KitError: another width than bert-base's, and no BERT here to ask.
    """
    width = state["query_tokens"].shape[-1]
    layers = {int(m[1]) for name in state if (m := re.match(r"bert\.encoder\.layer\.(\d+)\.", name))}
    bert = names.json("google-bert/bert-base-uncased")
    if width == 768:
        heads = 12
    elif bert and bert["hidden_size"] == width:
        heads = bert["num_attention_heads"]
    else:
        raise KitError(
            f"{str(external.directory)!r}: its Q-Former is {width} wide, not bert-base's 768; give the folder in which "
            "its 'google-bert/bert-base-uncased' lies with --names-from DIR"
        )
    mlp = state["bert.encoder.layer.0.intermediate_query.dense.weight"].shape[0]
    return {"num_layers": len(layers), "hidden_dim": width, "num_heads": heads, "mlp_dim": mlp}


def _aspect(external: ExternalCheckpoint) -> str:
    if external.aspect not in _ASPECTS:
        raise KitError(
            f"{str(external.directory)!r}: image_aspect_ratio {external.aspect!r} is not read; expected "
            f"{' or '.join(_ASPECTS)}"
        )
    return _ASPECTS[external.aspect]


def _read_tokenizer(llm: Offer, where: str) -> PreTrainedTokenizerBase:
    interface: type[LanguageModel] = load(llm.spec)
    # For the tokenizer transformers reads the configuration too, and complains of its model type and old names
    with without_reports(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rope_scaling", category=FutureWarning)
        return interface.read_tokenizer(where)


def _read_preprocessor(
    external: ExternalCheckpoint, kind: Any, config: Mapping[str, Any], names: Names
) -> tuple[Preprocessor, list[str]]:
    """The checkpoint's own image processor, that of its vision model, or the class's defaults at the tower's size."""
    elsewhere = [each for name in external.vision_names[:1] for each in names.candidates(name)]
    for candidate in (str(external.directory), *elsewhere):
        if candidate != str(external.directory) or image_processor_of(external.directory) is not None:
            try:
                return kind.read_preprocessor(candidate, config), []
            except KitError:
                continue
    preprocessor = kind.default_preprocessor(config)
    name = type(preprocessor).__name__
    return preprocessor, [f"no image processor came with the checkpoint: {name}'s defaults at {preprocessor.size} px"]


def _component(offer: Offer, **extra: Any) -> dict[str, Any]:
    return as_json(Component(name=offer.spec.name, distribution=offer.distribution, version=offer.version, **extra))
