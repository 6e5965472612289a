"""The configuration that is saved with a model: its assembly, each component with the plugin it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .catalog import Catalog, Offer
from .errors import KitError, MissingPluginError


@dataclass(frozen=True, kw_only=True)
class Component:
    """One part of a saved model.

    `config` is what the part is built from (a tower's configuration, a connector's dimensions); `checkpoint`
    says where its weights first came from and is never read again, `licence` under which they came, where that is
    known.
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
            raise KitError(f"config.json: {where} wants {{'name': ..., 'options': {{...}}}}, got {value!r}")
        return cls(**value)

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
            raise MissingPluginError(
                f"this model's {kind} {self.name!r} comes with a plugin that is not installed: "
                f"pip install '{self.distribution}=={self.version}'"
            ) from None


class _AnyLanguageModel(SubConfigSpec):
    """A nested configuration of any model type; absent in an empty configuration."""

    def __init__(self) -> None:
        super().__init__(AutoConfig, model_type="", optional=True)

    def default_config_fields(self) -> dict[str, Any]:
        return {}


class TinyLlavaConfig(PreTrainedConfig):
    """Configuration of a `TinyLlavaForConditionalGeneration`.

    `text_config` is the LLM's own configuration. `llm` and `template` are components; `towers`, `connectors`,
    `modalities` and `decoders` map a modality's name to one. All are stored as plain JSON; `component` reads one.
    `token_ranges` says which ids belong to which decoder, see `grammar.allot`, `token_sides` which stand beside them.
    `packs_apart` names the ways to compute attention with which training has seen samples that share a row stay apart.
    """

    model_type = "tinyllava"
    sub_configs_defaults = {"text_config": _AnyLanguageModel()}  # noqa: RUF012

    text_config: dict | PreTrainedConfig | None = None
    llm: dict | None = None
    template: dict | None = None
    towers: dict | None = None
    connectors: dict | None = None
    modalities: dict | None = None
    decoders: dict | None = None
    token_ranges: dict | None = None
    token_sides: dict | None = None
    packs_apart: list | None = None
    tie_word_embeddings: bool | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.tie_word_embeddings is None:
            self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        for name in ("towers", "connectors", "modalities", "decoders", "token_ranges", "token_sides"):
            setattr(self, name, dict(getattr(self, name) or {}))
        self.packs_apart = list(self.packs_apart or ())

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
