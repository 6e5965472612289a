"""A model as one directory for each part, read by transformers' own classes where the part is one of theirs.

``llm/`` is for AutoModelForCausalLM and AutoTokenizer; ``towers/MODALITY/`` for the tower's class of transformers and
its preprocessor; ``connectors/MODALITY/`` is a file of weights and a JSON that says how to build the connector of this
kit. ``README.md`` says how to load and read each. The written files are read again and compared.

Legend: N rows of a tower, P features of a row, E tower width.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    SequenceFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from ...components.towers.vision_tower import TransformersImagePreprocessor, TransformersVisionTower
from ...core.interfaces import Connector, Features, Preprocessor, Tower
from ...errors import KitError
from ...files.atomic import atomic_directory
from ...files.failures import read_mapping
from ...files.writing import write_file, write_json
from ...model.configuration import Component, as_json
from ...model.modeling import TinyLlavaForConditionalGeneration
from ...plugin.catalog import Catalog
from ...plugin.discovery import installed_catalog
from ...plugin.specs import load
from ...pretrained.checkpoint import check_loaded, load_state, without_reports
from ...processing.jinja import begin_in_jinja, jinja_of, save_tokenizer
from ...processing.processor import TinyLlavaProcessor
from ..external.weights import open_file
from .requirements import decoder_notes, dummy_weights, is_close, largest, quantized_fault, random_ids
from .target import ExportTarget

WEIGHTS = "model.safetensors"
CONNECTOR = "connector.json"
_RATE_HZ = 16_000


@dataclass(frozen=True, kw_only=True)
class ExportedPart:
    """One part: its folder, and how far what its class makes is from the model's; or why it is not written.

    reading: the expression that gives the tower's features, of its class's `output`. code: Python that loads it.
    """

    part: str
    folder: str = ""
    difference: float = 0.0
    refused: str = ""
    reading: str = ""
    code: str = ""


@dataclass(frozen=True)
class ComponentsExport:
    """All parts."""

    parts: tuple[ExportedPart, ...]

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{each.part}: not written: {each.refused}"
            if each.refused
            else f"{each.part}: {each.folder}, largest difference from the model's {each.difference:.1e}"
            for each in self.parts
        ]


def faults(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
    """Why a model cannot be taken apart; empty where it can."""
    return quantized_fault(model.config)


def notes(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
    """The towers that are left out, and why."""
    why = {modality: tower_fault(tower) for modality, tower in model.towers.items()}
    towers = [f"without tower {modality}: {fault}" for modality, fault in why.items() if fault]
    return towers + decoder_notes(model)


def tower_fault(tower: Tower) -> str:
    """Why a tower has no form in transformers; empty where it has one."""
    name = type(tower).__name__
    if isinstance(tower, TransformersVisionTower):
        return "" if tower.vision_config.num_hidden_layers else f"{name} reads the embeddings, before any layer"
    inner = [key for key, child in tower.named_children() if isinstance(child, PreTrainedModel)]
    if len(inner) != 1 or not type(getattr(tower, inner[0])).__module__.startswith("transformers."):
        return f"{name} is no model of transformers"
    if own := [key for key in tower.state_dict() if not key.startswith(f"{inner[0]}.")]:
        return f"{name} has weights of its own ({', '.join(own)}), which no class of transformers has"
    return ""


@torch.no_grad()
def export(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, target: str | os.PathLike[str]
) -> ComponentsExport:
    """Write the directories, load each again, and compare it with the model's part.

    Raises:
        KitError: it cannot be taken apart, what a class of transformers makes differs, or it cannot be written.
    """
    if why := faults(model, processor):
        raise KitError(f"cannot be exported as components: {'; '.join(why)}")
    with atomic_directory(target) as stage:
        parts = [_write_llm(model, processor, stage)]
        for modality in model.towers:
            parts.append(_write_tower(model, processor, modality, stage))
            parts.append(_write_connector(model, modality, stage))
        parts += [ExportedPart(part=f"decoder {m}", refused="transformers has no form of it") for m in model.decoders]
        write_file(stage / "README.md", _readme(model, parts))
    return ComponentsExport(tuple(parts))


def _write_llm(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, stage: Path) -> ExportedPart:
    folder = stage / "llm"
    model.language_model.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    begin = begin_in_jinja(processor.template, processor.tokenizer)
    template = jinja_of(processor.template, {}, parts=False, begin=begin)
    save_tokenizer(processor.tokenizer, template, folder)
    with without_reports():
        read: Any = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, dtype=model.dtype, output_loading_info=True
        )
    loaded, info = read
    check_loaded("llm", missing=info["missing_keys"], unexpected=info["unexpected_keys"])
    ids = random_ids(model)
    ours = model.language_model(input_ids=ids).logits  # (1, T, V)
    difference = largest(ours, loaded.eval()(input_ids=ids).logits)
    if difference:
        raise KitError(f"llm: AutoModelForCausalLM gives logits that differ by {difference:.1e} from the model's")
    code = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'llm = AutoModelForCausalLM.from_pretrained("llm")\n'
        'tokenizer = AutoTokenizer.from_pretrained("llm")\n'
    )
    return ExportedPart(part="llm", folder="llm", difference=difference, code=code)


def _write_tower(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, modality: str, stage: Path
) -> ExportedPart:
    tower: Any = model.towers[modality]
    part, folder = f"tower {modality}", f"towers/{modality}"
    if why := tower_fault(tower):
        return ExportedPart(part=part, refused=why)
    inputs = _sample(processor, modality)
    if inputs is None:
        return ExportedPart(part=part, refused=f"there is no sample of {modality} to compare it with")
    plain: Any = _plain(tower)
    plain.to(model.dtype)
    plain.save_pretrained(stage / folder)
    preprocessor = _as_transformers(processor.preprocessors[modality], plain)
    if preprocessor is not None:
        preprocessor.save_pretrained(stage / folder)
    with without_reports():
        read: Any = type(plain).from_pretrained(
            stage / folder, trust_remote_code=False, dtype=model.dtype, output_loading_info=True
        )
    loaded, info = read
    check_loaded(part, missing=info["missing_keys"], unexpected=info["unexpected_keys"])
    reading, difference = _reading(tower, loaded.eval(), inputs, part)
    return ExportedPart(
        part=part,
        folder=folder,
        difference=difference,
        reading=reading,
        code=_tower_code(plain, preprocessor, folder, reading),
    )


def _plain(tower: Any) -> PreTrainedModel:
    """The tower's weights in the class of transformers; what the features do not depend on does nothing."""
    if isinstance(tower, TransformersVisionTower):
        config, kind, state = copy.deepcopy(tower.vision_config), tower.model_class, tower.state_dict()
        if hasattr(config, "vision_use_head"):
            config.vision_use_head = False  # SigLIP's pooling
    else:
        inner = next(child for child in tower.children() if isinstance(child, PreTrainedModel))
        config, kind, state = copy.deepcopy(inner.config), type(inner), inner.state_dict()
    config.tie_last_hidden_states = False  # hidden_states[-1] is what the last layer makes, before any norm
    plain = kind(config).eval()
    plain.load_state_dict({**dummy_weights(plain.state_dict()), **state}, strict=True)
    return plain


