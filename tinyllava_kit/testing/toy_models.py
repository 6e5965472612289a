"""Models of toy size that read pictures, and rows about them: what objectives and forms of export are tried on.

Legend: N pictures, P strips of a picture, E width of the tower.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..assembly.assembly import Assembly
from ..assembly.building import assemble
from ..core.interfaces import Features, Preprocessor, Tower
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..plugin.catalog import Catalog, Offer
from ..plugin.discovery import installed_catalog
from ..plugin.specs import TowerSpec
from ..processing.processor import TinyLlavaProcessor
from .contract import DoesNotApply
from .toys import save_toy_llm

ToyModel = tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]
_SIDE, _WIDTH = 8, 20
# The text and the answer of each picture: of several lengths.
TEXTS = (("ab", "yes"), ("to", "a long answer, much longer"), ("c", "no"), ("de", "perhaps"))


class StripPreprocessor(Preprocessor):
    """Strips of a picture, eight pixels wide: as many as its width has."""

    def __call__(self, item: Image.Image) -> list[dict[str, Tensor]]:
        (count,) = self.num_features(item)
        small = np.asarray(item.convert("RGB").resize((_SIDE * count, _SIDE)), np.float32) / 255
        strips = torch.from_numpy(small).unflatten(1, (count, _SIDE)).movedim(1, 0).flatten(1)  # (P, S * S * 3)
        return [{"strips": strips}]

    def num_features(self, item: Image.Image) -> list[int]:
        return [-(-item.width // _SIDE)]

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        strips = [row["strips"] for row in rows]
        lengths = torch.tensor([len(each) for each in strips])
        return {"strips": nn.utils.rnn.pad_sequence(strips, batch_first=True), "lengths": lengths}

    def settings(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> StripPreprocessor:
        return cls()


class StripTower(Tower):
    """Each strip through a layer. It has no checkpoint."""

    preprocessor_class: ClassVar[type[Preprocessor]] = StripPreprocessor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.layer = nn.Linear(_SIDE * _SIDE * 3, _WIDTH)

    @property
    def embed_dim(self) -> int:
        return _WIDTH

    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        return {}

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
        return StripPreprocessor()

    def load_weights(self, checkpoint: str) -> None:
        """Those that it was made with stay."""

    def forward(self, **inputs: Tensor) -> Features:
        strips, lengths = inputs["strips"], inputs["lengths"]
        rows = torch.tanh(self.layer(strips.to(self.layer.weight.dtype)))  # (N, P, E)
        real = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]  # (N, P)
        return Features(rows * real[..., None], lengths)


_STRIPS = TowerSpec(name="strips", target=f"{__name__}:StripTower", modality="image")


def toy_model(*, seed: int = 0) -> ToyModel:
    """A model that reads pictures in strips, with nothing but what the kit ships: an LLM of two layers, a linear
    connector."""
    return copy.deepcopy(_strip_model(seed))


def clip_model(catalog: Catalog | None, *, connector: str = "mlp2x_gelu", seed: int = 0) -> ToyModel:
    """A model with a CLIP of toy size; that of seed 0 has the weights of its checkpoint.

    Raises:
        DoesNotApply: as `clip_checkpoint`.
    """
    checkpoint = clip_checkpoint(catalog)
    return copy.deepcopy(_clip_model(checkpoint, connector, seed))


def text_model(*, seed: int = 0) -> ToyModel:
    """A model that reads text alone."""
    return copy.deepcopy(_text_model(seed))


def clip_checkpoint(catalog: Catalog | None) -> str:
    """A CLIP of toy size, which its plugin gives.

    Raises:
        DoesNotApply: the plugin is not installed.
    """
    from .offered import contract_of

    known = installed_catalog() if catalog is None else catalog
    offer = next((each for each in known.of_kind("tower") if each.spec.name == "clip"), None)
    if offer is None:
        raise DoesNotApply("its toy has a CLIP: pip install tinyllava-kit-vision-clip")
    return contract_of(offer, known)().checkpoint


@cache
def _strip_model(seed: int) -> ToyModel:
    kit = installed_catalog()
    offer = Offer(spec=_STRIPS, plugin="testing", distribution="testing", version="0")
    return _assembled(replace(kit, offers=(*kit.offers, offer)), seed, towers=["image=strips"], connector="linear")


@cache
def _clip_model(checkpoint: str, connector: str, seed: int) -> ToyModel:
    made = _assembled(installed_catalog(), seed, towers=[f"image=clip:{checkpoint}"], connector=connector)
    chance = torch.Generator().manual_seed(seed)
    for parameter in made[0].towers.parameters() if seed else ():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=chance)
    return made


@cache
def _text_model(seed: int) -> ToyModel:
    return _assembled(installed_catalog(), seed, towers=[])


def _assembled(catalog: Catalog, seed: int, *, towers: Sequence[str], connector: str = "") -> ToyModel:
    """The LLM of the seed, and new weights of it.

    Raises:
        DoesNotApply: the plugin of the LLM is not installed.
    """
    if not any(offer.spec.name == "llama" for offer in catalog.of_kind("llm")):
        raise DoesNotApply("its toy has a Llama: pip install tinyllava-kit-llm-tinyllama")
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        llm = save_toy_llm(folder, seed=seed)
        connectors = [f"image={connector}"] if connector else []
        wanted = Assembly.from_flags(llm=f"llama:{llm}", towers=towers, connectors=connectors)
        model, processor = assemble(wanted, catalog=catalog)
    return model.eval(), processor


def toy_conversations(*, first: int = 0) -> list[dict[str, Any]]:
    """Rows of one picture each, whose text is known, with an answer; pictures and answers of several sizes."""
    rows = []
    for number, (text, answer) in enumerate(TEXTS, first):
        part = {"type": "image", "image": toy_picture(number), "text": text}
        asked = [part, {"type": "text", "text": f"What is {number}?"}]
        said = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        rows.append({"id": f"toy-{number}", "messages": said})
    return rows


def toy_picture(number: int) -> Image.Image:
    """Noise, of another width for each number."""
    noise = np.random.default_rng(number).integers(0, 256, (21, 30 + 11 * number, 3), dtype=np.uint8)
    return Image.fromarray(noise)
