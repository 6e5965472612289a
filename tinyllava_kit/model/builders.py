"""The parts of a model by its configuration, without weights."""

from __future__ import annotations

from typing_extensions import NotRequired, TypedDict

from ..core.decoders import Decoder, HiddenDecoder, TokenDecoder, TokenEmbeddings
from ..core.interfaces import Connector, Tower
from ..files.content import Count, arguments, checked
from ..files.failures import reading
from ..plugin.catalog import Catalog
from ..plugin.specs import load
from ..pretrained.sizes import bounded
from .configuration import TinyLlavaConfig


class Joint(TypedDict):
    """What a connector joins, as ``config.json`` holds it."""

    in_dim: Count
    out_dim: Count
    grid: NotRequired[tuple[Count, Count] | None]


def build_tower(config: TinyLlavaConfig, modality: str, catalog: Catalog) -> Tower:
    """The tower of a modality, without weights."""
    component = config.component("tower", modality)
    tower: type[Tower] = load(component.offer("tower", catalog).spec)
    where = f"config.json: towers.{modality}.config"
    with reading(f"{where}: no {component.name!r} can be made of it"), bounded(where):
        return tower(component.config)


def build_connector(config: TinyLlavaConfig, modality: str, catalog: Catalog) -> Connector:
    """The connector of a modality, without weights.

    Raises:
        KitError: it cannot join this tower and this LLM.
    """
    component = config.component("connector", modality)
    connector: type[Connector] = load(component.offer("connector", catalog).spec)
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
            return decoder_class(component.config, _width(config))
        decoder = decoder_class(component.config)
        if isinstance(decoder, TokenDecoder):
            parallel_rows = sum(stream.size for stream in decoder.parallel.values())
            decoder.rows = TokenEmbeddings(2 + sum(decoder.ranges.values()) + parallel_rows, _width(config))
        return decoder


def _width(config: TinyLlavaConfig) -> int:
    """That of the LLM, D."""
    width: int = config.get_text_config().hidden_size
    return width
