"""The contract of a layout of another project's checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..checkpoints.external.external_checkpoint import ExternalCheckpoint
from ..checkpoints.external.mapping import IMAGE_MODALITY, MappedCheckpoint, WeightRow
from ..checkpoints.external.names import Names
from ..checkpoints.external.reader import CheckpointReader
from ..files.failures import read_mapping
from ..plugin.catalog import Catalog
from ..plugin.discovery import installed_catalog
from ..plugin.specs import CheckpointSpec
from .comparing import check_close, check_refused, refusal
from .contract import DoesNotApply, check
from .folders import changed_files, content_of
from .offered import contract_of
from .specified import SpecifiedContract
from .toy_models import text_model, toy_picture

_STRANGER = "stranger.weight"  # a tensor of no layout
_SHARE = 1 / 64  # how much more than the one before it a tensor is made
_TRIED = 6  # tensors that are taken out, one at a time

State = dict[str, Tensor]


class CheckpointReaderContract(SpecifiedContract):
    """What holds for a layout. An author gives `toy_checkpoint`: of a few layers, every weight of it another; and
    `reference`."""

    kind = "checkpoint"
    takes_options: ClassVar[tuple[str, int] | None] = None

    tolerance: ClassVar[float] = 1e-4  # of the logits, relative

    def toy_checkpoint(self, folder: Path) -> str:
        """Write a checkpoint of toy size to `folder`, as the other project writes one; returns the directory."""
        raise NotImplementedError(f"{type(self).__name__} must give toy_checkpoint(folder)")

    def reference(self, directory: Path, ids: Tensor, places: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """The logits (1, T, V) of the other project's program. Default: unknown.

        Args:
            ids: (1, T) of a question with a picture. places: (P,), the positions of its rows.
            inputs: of the tower, as ``pixel_values`` (1, 3, H, W).
        """
        raise DoesNotApply("reference gives no other program's logits")

    @check("model_types and keys of the spec: what the config.json of this layout has, and no other")
    def test_claimed(self) -> None:
        """The toy is of this layout and of no other, and no other toy is of this one."""
        spec = self._layout()
        mine = _config_of(self._toy())
        assert spec.recognizes(mine), "its own toy is not recognised"
        for name, config in self._other_configs():
            assert not spec.recognizes(config), f"{name} is taken for one of this layout"
        for offer in self._catalog().of_kind(self.kind):
            if offer.spec != spec:
                taken = isinstance(offer.spec, CheckpointSpec) and offer.spec.recognizes(mine)
                assert not taken, f"its toy is also taken for one of {offer.qualified}"

    @check("read: what the checkpoint says, in the words of ExternalCheckpoint")
    def test_converted(self) -> None:
        """It becomes a model that answers, and a processor."""
        directory = self._toy()
        found = self.component().read(directory, _config_of(directory), Names(directory))
        assert isinstance(found, ExternalCheckpoint), f"a {type(found).__name__}, expected an ExternalCheckpoint"
        mapped = self._open(directory)
        odd = [line for line in mapped.notes if not line or "\n" in line]
        assert not odd, f"a note that is no line: {odd[0]!r}"
        logits, *_ = _asked(mapped)
        assert logits.isfinite().all(), "the model's logits are not finite"

    @check("read: each tensor in one part, under its key, or among the unexpected")
    def test_accounted(self) -> None:
        """Each tensor of the files has one row of the table: what it became, or why it is left out."""
        directory = self._toy()
        rows = self._open(directory).rows
        for key, places in _keys_of(directory).items():
            found = [row for row in rows if row.external_key.partition(" ")[0] in places]
            assert found, f"{key} is not accounted for"
            assert len(found) == 1, f"{key} became {', '.join(row.key for row in found)}"
            assert found[0].key or found[0].note, f"{key} is left out without a reason"

    @check("read: each weight is what its key says; nothing is made up, swapped, or read from elsewhere")
    def test_used(self) -> None:
        """A tensor that is made larger makes the weight larger that the table says it became."""
        directory, larger = self._toy(), self.folder / "larger"
        shutil.copytree(directory, larger)
        shares = _enlarged(larger)
        before, after = self._open(directory), self._open(larger)
        for row in before.rows:
            if row.external_key and row.key:
                self._check_share(row, before.tensors[row.key].read(), after.tensors[row.key].read(), shares)

    @check("read: give every tensor to its part, so that missing and misshapen ones are reported")
    def test_missing(self) -> None:
        """A checkpoint without one of its tensors is refused in a line, and so is one with another shape."""
        left_out = {row.external_key for row in self._open(self._toy()).rows if not row.key}
        needed = [key for key, places in _keys_of(self._toy()).items() if not left_out.intersection(places)]
        for key in needed[:: max(1, len(needed) // _TRIED)]:
            for what, change in (("is not there", _without), ("has a row too many", _with_a_row_more)):
                damaged = self._toy()
                _rewrite(damaged, partial(change, name=key))
                check_refused(partial(self._open, damaged), f"{key} {what}", str(damaged))

    @check("read: a tensor of no known part is unexpected")
    def test_extra(self) -> None:
        """An unknown tensor is reported by its name."""
        damaged = self._toy()
        _rewrite(damaged, lambda state: {**state, _STRANGER: torch.ones(2)})
        check_refused(lambda: self._open(damaged), "a tensor that is of no part", _STRANGER)

    @check("read: nothing of the folder's name, and nothing at random")
    def test_again(self) -> None:
        """Loaded twice, from a folder of another name, the logits are the same."""
        directory = self._toy()
        other = shutil.copytree(directory, self.folder / "another name")
        first, second = (_asked(self._open(each))[0] for each in (directory, Path(other)))
        assert torch.equal(first, second), "loaded again, from a folder of another name, the logits are others"

    @check("read: the layer, the selection, the connector and each weight as the other project's program has them")
    def test_reference(self) -> None:
        """The model gives the logits of the other program, asked about a picture."""
        directory = self._toy()
        logits, ids, places, inputs = _asked(self._open(directory))
        expected = self.reference(directory, ids, places, inputs)
        check_close(logits, expected.float(), self.tolerance, "its logits, and the other program's")

    @check("read: raise a KitError for a setting that has no counterpart; let what a broken config.json raises through")
    def test_damaged(self) -> None:
        """Whatever is missing or wrong in config.json gives an error of one line, or is not needed."""
        directory = self._toy()
        file = directory / "config.json"
        config = read_mapping(file)
        for key in config:
            for damage in ({k: v for k, v in config.items() if k != key}, {**config, key: ["?"]}):
                file.write_text(json.dumps(damage))
                message = refusal(lambda: self._open(directory))
                assert "\n" not in message, f"config.json, {key}: more than one line: {message}"

    @check("read: change nothing in the directory")
    def test_untouched(self) -> None:
        """The checkpoint does not change, and no file is added."""
        directory = self._toy()
        before = content_of(directory)
        self._open(directory).model()
        changed = changed_files(before, content_of(directory))
        assert not changed, f"reading changes {changed}"

    def _layout(self) -> CheckpointSpec:
        spec = self._spec()
        assert isinstance(spec, CheckpointSpec)
        return spec

    def _toy(self) -> Path:
        """Another each time: a check may damage it."""
        return Path(self.toy_checkpoint(self.folder))

    def _catalog(self) -> Catalog:
        return installed_catalog() if self.catalog is None else self.catalog

    def _open(self, directory: Path) -> MappedCheckpoint:
        reader: CheckpointReader = self.component()
        return reader.open(directory, _config_of(directory), names_from=None, template=None, catalog=self._catalog())

    def _other_configs(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Configurations of other layouts, each with its name."""
        model, _ = text_model()
        yield "a model of this kit", json.loads(model.config.to_json_string())
        yield "a language model alone", json.loads(model.config.text_config.to_json_string())
        yield "an empty config.json", {}
        for offer in self._catalog().of_kind(self.kind):
            if offer.spec != self.spec:
                toy = contract_of(offer, self._catalog())().checkpoint
                yield f"a checkpoint of {offer.qualified}", _config_of(Path(toy))

    def _check_share(self, row: WeightRow, before: Tensor, after: Tensor, shares: Mapping[str, float]) -> None:
        assert before.any(), f"{row.external_key} is zero: give the toy other weights, so that they show"
        assert not torch.equal(before, after), f"{row.key} is not read from {row.external_key}"
        if row.external_key in shares:
            close = torch.allclose(after.float(), before.float() * shares[row.external_key], rtol=1e-3, atol=1e-6)
            assert close, f"{row.key} is not made of {row.external_key} alone, as the table says"


