"""Forms of export that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tests.testing.right import caught, changed, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints import ExportTarget
from tinyllava_kit.files import atomic_directory
from tinyllava_kit.plugin.catalog import Catalog
from tinyllava_kit.plugin.specs import ExportSpec, Option
from tinyllava_kit.testing import DoesNotApply, ExportContract, toy_models
from tinyllava_kit.testing.toy_models import ToyModel, toy_model


class Plain(ExportTarget):
    """The LLM's weights under their names, and its configuration."""

    def __init__(self, *, half: bool = False) -> None:
        self.half = half

    def faults(self, model: Any, processor: Any) -> list[str]:
        return ["it has a tower"] if model.config.towers else []

    def weights(self, model: Any) -> dict[str, Tensor]:
        dtype = torch.float16 if self.half else torch.float32
        return {name: value.to(dtype).contiguous() for name, value in model.language_model.state_dict().items()}

    def write(self, folder: Path, model: Any) -> None:
        (folder / "config.json").write_text(json.dumps(model.config.text_config.to_dict(), sort_keys=True))
        save_file(self.weights(model), folder / "weights.safetensors")

    def export(self, model: Any, processor: Any, output: Any) -> list[str]:
        if why := self.faults(model, processor):
            raise KitError(f"cannot be plain: {'; '.join(why)}")
        with atomic_directory(output) as folder:
            self.write(folder, model)
        return ["weights.safetensors"]


SPEC = ExportSpec(
    name="plain",
    target=f"{__name__}:Plain",
    options=(Option(name="half", type=bool, default=False),),
)


class PlainContract(ExportContract):
    component = Plain
    spec = SPEC
    catalog = offered(SPEC)

    def unsuited(self) -> ToyModel:
        return toy_model()

    def reference(self, output: Path, ids: Tensor) -> Tensor:
        llm = LlamaForCausalLM(LlamaConfig(**json.loads((output / "config.json").read_text()))).eval()
        llm.load_state_dict(load_file(output / "weights.safetensors"))
        with torch.no_grad():
            return llm(ids).logits


def contract_of(target: type[ExportTarget], **known: Any) -> PlainContract:
    contract = PlainContract()
    vars(contract).update(component=target, **known)
    return contract


def writing(change: Any) -> type[Plain]:
    """What `change` does in the folder, behind what is right."""

    def write(self: Plain, folder: Path, model: Any) -> None:
        Plain.write(self, folder, model)
        change(folder, model)

    return changed(Plain, write=write)


def weights(change: Any) -> type[Plain]:
    """Other weights than the right ones, by their names."""
    return changed(Plain, weights=lambda self, model: {n: change(n, w) for n, w in Plain.weights(self, model).items()})


def exporting(export: Any) -> type[Plain]:
    return changed(Plain, export=export)


def in_place(self: Plain, model: Any, processor: Any, output: Any) -> list[str]:
    """Not within atomic_directory."""
    if self.faults(model, processor):
        raise KitError("cannot be plain: it has a tower")
    try:
        os.mkdir(output)
        self.write(Path(output), model)
    except Exception as error:
        raise KitError(f"cannot write {output}: {error.__class__.__name__}") from error
    return ["weights.safetensors"]


def with_a_log(self: Plain, model: Any, processor: Any, output: Any) -> list[str]:
    lines = Plain.export(self, model, processor, output)
    (Path(output).parent / "log").write_text("done")
    return lines


def lenient(self: Plain, model: Any, processor: Any, output: Any) -> list[str]:
    return changed(Plain, faults=lambda self, model, processor: [])(half=self.half).export(model, processor, output)


def without_reason(self: Plain, model: Any, processor: Any, output: Any) -> list[str]:
    try:
        return Plain.export(self, model, processor, output)
    except KitError as error:
        raise KitError("cannot be plain") from error


def raw(self: Plain, model: Any, processor: Any, output: Any) -> list[str]:
    if self.faults(model, processor):
        raise ValueError(model)
    return Plain.export(self, model, processor, output)


def begun(self: Plain, model: Any, processor: Any, output: Any) -> list[str]:
    """The folder is there before it is known whether there is anything to write."""
    Path(output).mkdir(exist_ok=True)
    return Plain.export(self, model, processor, output)


def silent(self: Plain, model: Any, processor: Any, output: Any) -> list[str]:
    Plain.export(self, model, processor, output)
    return []


def into_halves(folder: Path, model: Any) -> None:
    model.half().float()


