"""Configurations of transformers as a file of ours holds them: what describes a network, and nothing else.

transformers makes an attribute of any key, and some of them reach further than the network: to code that comes with a
checkpoint (``auto_map``), to kernels and weights on a hub (``_attn_implementation``, ``transformers_weights``), to
names of other models. So what is taken is a list: the fields of the configuration's own class, checked by it; of what
the class does not declare, numbers and truth values, which some networks read; of nested configurations the same.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from ..errors import KitError, near
from ..files.content import MOST_LAYERS, checked
from ..files.failures import reading

# What every configuration may have beside its class's fields, under names of before.
_ROPE = {"rope_theta": float, "rope_scaling": dict[str, Any] | None, "rope_parameters": dict[str, Any] | None}
# Fields that lead away from the network: a backbone is another model, whose weights may be fetched.
_LEADING_AWAY = ("backbone", "per_layer_config")
# Fields that say how a network is called, and what its call returns: that is the caller's.
_OUTPUTS = ("output_hidden_states", "output_attentions", "_output_attentions", "return_dict")
_OF_CALLS = (*_OUTPUTS, "chunk_size_feed_forward")


def described(kind: type[PreTrainedConfig], content: Any, where: str) -> dict[str, Any]:
    """What of a saved configuration describes a network of this kind.

    Args:
        where: the file and the place in it, for messages.

    Raises:
        KitError: no mapping, or more layers than there can be.
    """
    content = checked(dict[str, Any], content, where)
    declared = _declared(kind)  # type: ignore[arg-type]  # mypy takes a class of configurations for an instance
    kept: dict[str, Any] = {}
    for key, value in content.items():
        if key in ("model_type", *_OF_CALLS) or any(each in key for each in _LEADING_AWAY):
            continue
        if key in kind.sub_configs and value is not None:
            kept[key] = _nested(kind, key, value, f"{where}.{key}")
        elif key in declared or key in _ROPE:
            kept[key] = checked(_ROPE[key], value, f"{where}.{key}") if key in _ROPE else value
        elif value is None or isinstance(value, (bool, int, float)):
            kept[key] = value
        if "layers" in key and isinstance(value, int) and not -MOST_LAYERS <= value <= MOST_LAYERS:
            raise KitError(f"{where}.{key}: expected at most {MOST_LAYERS}, got {str(value)[:20]}")
    if isinstance(dtype := kept.get("dtype", "auto"), str) and not _is_dtype(dtype):
        raise KitError(f"{where}.dtype: expected the name of a dtype of torch, got {dtype[:80]!r}")
    return kept


def network(kind: type[PreTrainedConfig], content: Any, where: str, **fixed: Any) -> PreTrainedConfig:
    """The configuration of a network, from what a file of ours holds of it.

    Args:
        fixed: what it has whatever the file says.

    Raises:
        KitError: no mapping, or values that are not of the types that the class declares.
    """
    fields = {**described(kind, content, where), **fixed}
    with reading(where):
        return kind(**fields)


def kind_of(content: Any, where: str) -> type[PreTrainedConfig]:
    """The class of configurations that ``model_type`` names.

    Raises:
        KitError: it names none that transformers or a plugin knows.
    """
    content = checked(dict[str, Any], content, where)
    name = checked(str, content.get("model_type"), f"{where}.model_type")
    if name not in CONFIG_MAPPING:
        advice = near(name, CONFIG_MAPPING.keys()) if len(name) < 80 else ""
        advice = advice if advice.startswith("did") else "a newer transformers may know it"
        raise KitError(f"{where}.model_type: transformers knows no {name[:80]!r}; {advice}")
    with reading(where):
        return CONFIG_MAPPING[name]


def _nested(kind: type[PreTrainedConfig], key: str, value: Any, where: str) -> dict[str, Any]:
    """A configuration inside another one; with the type that it names where any may stand there."""
    own = kind.sub_configs[key]
    value = checked(dict[str, Any], value, where)
    if isinstance(own, type) and issubclass(own, PreTrainedConfig):
        return {**described(own, value, where), "model_type": own.model_type}
    found = kind_of(value, where)
    return {**described(found, value, where), "model_type": found.model_type}


@functools.lru_cache(maxsize=64)
def _declared(kind: type[PreTrainedConfig]) -> frozenset[str]:
    """The names that a class of configurations knows: its fields, their other names, and what it sets itself."""
    fields = {field.name for field in dataclasses.fields(kind)} | set(kind.attribute_map)
    try:
        own = {name for name in vars(kind()) if not name.startswith("_")}
    except Exception:  # it cannot be made of nothing; its fields are all that is known
        own = set()
    return frozenset((fields | own) - {"auto_map", "transformers_weights", "quantization_config", "name_or_path"})


def _is_dtype(name: str) -> bool:
    import torch

    return name == "auto" or isinstance(getattr(torch, name.removeprefix("torch."), None), torch.dtype)