def _asked(mapped: MappedCheckpoint) -> tuple[Tensor, Tensor, Tensor, Mapping[str, Tensor]]:
    """The logits (1, T, V) of a question about a picture, its ids, the positions of its rows, the tower's inputs."""
    model, processor = mapped.model().eval(), mapped.processor()
    picture = {"type": IMAGE_MODALITY, IMAGE_MODALITY: toy_picture(1)}
    batch = processor([{"role": "user", "content": [picture, {"type": "text", "text": "What is it?"}]}])
    with torch.no_grad():
        logits = model(**batch).logits.float()
    return logits, batch["input_ids"], batch["plan"].item_positions[IMAGE_MODALITY], batch["items"][IMAGE_MODALITY]


def _config_of(directory: Path) -> Mapping[str, Any]:
    return read_mapping(directory / "config.json")


def _files_of(directory: Path) -> Iterator[tuple[Path, State]]:
    """The files of weights, with their tensors."""
    for file in sorted(directory.rglob("*")):
        if file.suffix == ".safetensors":
            yield file, load_file(file)
        elif file.suffix == ".bin":
            yield file, torch.load(file, weights_only=True)


def _keys_of(directory: Path) -> dict[str, set[str]]:
    """Each tensor as ``FILE: KEY`` -> how the table of weights may call it."""
    found = {}
    for file, state in _files_of(directory):
        folder = file.parent.relative_to(directory)
        found.update({f"{file.relative_to(directory)}: {key}": {key, str(folder / key)} for key in state})
    return found


def _rewrite(directory: Path, change: Callable[[State], State]) -> None:
    """Each file of weights with others."""
    for file, state in _files_of(directory):
        _save(change(state), file)


def _save(state: State, file: Path) -> None:
    """In the format that the file had."""
    if file.suffix == ".bin":
        torch.save(state, file)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, file, metadata={"format": "pt"})


def _enlarged(directory: Path) -> dict[str, float]:
    """Make each tensor larger, by a share of its own; returns the shares, under what the table may call a tensor."""
    shares: dict[str, float] = {}
    for file, state in _files_of(directory):
        folder = file.parent.relative_to(directory)
        mine = {key: 1 + (len(shares) + number) * _SHARE for number, key in enumerate(state, 1)}
        shares.update({str(folder / key): share for key, share in mine.items()})
        _save({key: value * mine[key] for key, value in state.items()}, file)
    return shares


def _without(state: State, name: str) -> State:
    return {key: value for key, value in state.items() if key != name.rpartition(": ")[2]}


def _with_a_row_more(state: State, name: str) -> State:
    key = name.rpartition(": ")[2]
    return {**state, key: torch.cat([state[key], state[key][:1]])} if key in state else state
