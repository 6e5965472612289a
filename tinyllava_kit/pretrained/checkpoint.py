"""Reading a checkpoint that a user named: a hub name or a local directory; every failure is one line."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.utils import cached_file, logging

from ..errors import KitError
from ..files.content import checked
from ..files.failures import read_mapping, reading
from ..files.opening import check_directory
from ..files.paths import could_be_on_a_hub, is_there, offline, refuse_mistyped

INDEX = "model.safetensors.index.json"

# Settings of a tokenizer by which it would open files, and where; transformers itself says where the others are.
_TOKENIZER: dict[str, Any] = {
    "model_max_length": int | float,
    "init_inputs": Annotated[list[Any], Field(max_length=0)],
    "fast_tokenizer_files": list[Annotated[str, Field(pattern=r"^tokenizer[0-9.]*\.json$")]],
    "tokenizer_class": str,
}


def read_pretrained(loader: Any, checkpoint: str, **kwargs: Any) -> Any:
    """``loader.from_pretrained(checkpoint)``, for a hub name or a local directory.

    Code that comes with a checkpoint is never run. A path that looks local must exist: it is not
    looked up on a hub.

    Raises:
        KitError: not found, not readable, or of another kind; names the checkpoint.
    """
    if not checkpoint:
        raise KitError("a checkpoint is needed: write NAME:DIR or NAME:ORG/NAME")
    local = looks_local(checkpoint)
    if not is_there(checkpoint):
        refuse_mistyped(checkpoint, "checkpoint directory", cache=kwargs.get("cache_dir"))
    if local:
        check_directory(checkpoint)
    with reading(f"cannot read {getattr(loader, '__name__', str(loader))} from {checkpoint!r}"):
        return loader.from_pretrained(
            checkpoint, trust_remote_code=False, local_files_only=local or offline(), **kwargs
        )


def read_index(index: Path) -> list[Path]:
    """The files that an index of weights names, in order.

    Raises:
        KitError: not an index, or it names a file that is not there or lies elsewhere.
    """
    names = checked(dict[str, str], read_mapping(index).get("weight_map"), f"{index}: weight_map")
    for name in names.values():
        if Path(name).name != name or name == "..":
            raise KitError(f"{index}: names {name[:200]!r}; the files of weights must be in the folder of their index")
        if not os.path.isfile(index.parent / name):
            raise KitError(f"{index}: names {name[:200]!r}, which is missing; copy the whole checkpoint")
    return [index.parent / name for name in sorted(set(names.values()))]


def check_index(directory: Any) -> None:
    """Check the index of a local directory's weights, where they have one, before transformers reads it.

    Raises:
        KitError: as `read_index`; or it has no mapping of metadata, into which transformers writes; or it is in another
            encoding than transformers reads.
    """
    index = Path(directory or "", INDEX)
    if directory and not (Path(directory) / "model.safetensors").exists() and index.exists():
        read_index(index)
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
        except ValueError as error:
            raise KitError(f"{index}: needs UTF-8 without a byte order mark, as transformers reads it") from error
        checked(dict[str, Any], content.get("metadata"), f"{index}: metadata")


def read_tokenizer(checkpoint: str, **kwargs: Any) -> Any:
    """The tokenizer of a hub name or a local directory; it opens no file outside of that.

    Raises:
        KitError: not found, damaged, or its settings name files elsewhere.
    """
    hub = {key: each for key, each in kwargs.items() if key in ("cache_dir", "revision", "token", "subfolder")}
    if (file := find_file(checkpoint, "tokenizer_config.json", **hub)) is not None:
        settings = read_mapping(file)
        for key, kind in _TOKENIZER.items():
            if settings.get(key) is not None:
                checked(kind, settings[key], f"{file}: {key}")
    tokenizer = read_pretrained(AutoTokenizer, checkpoint, **kwargs)
    if tokenizer.get_vocab().keys() <= tokenizer.get_added_vocab().keys():  # transformers makes one of settings alone
        raise KitError(
            f"{checkpoint!r} has no vocabulary: expected a tokenizer.json, or the files of the LLM's own tokenizer; "
            "download it again"
        )
    return tokenizer


def find_file(checkpoint: str, name: str, **hub: Any) -> Path | None:
    """A file of a local directory or of a hub's repository; None: there is none.

    Raises:
        KitError: no such directory or repository.
    """
    if looks_local(checkpoint):
        file = Path(os.path.expanduser(checkpoint)) / hub.get("subfolder", "") / name
        return file if is_there(file) else None
    refuse_mistyped(checkpoint, "checkpoint directory", cache=hub.get("cache_dir"))
    with reading(f"cannot read {name} of {checkpoint!r}"):
        found = cached_file(checkpoint, name, _raise_exceptions_for_missing_entries=False, **hub)
    return None if found is None else Path(found)


@contextmanager
def without_reports() -> Iterator[None]:
    """Without what transformers logs while it reads a checkpoint; what matters is checked by the caller."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def looks_local(checkpoint: str) -> bool:
    """Whether a checkpoint argument is a path: it exists, or no hub may know such a name."""
    return is_there(checkpoint) or not could_be_on_a_hub(checkpoint)


def check_model_type(found: str, wanted: Sequence[str], checkpoint: str) -> None:
    """Refuse a checkpoint of another architecture.

    Raises:
        KitError: names the checkpoint, its model type and those that the component takes.
    """
    if wanted and found not in wanted:
        raise KitError(f"{checkpoint!r} is a {found!r} checkpoint; this component takes {', '.join(map(repr, wanted))}")


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str, *, surplus_ok: bool = False) -> None:
    """Copy `state` into `module`; every key of the module must be there.

    Raises:
        KitError: missing or surplus keys, or other shapes; lists the first of them.
    """
    own = module.state_dict()
    check_loaded(
        source,
        missing=own.keys() - state.keys(),
        unexpected=() if surplus_ok else state.keys() - own.keys(),
        mismatched=[k for k in own.keys() & state.keys() if own[k].shape != state[k].shape],
    )
    module.load_state_dict({key: state[key] for key in own}, strict=True)


@dataclass(frozen=True)
class Unmapped:
    """A tensor of a safetensors file: ``tensor[...]`` maps the file for it alone, and its pages go when it does."""

    file: str | os.PathLike[str]
    name: str

    def __getitem__(self, where: Any) -> Tensor:
        with safe_open(self.file, framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(self.name)
            return tensor[where]


def open_tensors(files: Iterable[str | os.PathLike[str]], passing: Container[str]) -> dict[str, Any]:
    """The tensors of safetensors files by name, each read at ``tensor[...]``; the `passing` ones are `Unmapped`."""
    tensors: dict[str, Any] = {}
    for file in files:
        opened: Any = safe_open(file, framework="pt")
        for name in opened.keys():  # noqa: SIM118 (not a mapping)
            tensors[name] = Unmapped(file, name) if name in passing else opened.get_slice(name)
    return tensors


def check_loaded(
    source: str, *, missing: Iterable[str], unexpected: Iterable[str] = (), mismatched: Iterable[str] = ()
) -> None:
    """Refuse weights that do not fit.

    Raises:
        KitError: names the source and the first of the keys.
    """
    for what, found in (("missing", missing), ("unexpected", unexpected), ("wrongly shaped", mismatched)):
        keys = sorted(found)
        if keys:
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            raise KitError(f"{source!r}: {what} weights: {', '.join(keys[:5])}{more}")
