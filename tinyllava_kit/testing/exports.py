"""The contract of a form of export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checkpoints.exporting.target import ExportTarget
from ..model.parts import named_parts
from .comparing import check_close, check_refused
from .contract import DoesNotApply, check
from .folders import changed_files, check_packages, content_of
from .specified import SpecifiedContract
from .toy_models import ToyModel, text_model

_NAME = "exported"
_SMALLEST_FILE = 512  # bytes, to be cut off in the middle


class ExportContract(SpecifiedContract):
    """What holds for a form of export. An author gives `toy` where an LLM alone does not suit, `unsuited` and
    `reference`."""

    kind = "export"
    takes_options: ClassVar[tuple[str, int] | None] = ("__init__", 0)

    # Kinds of parts that it leaves out, which its notes say.
    left_out: ClassVar[Mapping[str, str]] = {}
    tolerance: ClassVar[float] = 1e-3  # of the logits, relative

    def toy(self, *, seed: int = 0) -> ToyModel:
        """A model of toy size that can be written, other weights for another seed, and its processor. Default: an LLM
        alone."""
        return text_model(seed=seed)

    def unsuited(self) -> ToyModel:
        """A model that cannot be written. Default: unknown."""
        raise DoesNotApply("unsuited gives no model that cannot be written")

    def reference(self, output: Path, ids: Tensor) -> Tensor:
        """Logits (1, T, V) of token ids (1, T) by another program, from what was written. Default: no program."""
        raise DoesNotApply("reference gives no other program's logits")

    @check("faults and notes: lists of single lines, and no fault of a model that can be written")
    def test_possible(self) -> None:
        """The toy has no fault; faults and notes are lines."""
        target, toy = self._target(), self.toy()
        assert target.faults(*toy) == [], f"its toy has faults: {'; '.join(target.faults(*toy))}"
        for line in target.notes(*toy):
            assert line, "a note is empty"
            assert "\n" not in line, f"a note of more than one line: {line}"

    @check("export: write the directory, and say what was written in lines")
    def test_written(self) -> None:
        """There is a directory with files, nothing beside it, and a description."""
        folder = self.folder
        lines = self._export(self.toy(), folder)
        assert [path.name for path in folder.iterdir()] == [_NAME], f"beside it lie {sorted(folder.iterdir())}"
        assert content_of(folder / _NAME), "the directory has no file"
        assert lines, "it says nothing of what was written"
        assert not any("\n" in line for line in lines), "a line of what it says has a line break"

    @check("export: no time, no random number and no folder's name in the files")
    def test_again(self) -> None:
        """The same model gives the same files, in whatever folder."""
        first, second = self.folder, self.folder
        self._export(self.toy(), first)
        self._export(self.toy(), second)
        changed = changed_files(content_of(first), content_of(second))
        assert not changed, f"exported twice, {changed} differ"

    @check("export: change neither the model nor the processor; work on a copy")
    def test_untouched(self) -> None:
        """The model is as it was, and gives the logits that it gave."""
        model, processor = self.toy()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        config, settings = model.config.to_json_string(), model.training
        logits = _logits(model)
        self._export((model, processor), self.folder)
        for name, value in model.state_dict().items():
            same = name in before and value.dtype == before[name].dtype and torch.equal(value, before[name])
            assert same, f"exporting changes {name}"
        assert model.state_dict().keys() == before.keys(), "exporting takes weights away"
        assert model.config.to_json_string() == config, "exporting changes the model's configuration"
        assert model.training == settings, "exporting puts the model into training, or out of it"
        assert torch.equal(_logits(model), logits), "behind the export the model gives other logits"

    @check("export: the weights of each part; say with left_out, and in notes, what has no place")
    def test_parts(self) -> None:
        """Other weights of a part make other files, unless the notes say that it is left out."""
        target, (model, processor) = self._target(), self.toy()
        before = self._files((model, processor))
        for name, part in named_parts(model).items():
            if not any(True for _ in part.parameters()):
                continue
            changed, _ = self.toy()
            for parameter in named_parts(changed)[name].parameters():
                parameter.data.mul_(1.25)
            shown = self._files((changed, processor)) != before
            kind = name.partition(".")[0]
            if kind in self.left_out:
                assert not shown, f"{kind} is in left_out, and other weights of it make other files"
                noted = any(kind in line for line in target.notes(model, processor))
                assert noted, f"{kind} is left out, and no note says so"
            else:
                assert shown, f"other weights of {name} make the same files"

    @check("export: the numbers of the model, or as near as the form has them")
    def test_reference(self) -> None:
        """Another program gives the model's logits from what was written, of two models."""
        for seed in (0, 1):
            toy, folder = self.toy(seed=seed), self.folder
            self._export(toy, folder)
            ids = torch.arange(5, 16)[None]  # (1, T)
            got = self.reference(folder / _NAME, ids)
            check_close(got.float(), _logits(toy[0], ids), self.tolerance, "its logits, and the model's")

    @check("faults: a line for each reason why a model cannot be written; export: a KitError of them, and no file")
    def test_refused(self) -> None:
        """What cannot be written has a fault, is refused in a line that has it, and leaves nothing."""
        toy, folder = self.unsuited(), self.folder
        faults = self._target().faults(*toy)
        assert faults, "faults finds none in a model that cannot be written"
        assert not any("\n" in fault or not fault for fault in faults), f"faults are not lines: {faults}"
        check_refused(lambda: self._export(toy, folder), "a model that cannot be written", faults[0])
        assert not list(folder.iterdir()), f"a refused export leaves {', '.join(p.name for p in folder.iterdir())}"

    @check("export: write within atomic_directory of tinyllava_kit.files, so that the directory is whole or not there")
    def test_atomic(self) -> None:
        """Where the disk is full in the middle of a file, a line says so, and nothing is left."""
        toy, folder = self.toy(), self.folder
        self._export(toy, folder)
        sizes = [path.stat().st_size for path in (folder / _NAME).rglob("*") if path.is_file()]
        for size in sorted({min(sizes), max(sizes)}):
            empty = self.folder
            with _no_file_above(max(_SMALLEST_FILE, size) // 2):
                check_refused(partial(self._export, toy, empty), "a disk that is full")
            left = [str(path.relative_to(empty)) for path in empty.rglob("*")]
            assert not left, f"an export that failed leaves {', '.join(left)}"

    @check("export: raise a KitError that names the place where it cannot write")
    def test_place(self) -> None:
        """A place that cannot be written to gives an error of one line."""
        taken = self.folder / "file"
        taken.touch()
        check_refused(lambda: self._export(self.toy(), taken), "a folder that is a file", "file")

    def effect(self, options: Mapping[str, Any]) -> Any:
        """The files."""
        return self._files(self.toy(), **options)

    def _target(self, **options: Any) -> ExportTarget:
        check_packages(self.spec)
        target: ExportTarget = self.component(**{**self.given_options, **options})
        return target

    def _export(self, toy: ToyModel, folder: Path, **options: Any) -> list[str]:
        return list(self._target(**options).export(*toy, folder / _NAME))

    def _files(self, toy: ToyModel, **options: Any) -> dict[str, str]:
        folder = self.folder
        self._export(toy, folder, **options)
        return content_of(folder / _NAME)


def _logits(model: Any, ids: Tensor | None = None) -> Tensor:
    """Of text: (1, T) -> (1, T, V)."""
    ids = torch.arange(3, 12)[None] if ids is None else ids
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids).logits
    return logits


@contextmanager
def _no_file_above(size: int) -> Iterator[None]:
    """While it lasts, no file of this process grows beyond a size, as on a disk that is full.

    Raises:
        DoesNotApply: the system has no such limit.
    """
    try:
        import resource
    except ImportError:
        raise DoesNotApply("this system does not limit the sizes of files") from None
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
