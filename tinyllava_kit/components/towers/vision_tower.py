"""Vision transformers of the transformers library as towers, cut after the layer that is read.

What such towers have in common; a plugin says which class it is, how it embeds, and which features are patches.
Legend: N pictures, P features of a picture, E tower width, H and W sides of a picture in pixels.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from PIL import Image
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from transformers import AutoConfig, BaseImageProcessor, PreTrainedConfig, PreTrainedModel
from typing_extensions import NotRequired, TypedDict

from tinyllava_kit.components.modalities.image import ImagePreprocessor
from tinyllava_kit.core.interfaces import Features, Grid, Preprocessor, Tower
from tinyllava_kit.errors import KitError, near
from tinyllava_kit.files.content import MOST_LAYERS, Divisor, Finite, Size, WholeNumber, checked
from tinyllava_kit.files.failures import reading
from tinyllava_kit.pretrained.checkpoint import check_model_type, load_state, read_pretrained, without_reports
from tinyllava_kit.pretrained.saved_config import network

_WHERE = "tower's config"
_NOT_ARCHITECTURE = ("transformers_version", "dtype", "architectures")

_Side = Annotated[WholeNumber, Field(ge=1, le=2**14)]


def _of_all(value: Any) -> Any:
    """A number for all colours as one for each."""
    if isinstance(value, (int, float)):
        return (value,) * 3
    return tuple(value) if isinstance(value, list) else value


_Colour = Annotated[tuple[Finite, Finite, Finite], BeforeValidator(_of_all)]


class Picture(TypedDict, total=False):
    """What an image processor of transformers does to a picture, as a file holds it; nothing else is taken of it."""

    do_convert_rgb: bool | None
    do_resize: bool | None
    size: dict[str, _Side | None] | None
    resample: Annotated[int, Field(ge=0, le=5)] | None
    default_to_square: bool | None
    do_center_crop: bool | None
    crop_size: dict[str, _Side | None] | None
    do_rescale: bool | None
    rescale_factor: Finite | None
    do_normalize: bool | None
    image_mean: _Colour | None
    image_std: Annotated[tuple[Divisor, Divisor, Divisor], BeforeValidator(_of_all)] | None
    do_pad: bool | None


class Settings(TypedDict):
    """Of a `TransformersImagePreprocessor`, as a file holds them."""

    features_per_image: Size
    processor: dict[str, Any]


class VisionConfig(TypedDict):
    """Of a `TransformersVisionTower`, as a file holds it."""

    vision_config: dict[str, Any]
    layer: Annotated[int, Field(ge=-MOST_LAYERS, le=MOST_LAYERS)]
    select: str
    image_size: NotRequired[_Side | None]


def picture(processor: BaseImageProcessor, name: str) -> BaseImageProcessor:
    """The same processor, with only the settings that are known.

    Raises:
        KitError: a setting of another type; names it.
    """
    own = processor.to_dict()
    known = checked(Picture, {key: own[key] for key in Picture.__annotations__ if own.get(key) is not None}, name)
    with reading(name):
        return type(processor).from_dict(known)


class TransformersImagePreprocessor(ImagePreprocessor):
    """An image processor of transformers, in its PIL implementation, with a fixed output size.

    Args:
        processor: its resizing, cropping, rescaling and normalisation are used unchanged.
        features_per_image: what the tower gives for a picture.
        name: how messages call it, for instance the checkpoint.

    Raises:
        KitError: the size of what it makes depends on the picture.
    """

    processor_class: ClassVar[type[BaseImageProcessor]]

    def __init__(self, processor: BaseImageProcessor, *, features_per_image: int, name: str = "preprocessor") -> None:
        self._processor: Any = picture(processor, name)
        self._features_per_image = features_per_image
        cropped = getattr(self._processor, "do_center_crop", None)
        output = dict(getattr(self._processor, "crop_size" if cropped else "size"))
        if not (output.get("height") and output.get("width")):
            raise KitError(f"{name}: pictures of a fixed height and width are expected, it makes them {output}")
        self._size = (int(output["height"]), int(output["width"]))

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    @property
    def mean(self) -> tuple[float, float, float]:
        red, green, blue = self._processor.image_mean
        return float(red), float(green), float(blue)

    @property
    def features_per_image(self) -> int:
        return self._features_per_image

    def pixels(self, image: Image.Image) -> Tensor:
        """What the processor makes of a picture, to the last bit: its numbers for the 256 levels are looked up."""
        made = self._processor(image, do_rescale=False, do_normalize=False)["pixel_values"][0]
        levels = np.asarray(made)  # (3, H, W)
        if levels.dtype != np.uint8:
            return self._processor(image, return_tensors="pt")["pixel_values"][0]
        return torch.from_numpy(np.stack([np.take(*pair) for pair in zip(self._normalized, levels, strict=True)]))

    @cached_property
    def _normalized(self) -> np.ndarray:
        """What becomes of each level of each colour, (3, 256) float32."""
        ramp = np.tile(np.arange(256, dtype=np.uint8), (3, 1, 1))  # (3, 1, 256)
        plain: dict[str, Any] = {"do_resize": False, "do_center_crop": False, "input_data_format": "channels_first"}
        return np.asarray(self._processor(ramp, **plain)["pixel_values"][0])[:, 0]

    def settings(self) -> dict[str, Any]:
        settings = {"features_per_image": self._features_per_image, "processor": self._processor.to_dict()}
        return json.loads(json.dumps(settings))  # tuples as JSON gives them back

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> TransformersImagePreprocessor:
        settings = checked(Settings, settings, "preprocessor")
        known = {key: value for key, value in settings["processor"].items() if key in Picture.__annotations__}
        processor = cls.processor_class.from_dict(checked(Picture, known, "preprocessor.processor"))
        return cls(processor, features_per_image=settings["features_per_image"])


class TransformersVisionTower(Tower):
    """The hidden states of one layer of a transformers vision model.

    Only what leads to that layer is built, loaded and run: no later layer, no final norm, no pooling head. Module
    names are those of transformers 5 (``embeddings...``, ``encoder.layers.0...``).

    ``config``: ``vision_config`` (the model's configuration, whole), ``layer`` and ``select``. Layers are counted as
    transformers counts ``hidden_states``: 0 is the embeddings, 1 what the first layer makes, -1 what the last layer
    makes (before the final norm), -2 the one before.

    Raises:
        KitError: a configuration that the model cannot be built from, or a selection that it does not have.
    """

    model_class: ClassVar[type[PreTrainedModel]]
    model_types: ClassVar[tuple[str, ...]]
    preprocessor_class: ClassVar[type[Preprocessor]]
    # How many features come before the patches, and how many each selection drops. The first is the default.
    num_prefix: ClassVar[int] = 0
    selections: ClassVar[Mapping[str, int]]

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        checked(VisionConfig, config, _WHERE)
        if config["select"] not in self.selections:
            raise KitError(f"{_WHERE}.select: {near(config['select'][:80], self.selections)}")
        self.vision_config = self._cut_config()
        self.side = self._image_size(config)  # of a picture, in pixels
        self.num_dropped = self.selections[config["select"]]
        with reading(f"{_WHERE}.vision_config"):
            model = self.model_class(self.vision_config)
        embeddings = model.embeddings
        assert isinstance(embeddings, nn.Module)
        # Not saved, hence lost by from_pretrained of the model that holds the tower; positions are added without it.
        embeddings._buffers.pop("position_ids", None)
        self.embeddings: Any = embeddings
        self.take_parts(model)
        self.encoder: Any = model.encoder

    def take_parts(self, model: PreTrainedModel) -> None:
        """Keep what else leads to the model's last encoder layer, under its own name."""

    @abstractmethod
    def embed(self, patches: Tensor) -> Tensor:
        """Patches without positions, (N, P, E) -> what the first encoder layer takes, (N, P or 1 + P, E)."""

    @property
    def embed_dim(self) -> int:
        return self.vision_config.hidden_size

    @property
    def grid(self) -> Grid | None:
        """The raster of patches; None where the selection is not the patches and nothing else."""
        side = self.side // self.vision_config.patch_size
        return (side, side) if self.num_dropped == self.num_prefix else None

    @classmethod
    def read_config(  # type: ignore[override]  # a subset of the options that the interface lets any tower have
        cls, checkpoint: str, *, layer: int = -2, select: str | None = None
    ) -> dict[str, Any]:
        """From a vision model's ``config.json`` or that of a whole image-text model.

        Args:
            checkpoint: a hub name or a local directory.
            layer: whose hidden states are read.
            select: one of `selections`.

        Raises:
            KitError: not found, of another kind, no such layer or selection.
        """
        with without_reports():  # SigLIP's text configuration warns of its own defaults
            config = read_pretrained(AutoConfig, checkpoint)
        cls.check_architecture(config.model_type, checkpoint)
        config = getattr(config, "vision_config", config)
        num_layers = config.num_hidden_layers
        if not -num_layers - 1 <= layer <= num_layers:
            raise KitError(
                f"{checkpoint!r} has no layer {layer}: it has {num_layers}, counted from 0 (the embeddings) "
                f"to {num_layers}, or from -1 back"
            )
        select = next(iter(cls.selections)) if select is None else select
        if select not in cls.selections:
            raise KitError(f"{cls.__name__}: select got {select!r}; {near(select, cls.selections)}")
        vision_config = {k: v for k, v in config.to_diff_dict().items() if k not in _NOT_ARCHITECTURE}
        return {"vision_config": vision_config, "layer": layer, "select": select}

    @classmethod
    def check_architecture(cls, model_type: str, checkpoint: str) -> None:
        """Refuse a checkpoint of another kind.

        Raises:
            KitError: names the checkpoint, its model type and those that are taken.
        """
        check_model_type(model_type, cls.model_types, checkpoint)

    @classmethod
    def image_preprocessor(cls) -> type[TransformersImagePreprocessor]:
        """The class that pictures are made with: of a subclass for another modality that of the tower it extends."""
        classes = (getattr(each, "preprocessor_class", None) for each in cls.__mro__)
        return next(each for each in classes if each and issubclass(each, TransformersImagePreprocessor))

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> TransformersImagePreprocessor:
        """The checkpoint's own image processor.

        Raises:
            KitError: not found, or its pictures are not of the tower's size.
        """
        side = cls._image_size(config)
        processor = cls.read_processor(checkpoint, config)
        preprocessor = cls.image_preprocessor()(
            processor, features_per_image=cls._num_features(config), name=repr(checkpoint)
        )
        if preprocessor.size != (side, side):
            height, width = preprocessor.size
            raise KitError(
                f"{checkpoint!r}: its preprocessor makes pictures of {height} x {width} pixels, its tower takes "
                f"{side} x {side}; its preprocessor_config.json belongs to another model"
            )
        return preprocessor

    @classmethod
    def read_processor(cls, checkpoint: str, config: Mapping[str, Any]) -> BaseImageProcessor:
        """The image processor of transformers that the checkpoint comes with; padding is the modality's, not its."""
        return read_pretrained(cls.image_preprocessor().processor_class, checkpoint, do_pad=False)

    @classmethod
    def default_preprocessor(cls, config: Mapping[str, Any]) -> TransformersImagePreprocessor:
        """The class's own image processor at the tower's size: for checkpoints that come without one."""
        side = cls._image_size(config)
        square = {"height": side, "width": side}
        kind = cls.image_preprocessor()
        crops = getattr(kind.processor_class(), "do_center_crop", None)
        sizes: dict[str, Any] = {"size": {"shortest_edge": side}, "crop_size": square} if crops else {"size": square}
        processor = kind.processor_class(**sizes)
        return kind(processor, features_per_image=cls._num_features(config), name=cls.__name__)

    @classmethod
    def network(cls, config: Mapping[str, Any], **fixed: Any) -> PreTrainedConfig:
        """The configuration of the whole network, of that of a tower.

        Raises:
            KitError: values of other types, or a picture that has no patch.
        """
        kind = cls.model_class.config_class
        assert kind is not None
        vision = network(kind, config["vision_config"], f"{_WHERE}.vision_config", **fixed)
        checked(_Side, vision.image_size, f"{_WHERE}.vision_config.image_size")
        checked(_Side, vision.patch_size, f"{_WHERE}.vision_config.patch_size")
        if vision.patch_size > vision.image_size:
            raise KitError(
                f"{_WHERE}.vision_config: patches of {vision.patch_size} pixels in pictures of {vision.image_size}"
            )
        return vision

    @classmethod
    def _image_size(cls, config: Mapping[str, Any]) -> int:
        """The side of a picture, which a configuration leaves out where it is the class's default."""
        return int(cls.network(config).image_size)

    @classmethod
    def _num_features(cls, config: Mapping[str, Any]) -> int:
        vision = cls.network(config)
        side = cls._image_size(config) // vision.patch_size
        return int(side**2 + cls.num_prefix - cls.selections[config["select"]])

    def load_weights(self, checkpoint: str) -> None:
        """Fill the tower from a vision model's weights or those of a whole image-text model."""
        with without_reports():  # text towers and later layers are surplus; what is missing is checked below
            model, info = read_pretrained(
                self.model_class, checkpoint, config=self._cut_config(), output_loading_info=True
            )
        missing = set(info["missing_keys"])  # transformers has filled these with random numbers
        state = {key: value for key, value in model.state_dict().items() if key not in missing}
        load_state(self, state, checkpoint, surplus_ok=True)

    def forward(self, pixel_values: Tensor) -> Features:  # type: ignore[override]  # its inputs by name
        """Pictures, (N, 3, H, W) of any floating dtype, normalised -> features (N, P, E)."""
        hidden = self.embed(self.patches(pixel_values))  # (N, P, E)
        hidden = self.encoder(hidden).last_hidden_state  # (N, P, E)
        return Features(self.selected(hidden), None, self.grid)  # (N, P - dropped, E)

    def patches(self, pixel_values: Tensor) -> Tensor:
        """Pictures, (N, 3, H, W) of any floating dtype -> patches without positions, (N, P, E)."""
        patch_embedding = self.embeddings.patch_embedding
        patches = patch_embedding(pixel_values.to(patch_embedding.weight.dtype))  # (N, E, rows, columns)
        return patches.flatten(2).transpose(1, 2)  # (N, P, E)

    def selected(self, hidden: Tensor) -> Tensor:
        """What the last encoder layer makes, (N, P, E) -> features, (N, P - dropped, E)."""
        return hidden[:, self.num_dropped :]  # (N, P - dropped, E)

    def _cut_config(self) -> PreTrainedConfig:
        """The model's configuration with the layers that are needed."""
        layer, layers = self.config["layer"], self.network(self.config).num_hidden_layers
        if not -layers - 1 <= layer <= layers:
            raise KitError(f"{_WHERE}.layer: expected one of {layers} layers, got {layer}")
        layer = layer if layer >= 0 else layer + layers + 1
        return self.network(self.config, num_hidden_layers=layer, attn_implementation="sdpa")