def trains(folder: Path, model: Any) -> None:
    model.train()


def named_in_config(folder: Path, model: Any) -> None:
    model.config.exported = str(time.time_ns())


def stamped(folder: Path, model: Any) -> None:
    (folder / "stamp").write_text(str(time.time_ns()))


def of_its_folder(folder: Path, model: Any) -> None:
    (folder / "place").write_text(str(folder.parent))


MUTANTS: list[tuple[str, type[ExportTarget], str, str]] = [
    ("written where it is to lie", exporting(in_place), "atomic", "an export that failed leaves exported"),
    ("the folder is made before the check", exporting(begun), "refused", "a refused export leaves exported"),
    ("a log beside it", exporting(with_a_log), "written", "beside it lie"),
    ("nothing is said", exporting(silent), "written", "it says nothing"),
    ("faults are not asked", exporting(lenient), "refused", "not refused"),
    ("refused without a reason", exporting(without_reason), "refused", "does not name it has a tower"),
    ("refused as Python does", exporting(raw), "refused", "raised ValueError"),
    (
        "a fault of two lines",
        changed(Plain, faults=lambda s, model, p: ["it has:\na tower"] if model.config.towers else []),
        "refused",
        "faults are not lines",
    ),
    ("a fault of any model", changed(Plain, faults=lambda s, m, p: ["it is large"]), "possible", "its toy has faults"),
    ("a note of two lines", changed(Plain, notes=lambda s, m, p: ["a\nb"]), "possible", "a note of more than one"),
    ("the model becomes halves", writing(into_halves), "untouched", "exporting changes language_model"),
    ("the model is put into training", writing(trains), "untouched", "puts the model into training"),
    ("the configuration is changed", writing(named_in_config), "untouched", "changes the model's configuration"),
    ("the time is in a file", writing(stamped), "again", "exported twice, .*stamp"),
    ("the folder is in a file", writing(of_its_folder), "again", "place"),
    ("weights of halves", weights(lambda n, w: w.half().float()), "reference", "features differ"),
    ("one layer is of zeros", weights(lambda n, w: w * ("layers.1.mlp" not in n)), "reference", "features differ"),
    ("query and key swapped", weights(lambda n, w: w.flip(0) if "q_proj" in n else w), "reference", "features differ"),
    (
        "weights that are new",
        weights(lambda n, w: torch.randn(w.shape, generator=torch.Generator().manual_seed(0))),
        "parts",
        "other weights of llm make the same files",
    ),
    (
        "an option that is ignored",
        changed(Plain, __init__=lambda s, half: setattr(s, "half", False)),
        "options",
        "half",
    ),
]


def test_the_right_target_passes_every_check() -> None:
    assert passes(contract_of(changed(Plain), tolerance=1e-6)) == {}


@table(MUTANTS)
def test_a_mutant_of_the_target_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant, tolerance=1e-6), check, message)


class TextOfAll(Plain):
    """Takes a model with a tower, too, and leaves that out."""

    def faults(self, model: Any, processor: Any) -> list[str]:
        return []


class OfPictures(PlainContract):
    def toy(self, *, seed: int = 0) -> ToyModel:
        return toy_model(seed=seed)


def of_pictures(target: type[ExportTarget], left_out: Mapping[str, str]) -> OfPictures:
    contract = OfPictures()
    vars(contract).update(component=target, left_out=left_out)
    return contract


def test_a_part_that_is_left_out_is_told_by_the_author_and_by_a_note() -> None:
    why = {"tower": "text alone", "connector": "text alone"}
    caught(of_pictures(TextOfAll, {}), "parts", "other weights of tower.image make the same files")
    caught(of_pictures(TextOfAll, why), "parts", "tower is left out, and no note says so")
    noted = changed(TextOfAll, notes=lambda s, m, p: ["without its tower", "without its connector"])
    of_pictures(noted, why).test_parts()
    caught(of_pictures(noted, {**why, "llm": "too large"}), "parts", "llm is in left_out, and other weights of it make")


def test_without_the_plugin_of_an_llm_the_toy_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_models, "installed_catalog", Catalog)
    with pytest.raises(DoesNotApply, match="pip install tinyllava-kit-llm-tinyllama"):
        toy_models.text_model(seed=7)
    with pytest.raises(DoesNotApply, match="pip install tinyllava-kit-vision-clip"):
        toy_models.clip_checkpoint(None)