def _reading(tower: Any, loaded: PreTrainedModel, inputs: Mapping[str, Tensor], part: str) -> tuple[str, float]:
    """The expression that gives the tower's features, and the difference that remains.

    Raises:
        KitError: none does.
    """
    dtype = next(loaded.parameters()).dtype
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    ours = tower(**inputs).features  # (N, P, E)
    output = loaded(inputs[loaded.main_input_name], output_hidden_states=True)
    dropped = getattr(tower, "num_dropped", 0)
    found = {}
    for name in ("last_hidden_state", "hidden_states[-1]"):
        states = output.last_hidden_state if name == "last_hidden_state" else output.hidden_states[-1]
        stop = dropped + ours.shape[1]
        cut = f"[:, {dropped}:]" if dropped else ""
        found[f"output.{name}{cut}"] = largest(ours, states[:, dropped:stop])
    reading = min(found, key=lambda each: found[each])
    if not is_close(found[reading], ours):
        raise KitError(
            f"{part}: {type(loaded).__name__} gives features that differ by {found[reading]:.1e} from the tower's"
        )
    return reading, found[reading]


def _sample(processor: TinyLlavaProcessor, modality: str) -> dict[str, Tensor] | None:
    """An item of noise as the tower's inputs; None for a modality whose items cannot be made here."""
    noise = np.random.default_rng(0)
    sources = {
        "image": Image.fromarray(noise.integers(0, 256, (90, 70, 3), dtype=np.uint8)),
        "audio": ((0.1 * noise.standard_normal(_RATE_HZ)).astype(np.float32), _RATE_HZ),
    }
    if modality not in sources:
        return None
    preprocessor = processor.preprocessors[modality]
    return preprocessor.collate(preprocessor(processor.modalities[modality].read(sources[modality])))


def _as_transformers(preprocessor: Preprocessor, plain: PreTrainedModel) -> Any:
    """The preprocessor as one of transformers; None where it has no such form."""
    if isinstance(preprocessor, TransformersImagePreprocessor):
        return preprocessor._processor
    settings = preprocessor.settings()
    rate = settings.get("rate_hz")
    extractor: SequenceFeatureExtractor | None = None
    if rate and plain.main_input_name == "input_values" and "normalize" in settings:
        extractor = Wav2Vec2FeatureExtractor(
            feature_size=1, sampling_rate=rate, padding_value=0.0, do_normalize=settings["normalize"]
        )
    elif rate and plain.main_input_name == "input_features" and "window_features" in settings:
        seconds, rest = divmod(2 * settings["hop"] * settings["window_features"], rate)
        if not rest:  # a window of whole seconds, as WhisperFeatureExtractor requires
            extractor = WhisperFeatureExtractor(
                feature_size=settings["num_mels"],
                sampling_rate=rate,
                hop_length=settings["hop"],
                n_fft=settings["n_fft"],
                chunk_length=seconds,
            )
    return extractor


