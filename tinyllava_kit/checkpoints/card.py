"""The model card: facts about a model directory, from the files that are in it."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ..files.content import read_as
from ..files.printable import one_line, printable
from ..files.writing import write_file, write_json
from ..model.storage.replaced import CARD_FILE, CARD_MARK
from .card_usage import pipeline_tag, use

TRAINING_FILE = "training.json"
NOT_RECORDED = "not recorded"
_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def write_card(directory: str | os.PathLike[str], evaluations: Sequence[str] = (), *, name: str = "") -> None:
    """Write ``README.md``, unless there is one of somebody else's.

    Args:
        name: of the model; the directory's where not given.
        evaluations: a line for each that the model has had.

    Raises:
        KitError: it cannot be written.
    """
    file = Path(directory) / CARD_FILE
    if file.exists() and CARD_MARK not in file.read_text(encoding="utf-8"):
        return
    write_file(file, card(directory, evaluations, name=name))


def card(directory: str | os.PathLike[str], evaluations: Sequence[str] = (), *, name: str = "") -> str:
    """The text of the card: parts, licences where known, data, recipes, time, what was measured; no claims."""
    directory = Path(directory)
    name = name or directory.resolve().name
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    history = read_history(directory)
    lines = [*_head(config), CARD_MARK, "", f"# {_plain(name)}", "", *_parts(config)]
    for stage in history:
        lines += ["", *_stage(stage)]
    lines += ["", "## Results", ""]
    lines += [f"- {_plain(line)}" for line in evaluations] or ["Nothing was measured on this model."]
    return "\n".join([*lines, "", *use(sorted(config.get("towers") or ()), name, _install(config))])


def read_history(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The stages that a model went through, oldest first, as `training.history` has written them.

    Raises:
        KitError: the file is damaged.
    """
    file = Path(directory) / TRAINING_FILE
    if not file.exists():
        return []
    stages = read_as(list[_Stage], file, "remove the file; the model is as it was, without its history")
    return [stage.model_dump() for stage in stages]


class _Known(BaseModel):
    """The fields that are read of a part of the history; the rest is kept too."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=True)


class _Part(_Known):
    name: str
    mode: str
    trained: int
    learning_rate: float


class _Source(_Known):
    path: str | None
    dataset: str | None


class _Settings(_Known):
    data: list[_Source]
    schedule: str
    warmup_ratio: float
    warmup_steps: int | None = None
    optimizer: str | None = None
    batch_size: int
    gradient_accumulation: int
    max_length: int | None
    seed: int


class _Stage(_Known):
    name: str
    command: str
    device: str
    settings: _Settings
    recipe: dict[str, Any]
    parts: list[_Part]
    samples: int | None
    skipped: int
    steps: int
    seconds: Annotated[float, Field(ge=0, le=1e9)]
    loss: float | None


def write_history(directory: str | os.PathLike[str], stages: Sequence[Mapping[str, Any]]) -> None:
    """The inverse."""
    write_json(Path(directory) / TRAINING_FILE, list(stages))


def _components(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each component with the name of its part."""
    for group in ("towers", "connectors", "modalities", "decoders"):
        for modality, component in (config.get(group) or {}).items():
            yield f"{group.removesuffix('s').replace('modalitie', 'modality')}.{modality}", component
    for part in ("llm", "template"):
        if config.get(part):
            yield part, config[part]


def _head(config: Mapping[str, Any]) -> list[str]:
    licences = {c["licence"] for _, c in _components(config) if c.get("licence")}
    reads = sorted(config.get("towers") or ())
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": pipeline_tag(reads),
        "base_model": _base_models(config),
        "tags": ["tinyllava_kit", *reads],
        "license": licences.pop() if len(licences) == 1 else None,
    }
    known = {key: value for key, value in head.items() if value}
    return ["---", *yaml.safe_dump(known, sort_keys=False).strip().split("\n"), "---"]


def _base_models(config: Mapping[str, Any]) -> list[str]:
    """The models on the hub that the parts' first weights are from; a saved configuration names a local one by its last
    name, and this takes nothing without an owner for a name on the hub."""
    origins = {component.get("checkpoint", ""): None for _, component in _components(config)}  # each once, in order
    return [place for place in origins if _ON_THE_HUB.fullmatch(place)]


def _parts(config: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Parts",
        "",
        "| part | component | plugin | first weights from | their licence |",
        "|---|---|---|---|---|",
    ]
    for part, component in _components(config):
        plugin = f"{component.get('distribution', '')} {component.get('version', '')}".strip()
        options = ", ".join(f"{key}={value}" for key, value in (component.get("options") or {}).items())
        name = component["name"] + (f" ({options})" if options else "")
        weights = component.get("checkpoint", "-")
        licence = component.get("licence") or (NOT_RECORDED if weights != "-" else "-")
        lines.append(f"| {' | '.join(map(_plain, (part, name, plugin, weights, licence)))} |")
    return lines


def _stage(stage: Mapping[str, Any]) -> list[str]:
    trained = [
        f"{_plain(part['name'])} ({_plain(part['mode'])}, {part['trained']:,} parameters)" for part in stage["parts"]
    ]
    skipped = f", {stage['skipped']} rows skipped" if stage["skipped"] else ""
    how = stage["settings"]
    warm_up = f"{how['warmup_ratio']:.0%}" if how["warmup_steps"] is None else f"{how['warmup_steps']} steps"
    data = [_code(source["path"] or source["dataset"]) for source in how["data"]]
    rates = ", ".join(f"{part['learning_rate']:g} ({_plain(part['name'])})" for part in stage["parts"])
    return [
        f"## Stage {_plain(stage['name'])}",
        "",
        f"- trained: {', '.join(trained)}",
        f"- data: {', '.join(data)}: {stage['samples'] or 'a stream of'} samples{skipped}",
        f"- {stage['steps']} steps in {timedelta(seconds=round(stage['seconds']))} on {_plain(stage['device'])}, "
        f"{last_loss(stage['loss'])}",
        f"- {_plain(how['optimizer'] or 'AdamW')}, learning rate {rates}, {_plain(how['schedule'])}, warm-up "
        f"{warm_up}; batches of {how['batch_size']} x {how['gradient_accumulation']} a process, at most "
        f"{how['max_length']} positions of a sample, seed {how['seed']}",
        f"- command: {_code(stage['command'])}",
        "",
        *_fenced(yaml.safe_dump(stage["recipe"], sort_keys=False).strip()),
    ]


def last_loss(loss: float | None) -> str:
    """In words."""
    return "no loss" if loss is None else f"last loss {loss:.4g}"


def _plain(text: object) -> str:
    """Text that stays text: in one line, and no markdown, HTML or link."""
    return re.sub(r"([\\`|*\[\]])", r"\\\1", html.escape(one_line(str(text)), quote=False))


def _code(text: object) -> str:
    return f"`{one_line(str(text)).replace('`', chr(39))}`"


def _fenced(text: str) -> list[str]:
    """A block of YAML, between more backticks than stand in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}yaml", *printable(text).split("\n"), fence]


def _install(config: Mapping[str, Any]) -> list[str]:
    wanted = {(c["distribution"], c["version"]) for _, c in _components(config) if c.get("distribution")}
    return [f"pip install '{name}=={version}'" for name, version in sorted(wanted)]
