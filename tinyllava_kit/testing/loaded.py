"""What holds for a component that is filled from a checkpoint: all of it, of a right one, and of no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..plugin.specs import Spec
from .comparing import check_refused, refusal
from .contract import Contract, DoesNotApply, check

_State = dict[str, Tensor]

_NO_CHECKPOINT = "its toy takes no checkpoint"
_MOST_REMOVED = 12
_SEED = 7_654_321


class LoadedContract(Contract):
    """An author gives `toy_checkpoint`, which writes safetensors and a ``config.json`` as the real ones have."""

    # Ends of names of parameters that no checkpoint fills: name -> why.
    not_in_checkpoint: ClassVar[dict[str, str]] = {}

    def load(self, checkpoint: str) -> nn.Module:
        """The module with the weights of a checkpoint."""
        raise NotImplementedError(f"{type(self).__name__} must give load()")

    def altered(self, folder: Path, change: Callable[[Path], None]) -> str:
        """A copy of the toy checkpoint in `folder` that `change` was done to, and what names it."""
        shutil.copytree(self.checkpoint, folder / "altered")
        change(folder / "altered")
        return str(folder / "altered")

    def of_another_kind(self, folder: Path) -> None:
        """Make a checkpoint in `folder` one of another kind. Default: each ``config.json`` has another model type."""
        for path in folder.rglob("config.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            config["model_type"] = "of_another_kind"
            path.write_text(json.dumps(config), encoding="utf-8")

    @check("load_weights: fill every parameter and buffer from the checkpoint")
    def test_weights(self) -> None:
        """None is left as it was made: the same whatever the generator's seed, and another in another checkpoint."""
        self._needs_files()
        first, again = (self._seeded(self.checkpoint, seed) for seed in (0, 1))
        random = [name for name in first if not torch.equal(first[name], again[name])]
        assert not random, f"left random: {', '.join(random[:5])}"
        other = self._seeded(self._with_weights(_moved), 0)
        kept = [n for n in first if first[n].is_floating_point() and torch.equal(first[n], other[n])]
        kept = [name for name in kept if not name.endswith(tuple(self.not_in_checkpoint))]
        assert not kept, (
            f"not read from the checkpoint: {', '.join(kept[:5])}; where no checkpoint has it, say so in "
            "not_in_checkpoint"
        )

    @check("load_weights: raise a KitError where the checkpoint lacks a tensor, or has it in another shape")
    def test_incomplete(self) -> None:
        """A checkpoint without one of its tensors, or with one of another shape, is refused, or lacks nothing."""
        self._needs_files()
        whole = self._seeded(self.checkpoint, 0)
        for how, change in (("without", _without), ("with another shape of", _reshaped)):
            for key in self._keys():
                got: _State = {}
                path = self._with_weights(partial(change, key=key))
                message = refusal(lambda where=path, into=got: into.update(self._seeded(where, 0)))
                assert "\n" not in message, f"{how} {key}: more than one line: {message}"
                if message:
                    continue
                wrong = [name for name in whole if not torch.equal(whole[name], got[name])]
                assert not wrong, f"a checkpoint {how} {key} is taken, and {wrong[0]} is not what it was"

    @check(
        "read_config: compare the model_type of config.json with those that the component takes, and raise a KitError"
    )
    def test_other_kind(self) -> None:
        """A checkpoint of another kind is refused in one line, before any weight is read."""
        self._needs_files()
        if not any(Path(self.checkpoint).rglob("config.json")):
            raise DoesNotApply("its toy checkpoint has no config.json")
        path = self.altered(self.folder, self.of_another_kind)
        self._check_refused(path, "a checkpoint of another kind")

    @check("read_config: raise a KitError that names the checkpoint where it is not there")
    def test_missing(self) -> None:
        """A checkpoint that is not there is refused in one line that names it."""
        if not self.checkpoint:
            raise DoesNotApply(_NO_CHECKPOINT)
        self._check_refused(str(self.folder / "gone"), "a checkpoint that is not there", named="gone")

    def _check_refused(self, checkpoint: str, what: str, named: str = "") -> None:
        check_refused(lambda: self.component.read_config(checkpoint, **self.given_options), what, named)

    def _needs_files(self) -> None:
        if not self.checkpoint:
            raise DoesNotApply(_NO_CHECKPOINT)
        if type(self).altered is LoadedContract.altered and not Path(self.checkpoint).is_dir():
            raise DoesNotApply("its toy checkpoint is one file; give altered() to change its content")
        if not self._keys():
            raise DoesNotApply("its toy checkpoint holds no safetensors")

    def _with_weights(self, change: Callable[[_State], object]) -> str:
        """A copy of the toy checkpoint whose weights, file by file, `change` was done to."""
        return self.altered(self.folder, lambda path: _each_file(path, change))

    def _keys(self) -> list[str]:
        """Names of tensors of the checkpoint, spread over it."""
        found: dict[str, Tensor] = {}
        self._with_weights(found.update)
        names = list(found)
        return names[:: max(1, -(-len(names) // _MOST_REMOVED))]

    def _seeded(self, checkpoint: str, seed: int) -> _State:
        torch.manual_seed(_SEED + seed)  # not one that the toy may have been made with
        return {name: value.clone() for name, value in self.load(checkpoint).state_dict().items()}


def model_type_of(checkpoint: str) -> str | None:
    """What the ``config.json`` of a local checkpoint says that it is."""
    path = Path(checkpoint) / "config.json"
    return json.loads(path.read_text(encoding="utf-8")).get("model_type") if path.is_file() else None


def check_model_types(spec: Spec | None, checkpoint: str) -> None:
    """Check that the spec takes the type of model that the toy checkpoint has.

    Raises:
        AssertionError: the toy checkpoint is none of those that the spec says are taken.
    """
    taken, found = getattr(spec, "model_types", ()), model_type_of(checkpoint)
    if taken and found is not None:
        assert found in taken, f"model_types are {', '.join(taken)}, and the toy checkpoint is of {found!r}"


def _each_file(folder: Path, change: Callable[[_State], object]) -> None:
    """Change the weights of every file; a file without them does not change."""
    for path in sorted(folder.rglob("*.safetensors")):
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={"format": "pt"})


def _moved(weights: _State) -> None:
    noise = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        if value.is_floating_point():
            weights[name] = value + 0.5 * torch.randn(value.shape, generator=noise).to(value.dtype)


def _without(weights: _State, key: str) -> None:
    weights.pop(key, None)


def _reshaped(weights: _State, key: str) -> None:
    if key in weights:
        weights[key] = torch.cat([weights[key].reshape(-1), torch.zeros(3, dtype=weights[key].dtype)])
