"""The configuration that is saved with a model: its assembly, each component with the plugin it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field
from transformers import AutoConfig, PreTrainedConfig

from ..errors import KitError, MissingPluginError
from ..files.content import checked
from ..files.failures import reading
from ..files.origins import without_places
from ..plugin.catalog import Catalog, Offer
from ..plugin.discovery import installed_catalog
from ..plugin.specs import load
from ..pretrained.owners import import_owner
from ..pretrained.saved_config import described, kind_of

CONFIG_FILE = "config.json"


@dataclass(frozen=True, kw_only=True)
class Component:
    """One part of a saved model.

    `config` is what the part is built from (a tower's configuration, a connector's dimensions); `checkpoint`
    says where its weights first came from and is never read again (saved as an `origin`), `licence` under which they
    came, where that is known.
    """

    name: str
    distribution: str = ""
    version: str = ""
    checkpoint: str = ""
    licence: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Mapping[str, Any], where: str) -> Component:
        """From what ``config.json`` holds.

        Raises:
            KitError: not a mapping with a name, or unknown keys.
        """
        known = {each.name for each in fields(cls)}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str) or value.keys() - known:
            shown = repr(value)[:200]
            raise KitError(f"{CONFIG_FILE}: {where} needs {{'name': ..., 'options': {{...}}}}, got {shown}")
        return cls(
            **{key: checked(_COMPONENT[key], each, f"{CONFIG_FILE}: {where}.{key}") for key, each in value.items()}
        )

    def offer(self, kind: str, catalog: Catalog) -> Offer:
        """Who offers this component here.

        Raises:
            MissingPluginError: nobody; the message says what to install.
        """
        qualified = [
            o for o in catalog.of_kind(kind) if o.distribution == self.distribution and o.spec.matches(self.name)
        ]
        if qualified:
            return qualified[0]
        try:
            return catalog.find(kind, self.name)
        except MissingPluginError:
            if not self.distribution:
                raise
            for plugin in catalog.plugins:
                if plugin.distribution == self.distribution and plugin.status != "ok":
                    raise MissingPluginError(
                        f"this model's {kind} {self.name!r} comes with plugin {plugin.name!r}, which is "
                        f"{plugin.status}: {plugin.detail}; {plugin.fix}"
                    ) from None
            raise MissingPluginError(
                f"this model's {kind} {self.name!r} comes with a plugin that is not installed: "
                f"pip install '{self.distribution}=={self.version}'"
            ) from None


# The type of each field of a `Component`, as a file holds it.
_COMPONENT = {each.name: str for each in fields(Component)} | {"options": dict[str, Any], "config": dict[str, Any]}

# Names of modalities are names of modules of the model.
_Modality = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_Group = dict[_Modality, dict[str, Any]] | None
_Entry = dict[str, Any] | None
_Ranges = dict[_Modality, list[tuple[str, int, int]]] | None
_Streams = dict[_Modality, list[tuple[str, int]]] | None

# The keys that a saved configuration may have, with their types; others are not read. What transformers writes beside
# it (where a model came from, how it attends) is not what a model is.
_SAVED: dict[str, Any] = {
    "text_config": _Entry,
    "llm": _Entry,
    "template": _Entry,
    "towers": _Group,
    "connectors": _Group,
    "modalities": _Group,
    "decoders": _Group,
    "token_ranges": _Ranges,
    "parallel_streams": _Streams,
    "packs_apart": list[str] | None,
    "tie_word_embeddings": bool | None,
    "architectures": list[str] | None,
    "dtype": str | None,
    "torch_dtype": str | None,
    "transformers_version": str | None,
    "quantization_config": _Entry,
}


def saved(content: Any) -> dict[str, Any]:
    """What of the content of a ``config.json`` is a model's configuration, checked.

    Raises:
        KitError: a value of another type; names the key.
    """
    content = checked(dict[str, Any], content, CONFIG_FILE)
    kept = {key: checked(kind, content[key], f"{CONFIG_FILE}: {key}") for key, kind in _SAVED.items() if key in content}
    if kept.get("text_config") is not None:
        where = f"{CONFIG_FILE}: text_config"
        _import_llm(kept["text_config"], kept.get("llm"))
        kind = kind_of(kept["text_config"], where)
        kept["text_config"] = {**described(kind, kept["text_config"], where), "model_type": kind.model_type}
    if kept.get("quantization_config") is not None:
        kept["quantization_config"] = _quantization(kept["quantization_config"])
    for key in ("dtype", "torch_dtype"):
        described(PreTrainedConfig, {"dtype": kept.get(key) or "auto"}, f"{CONFIG_FILE}: {key}")
    return kept


def _import_llm(text_config: Mapping[str, Any], llm: Mapping[str, Any] | None) -> None:
    """Import the LLM's component where transformers does not know its type: its module registers the class.

    Raises:
        MissingPluginError: nobody offers it here; the message says what to install.
        KitError: it cannot be imported.
    """
    name = text_config.get("model_type")
    if llm is not None and isinstance(name, str) and not import_owner(name):
        load(Component.of(llm, "llm").offer("llm", installed_catalog()).spec)


# What the kit's own quantization writes, see `checkpoints.quantization`.
_QUANTIZATION: dict[str, Any] = {
    "quant_method": Literal["bitsandbytes"],
    "_load_in_8bit": bool,
    "_load_in_4bit": bool,
    "load_in_8bit": bool,
    "load_in_4bit": bool,
    "llm_int8_threshold": float,
    "llm_int8_skip_modules": list[str] | None,
    "llm_int8_enable_fp32_cpu_offload": bool,
    "llm_int8_has_fp16_weight": bool,
    "bnb_4bit_quant_type": Literal["fp4", "nf4"],
    "bnb_4bit_use_double_quant": bool,
    "bnb_4bit_compute_dtype": str | None,
    "bnb_4bit_quant_storage": str | None,
}


def _quantization(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of bitsandbytes in a saved configuration, each of its type.

    Raises:
        KitError: not of bitsandbytes, the one that is read; or a value of another type.
    """
    where = f"{CONFIG_FILE}: quantization_config"
    if content.get("quant_method") != "bitsandbytes":
        raise KitError(f"{where}: only bitsandbytes' is read, got {str(content.get('quant_method'))[:80]!r}")
    return {key: checked(kind, content[key], f"{where}.{key}") for key, kind in _QUANTIZATION.items() if key in content}