def _tower_code(plain: PreTrainedModel, preprocessor: Any, folder: str, reading: str) -> str:
    kinds = [type(plain)] if preprocessor is None else [type(plain), type(preprocessor)]
    public = importlib.import_module("transformers")
    lines = [
        f"from {'transformers' if hasattr(public, kind.__name__) else kind.__module__} import {kind.__name__}"
        for kind in kinds
    ]
    names = ("tower", "preprocessor")
    lines += [
        "",
        *(f'{name} = {k.__name__}.from_pretrained("{folder}")' for name, k in zip(names, kinds, strict=False)),
    ]
    return "\n".join(
        [
            *lines,
            "",
            "",
            f"def features({plain.main_input_name}):",
            f"    output = tower({plain.main_input_name}, output_hidden_states=True)",
            f"    return {reading}",
        ]
    )


def _write_connector(model: TinyLlavaForConditionalGeneration, modality: str, stage: Path) -> ExportedPart:
    connector, folder = model.connectors[modality], stage / "connectors" / modality
    component = model.config.component("connector", modality)
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in connector.state_dict().items()}, folder / WEIGHTS, {"format": "pt"})
    described = {"class": f"{type(connector).__module__}:{type(connector).__qualname__}", **as_json(component)}
    write_json(folder / CONNECTOR, described, indent=2)
    size = _num_features(model, modality)
    noise = torch.randn(1, size, connector.in_dim, generator=torch.Generator().manual_seed(0)).to(model.dtype)
    features = Features(noise, None, connector.grid)  # (1, P, E)
    difference = largest(connector(features), load_connector(folder)(features))
    if difference:
        raise KitError(f"connector {modality}: the written one differs by {difference:.1e} from the model's")
    code = f"""\
from tinyllava_kit.checkpoints.exporting.components import load_connector
from tinyllava_kit.core.interfaces import Features

connector = load_connector("connectors/{modality}")


def rows(features):
    # of whole items, (N, P, {connector.in_dim}), to rows of the LLM's width, (N, P', {connector.out_dim})
    return connector(Features(features, None, {connector.grid}))
"""
    return ExportedPart(part=f"connector {modality}", folder=f"connectors/{modality}", difference=difference, code=code)


def _num_features(model: TinyLlavaForConditionalGeneration, modality: str) -> int:
    """How many features a connector is tried with: its raster's, or some seconds of sound."""
    grid = model.connectors[modality].grid
    return grid[0] * grid[1] if grid else 60


def load_connector(folder: str | os.PathLike[str], *, catalog: Catalog | None = None) -> Connector:
    """A connector that `export` wrote, in the dtype of its weights, in eval.

    Raises:
        KitError: not such a directory, or its weights do not fit.
        MissingPluginError: it is of a plugin that is not installed.
    """
    folder = Path(folder)
    try:
        described = read_mapping(folder / CONNECTOR)
    except KitError as error:
        raise KitError(f"{str(folder)!r} is not an exported connector: {error}") from error
    described.pop("class", None)  # for people; the import uses what an installed plugin offers
    component = Component.of(described, CONNECTOR)
    grid = component.config.get("grid")
    connector: Connector = load(component.offer("connector", catalog or installed_catalog()).spec)(
        in_dim=component.config["in_dim"],
        out_dim=component.config["out_dim"],
        grid=tuple(grid) if grid else None,
        **component.options,
    )
    state = {name: tensor.read() for name, tensor in open_file(folder / WEIGHTS).items()}
    load_state(connector.to(next(iter(state.values())).dtype if state else torch.float32), state, str(folder))
    return connector.eval()


def _readme(model: TinyLlavaForConditionalGeneration, parts: Sequence[ExportedPart]) -> str:
    """The content of each directory, and Python that loads it."""
    about = "Each directory is loaded by itself. Paths are from here."
    if model.towers:
        about += (
            " What a tower makes of an item goes through the connector of its modality and stands among the LLM's text "
            "embeddings, in the item's place."
        )
    text = ["# The parts of a tinyllava-kit model", "", about]
    for each in parts:
        text += ["", f"## {each.part}", ""]
        if each.refused:
            text.append(f"Not written: {each.refused}. The model directory of the kit has it.")
            continue
        text += [f"`{each.folder}/`", "", "```python", each.code.rstrip(), "```"]
    return "\n".join([*text, ""])


class ComponentsTarget(ExportTarget):
    """A directory for each part; the target `hf-components`."""

    def faults(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
        return faults(model, processor)

    def notes(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
        return notes(model, processor)

    def export(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        output: str | os.PathLike[str],
    ) -> list[str]:
        return export(model, processor, output).lines()
