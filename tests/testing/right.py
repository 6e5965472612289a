"""Right components of toy size, which mutants are made of, and how a mutant is caught."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Features, Modality, Preprocessor, Tower
from tinyllava_kit.plugin.catalog import Catalog, Offer
from tinyllava_kit.plugin.specs import ModalitySpec, Option, Spec, TokenType, TowerSpec
from tinyllava_kit.testing import CheckFailure, Contract, DoesNotApply, TowerContract, checks_of

SIZES = {"size": 4, "window": 7, "width": 6, "layers": 2}


def offered(*specs: Spec) -> Catalog:
    return Catalog(offers=tuple(Offer(spec=spec, plugin="it", distribution="it", version="0") for spec in specs))


def passes(contract: Contract, *, leaving_out: Sequence[str] = ()) -> dict[str, str]:
    """Run every check; returns those that do not apply, with their reasons."""
    reasons = {}
    for name in checks_of(type(contract)):
        if name not in leaving_out:
            try:
                getattr(contract, f"test_{name}")()
            except DoesNotApply as reason:
                reasons[name] = str(reason)
    return reasons


def caught(contract: Contract, check: str, message: str) -> None:
    """A check fails with this message, and says what to change."""
    with pytest.raises(CheckFailure, match=message) as raised:
        getattr(contract, f"test_{check}")()
    assert "\nchange: " in str(raised.value)


class NumbersModality(Modality):
    """Numbers, (L,) float32."""

    def read(self, source: Any) -> Tensor:
        return torch.as_tensor(source, dtype=torch.float32)

    def blank(self, item: Tensor) -> Tensor:
        return torch.zeros_like(item)


class Patches(Preprocessor):
    def __init__(self, *, size: int, window: int) -> None:
        self.size, self.window = size, window

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        parts = zip(item.split(self.size * self.window), self.num_features(item), strict=True)
        padded = [(F.pad(part, (0, count * self.size - len(part))), count) for part, count in parts]
        return [{"numbers": numbers, "counts": torch.tensor(count)} for numbers, count in padded]

    def num_features(self, item: Tensor) -> list[int]:
        full, rest = divmod(-(-len(item) // self.size), self.window)
        return [self.window] * full + [rest] * bool(rest)

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        numbers = nn.utils.rnn.pad_sequence([row["numbers"] for row in rows], batch_first=True)
        return {"numbers": numbers, "counts": torch.stack([row["counts"] for row in rows])}

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "window": self.window}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Patches:
        return cls(**settings)


class PatchTower(Tower):
    preprocessor_class = Patches
    no_split_modules = ("Linear",)
    never_quantized = ("out",)

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        width = config["width"]
        self.project = nn.Linear(config["size"], width)
        self.position = nn.Embedding(config["window"], width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(config["layers"]))
        self.out, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.register_buffer("scale", torch.ones(width))

    @property
    def embed_dim(self) -> int:
        return self.config["width"]

    @classmethod
    def read_config(cls, checkpoint: str, *, gain: float = 1.0) -> dict[str, Any]:
        try:
            config = json.loads((Path(checkpoint) / "config.json").read_text())
        except OSError as error:
            raise KitError(f"{checkpoint}: {error.strerror}") from error
        if config.pop("model_type") != "patches":
            raise KitError(f"{checkpoint}: not patches")
        return {**config, "gain": gain}

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
        return cls.preprocessor_class(size=config["size"], window=config["window"])

    def load_weights(self, checkpoint: str) -> None:
        try:
            self.load_state_dict(load_file(Path(checkpoint) / "model.safetensors"))
        except RuntimeError as error:
            raise KitError(f"{checkpoint}: {' '.join(str(error).split())}") from error

    def rows_at_once(self, inputs: Mapping[str, Tensor]) -> int:
        return 2

    def hidden(self, patches: Tensor) -> Tensor:
        rows = self.project(patches) + self.position(torch.arange(patches.shape[1], device=patches.device))
        for layer in self.layers:
            rows = rows + F.gelu(layer(rows))
        return rows

    def forward(self, numbers: Tensor, counts: Tensor) -> Features:
        patches = numbers.unflatten(1, (-1, self.config["size"])).to(self.project.weight.dtype)  # (N, P, S)
        rows = self.norm(self.out(self.hidden(patches))) * self.scale * self.config["gain"]  # (N, P, E)
        real = torch.arange(rows.shape[1], device=rows.device) < counts[:, None]  # (N, P)
        return Features(rows * real[..., None], counts)


NUMBERS = ModalitySpec(name="numbers", target=f"{__name__}:NumbersModality", token=TokenType(placeholder="<numbers>"))
PATCHES = TowerSpec(
    name="patches",
    target=f"{__name__}:PatchTower",
    modality="numbers",
    model_types=("patches",),
    options=(Option(name="gain", type=float, default=1.0),),
)


def numbers(length: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(length)) * torch.linspace(0.5, 1.5, length)


class PatchContract(TowerContract):
    component = PatchTower
    spec = PATCHES
    catalog = offered(NUMBERS, PATCHES)

    def toy_checkpoint(self, folder: Path) -> str:
        torch.manual_seed(0)
        (folder / "config.json").write_text(json.dumps({"model_type": "patches", **SIZES}))
        state = PatchTower({**SIZES, "gain": 1.0}).state_dict()
        save_file(
            {n: value + 0.3 * torch.randn_like(value) for n, value in state.items()}, folder / "model.safetensors"
        )
        return str(folder)

    def items(self) -> list[Tensor]:
        return [numbers(length) for length in (27, 61, 9)]

    def sized_items(self) -> Iterator[Tensor]:
        return (numbers(length) for length in range(1, 10**6))

    def reference(self, item: Tensor) -> Tensor:
        """By a slow loop over the file's weights."""
        w = load_file(Path(self.checkpoint) / "model.safetensors")
        found = []
        for number, patch in enumerate(F.pad(item, (0, -len(item) % 4)).split(4)):
            row = w["project.weight"] @ patch + w["project.bias"] + w["position.weight"][number % 7]
            for layer in ("layers.0", "layers.1"):
                row = row + F.gelu(w[f"{layer}.weight"] @ row + w[f"{layer}.bias"])
            row = w["out.weight"] @ row + w["out.bias"]
            found.append(F.layer_norm(row, (6,), w["norm.weight"], w["norm.bias"]) * w["scale"])
        return torch.stack(found)


def patch_contract(tower: type[PatchTower] = PatchTower, spec: TowerSpec = PATCHES) -> PatchContract:
    """That of another tower, or another spec."""
    contract = PatchContract()
    contract.component, contract.spec = tower, spec
    return contract


class Pairs(Modality):
    """Lists of pairs of numbers from 0 to 4."""

    def read(self, source: Any) -> list[tuple[int, int]]:
        return [tuple(each) for each in source]

    def join(self, pieces: Sequence[Any]) -> Any:
        return [pair for piece in pieces for pair in piece]


PAIRS = ModalitySpec(name="pairs", target=f"{__name__}:Pairs", token=TokenType(placeholder="<pairs>"))


def counts_one_more(decoder: Any) -> None:
    count = decoder.num_ids
    decoder.num_ids = lambda item: count(item) + 1


def changed(base: type, **known: Any) -> type:
    """A class with other members."""
    return type("Mutant", (base,), known)


def table(rows: Sequence[tuple[Any, ...]]) -> pytest.MarkDecorator:
    """Each row a test: what is wrong, the mutant, the check that catches it, and its message."""
    return pytest.mark.parametrize(("mutant", "check", "message"), [pytest.param(*row[1:], id=row[0]) for row in rows])