class TinyLlavaConfig(PreTrainedConfig):
    """Configuration of a `TinyLlavaForConditionalGeneration`.

    `text_config` is the LLM's own configuration. `llm` and `template` are components; `towers`, `connectors`,
    `modalities` and `decoders` map a modality's name to one. All are stored as plain JSON; `component` reads one.
    `token_ranges` says which ids belong to which decoder, see `ids.allot`, `parallel_streams` which stand beside
    them.
    `packs_apart` names the ways to compute attention with which training has seen samples that share a row stay apart.
    """

    model_type = "tinyllava"
    # what Trainer.predict and evaluate leave out: it is of another length in each batch, or no tensor
    keys_to_ignore_at_inference = [  # noqa: RUF012
        "past_key_values",
        "cache",
        "parallel_logits",
        "target_losses",
        "target_groups",
        "item_features",
        "item_embeddings",
    ]
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012
    auto_map: ClassVar[dict[str, str]] = {}  # no code comes with a model; other programs look

    if TYPE_CHECKING:  # what holds of a model's own, once it is made
        text_config: PreTrainedConfig
        llm: dict[str, Any] | None
        template: dict[str, Any] | None
        towers: dict[str, dict[str, Any]]
        connectors: dict[str, dict[str, Any]]
        modalities: dict[str, dict[str, Any]]
        decoders: dict[str, dict[str, Any]]
        token_ranges: dict[str, list[list[Any]]]
        parallel_streams: dict[str, list[list[Any]]]
        packs_apart: list[str]
        tie_word_embeddings: bool

        def __init__(self, **kwargs: Any) -> None: ...

    else:
        text_config: dict | PreTrainedConfig | None = None
        llm: dict | None = None
        template: dict | None = None
        towers: dict | None = None
        connectors: dict | None = None
        modalities: dict | None = None
        decoders: dict | None = None
        token_ranges: dict | None = None
        parallel_streams: dict | None = None
        packs_apart: list | None = None
        tie_word_embeddings: bool | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.text_config, Mapping):
            self.text_config = kind_of(self.text_config, "text_config")(**self.text_config)
        super().__post_init__(**kwargs)
        if self.tie_word_embeddings is None:
            self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        for name in ("towers", "connectors", "modalities", "decoders", "token_ranges", "parallel_streams"):
            setattr(self, name, dict(getattr(self, name) or {}))
        self.packs_apart = list(self.packs_apart or ())

    def __getattr__(self, name: str) -> Any:
        """``MODALITY_token_id``, as transformers' configurations have it: an id behind all others, never written.

        Items have no id here, see `Plan`; programs that keep an LLM from writing an item's id ask for it.
        """
        modality = name.removesuffix("_token_id")
        modalities = sorted(vars(self).get("modalities") or ())
        if modality == name or modality not in modalities:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        ends = [first + count for ranges in self.token_ranges.values() for _, first, count in ranges]
        return max([self.text_config.vocab_size, *ends]) + modalities.index(modality)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """As in transformers; other keys than those of a model's configuration are not read.

        Raises:
            KitError: there is none, or it is damaged.
        """
        with reading(f"{str(pretrained_model_name_or_path)!r}: {CONFIG_FILE}"):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in transformers, which takes a configuration that is not there for an empty one.

        Raises:
            KitError: there is none, or it is empty.
        """
        content, others = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if not content:
            raise KitError(
                f"{str(pretrained_model_name_or_path)!r} is no model: it has no {CONFIG_FILE}, or an empty one"
            )
        return content, others

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers; see `saved`.

        Raises:
            KitError: a value of another type; names the key.
        """
        content = saved(config_dict)
        with reading(CONFIG_FILE):
            return super().from_dict(content, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As in transformers; with no path of this machine in it."""
        return without_places(super().to_dict())

    def component(self, kind: str, modality: str = "") -> Component:
        """The `llm`, the `template`, or a modality's `tower`, `connector`, `modality` or `decoder`.

        Raises:
            KitError: the configuration has none.
        """
        groups = {"tower": "towers", "connector": "connectors", "modality": "modalities", "decoder": "decoders"}
        group = groups.get(kind, kind)
        value = getattr(self, group)
        where = f"{group}.{modality}" if modality else group
        if modality:
            value = (value or {}).get(modality)
        if value is None:
            foreign = "; another project's checkpoint is opened by load_pretrained" if kind == "llm" else ""
            raise KitError(f"config.json: the model has no {where}{foreign}")
        return Component.of(value, where)


def as_json(component: Component) -> dict[str, Any]:
    """A component as ``config.json`` holds it."""
    return {key: value for key, value in asdict(component).items() if value not in ("", {})}
