"""What of a ``generation_config.json`` a model of this kit takes: how the next id is chosen, and where an answer ends.

Settings that change the way of generation itself (contrastive and assisted search, other caches, stop strings, another
kind of output) are not read: they belong to a call of `generate`, where somebody asks for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from transformers import GenerationConfig

from ..errors import KitError
from ..files.content import Finite, Size, WholeNumber, checked
from ..files.failures import read_mapping, reading

GENERATION_FILE = "generation_config.json"

_Ids = Size | list[Size]
_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_Length = Size

_READ: dict[str, Any] = {
    "bos_token_id": _Ids,
    "eos_token_id": _Ids,
    "pad_token_id": Size,
    "max_length": _Length,
    "max_new_tokens": _Length,
    "min_length": _Length,
    "min_new_tokens": _Length,
    "do_sample": bool,
    "temperature": Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)],
    "top_k": _Length,
    "top_p": _Share,
    "min_p": _Share,
    "top_h": _Share,
    "typical_p": _Share,
    "epsilon_cutoff": _Share,
    "eta_cutoff": _Share,
    "repetition_penalty": _Positive,
    "no_repeat_ngram_size": Annotated[WholeNumber, Field(ge=0, le=1000)],
    "length_penalty": Finite,
    "num_beams": Annotated[WholeNumber, Field(ge=1, le=64)],
    "early_stopping": bool | Literal["never"],
    "suppress_tokens": list[Size],
    "begin_suppress_tokens": list[Size],
    "bad_words_ids": list[list[Size]],
    "use_cache": bool,
    "_from_model_config": bool,
    "transformers_version": str,
}
_MAY_BE_MINUS_ONE = ("bos_token_id", "eos_token_id", "pad_token_id", "top_k")
# Lists of ids in which -1 means none.
_LISTS = ("bos_token_id", "eos_token_id", "suppress_tokens", "begin_suppress_tokens")
# What has no effect on greedy answers, and on those without beams: published files have it all the same.
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
_BEAMS = ("early_stopping", "length_penalty")
# Ids that are looked up, and must be there.
_LOOKED_UP = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")


def read_generation(file: Path) -> GenerationConfig:
    """Read a ``generation_config.json``.

    Raises:
        KitError: not JSON, or a setting of another type; names it.
    """
    return taken(read_mapping(file), str(file))


def taken(content: dict[str, Any], where: str) -> GenerationConfig:
    """The settings that are read, checked.

    Args:
        where: the file, for messages.

    Raises:
        KitError: a setting of another type, or settings that contradict each other.
    """
    content = {key: _without_none(value) if key in _LISTS else value for key, value in content.items()}
    given = {key: kind for key, kind in _READ.items() if not _is_unset(key, content.get(key))}
    known = {key: checked(kind, content[key], f"{where}: {key}") for key, kind in given.items()}
    samples = known.get("do_sample") is True and known.get("temperature") != 0
    ignored: tuple[str, ...] = () if samples else ("do_sample", *_SAMPLING)
    ignored += () if known.get("num_beams", 1) > 1 else _BEAMS
    with reading(where):
        return GenerationConfig.from_dict({key: value for key, value in known.items() if key not in ignored})


def _without_none(value: Any) -> Any:
    return [each for each in value if each != -1] if isinstance(value, list) else value


def _is_unset(key: str, value: Any) -> bool:
    """Null, an empty list, and -1 where programs write it for none."""
    return value is None or value == [] or (key in _MAY_BE_MINUS_ONE and value == -1)


def check_ids(settings: GenerationConfig, vocabulary: int, where: str) -> None:
    """Check that the ids in the settings are in the vocabulary.

    Raises:
        KitError: ids that the model does not have.
    """
    for name in _LOOKED_UP:
        entries = getattr(settings, name) or ()
        highest = max((max(each) if isinstance(each, list) else each for each in entries if each != []), default=0)
        if highest >= vocabulary:
            raise KitError(f"{where}: {name}: the model has the ids 0 to {vocabulary - 1}, got {highest}")
