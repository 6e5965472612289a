"""What the components of a model are. Implement one, name it in a spec, and the kit can use it.

Legend: N items (or rows of the tower, where an item has several), P features of an item, E tower width,
D width of the LLM, B batch, T tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import KitError
from .conversation import Span, Turn

if TYPE_CHECKING:
    from typing_extensions import Self

Grid = tuple[int, int]

Items = Mapping[str, Mapping[str, Tensor]]  # modality -> what its tower takes, by name


class Features(NamedTuple):
    """What a tower makes of a batch.

    features: (N, P, E), rows past an item's length zeroed.
    lengths: (N,) int64 on the same device, how many of the P are real; None where all are.
    grid: (height, width) where the P features are a raster, row by row; None where they are not.
        One grid for the batch: a tower with ragged rasters offers its items one grid at a time.
    """

    features: Tensor
    lengths: Tensor | None = None
    grid: Grid | None = None


class Modality(ABC):
    """How items of one kind are read and, where a tower needs it, cut into several.

    Options of the spec arrive as keyword arguments.
    """

    unit: ClassVar[str] = "items"  # what `measure` counts

    @abstractmethod
    def read(self, source: Any) -> Any:
        """A path, an array or a file object, as the item that this modality's towers take; such an item unchanged.

        Raises:
            KitError: missing, corrupt or of the wrong shape; the message names the file.
        """

    def measure(self, source: Any) -> float:
        """How large a source is, in `unit`, without decoding it; what batches are filled by, and what a server bounds.

        It takes what `read` and `probe` made of a source as well, and says the same of them.

        Raises:
            KitError: as `read`, as far as that is seen without decoding.
        """
        return 1.0

    def probe(self, source: Any) -> Any:
        """A stand-in for an item that gives its size alone, from the source's header where it has one.

        `expand` takes it as it takes the item and gives as many parts, and `Preprocessor.num_features` counts them
        alike. Default: the item.

        Raises:
            KitError: as `read`, as far as that is seen without decoding.
        """
        return self.read(source)

    def decoded_bytes(self, item: Any) -> int:
        """The bytes of an item in memory, as `read` or `probe` gave it; a server bounds them.

        Default: what it says itself, as arrays and tensors do, else 0.
        """
        return int(getattr(item, "nbytes", 0))

    def blank(self, item: Any) -> Any:
        """An item of the same size that says nothing (silence, a grey picture): the control of an evaluation.

        Raises:
            KitError: the modality has none.
        """
        raise KitError(f"{type(self).__name__} has no blank item; leave the control with blank items out")

    def join(self, pieces: Sequence[Any]) -> Any:
        """Pieces of an item, in order, as a decoder streams them -> the item.

        Raises:
            KitError: the modality has no pieces.
        """
        if len(pieces) == 1:
            return pieces[0]
        raise KitError(f"{type(self).__name__} cannot join {len(pieces)} pieces of an item; it must give join()")

    def check_name(self, path: str) -> None:  # noqa: B027 (there may be nothing to check)
        """Whether `write` takes a file of this name, known before there is an item. Default: any.

        Raises:
            KitError: it does not; names it.
        """

    def write(self, item: Any, path: str) -> None:
        """Save an item, as `read` gives it, in a file that `read` takes; the file appears whole or not at all.

        Raises:
            KitError: the modality cannot, or the file cannot be written; names it.
        """
        raise KitError(f"{path}: {type(self).__name__} cannot write a file; it must give write()")

    def expand(self, item: Any, preprocessor: Preprocessor) -> list[Any]:
        """The parts at one placeholder: `item` alone, or those that it is cut into.

        A string among them is text between the parts (a time, the border of a row of tiles), never learned.
        """
        return [item]

    def draw(self, axes: Any, item: Any, preprocessor: Preprocessor, num_features: int, grid: Grid | None) -> Any:
        """Draw a part that `expand` gave on matplotlib's `axes`, and say where its features stand.

        Args:
            num_features, grid: how many features the tower makes of it, P, and the raster that they are, if they are.

        Returns:
            (P, 4) float: left, top, right and bottom of each feature's place, in the coordinates of the axes. None
            where they have no place. Default: None, and nothing is drawn.
        """
        return None


class Preprocessor(ABC):
    """From an item, read, to the tensors that one tower takes. No weights; saved with the processor."""

    @abstractmethod
    def __call__(self, item: Any) -> list[dict[str, Tensor]]:
        """The rows of an item: one, or the windows of a long one, in order; each the tower's named inputs."""

    @abstractmethod
    def num_features(self, item: Any) -> list[int]:
        """How many features each row of `item` gives, by arithmetic: the one source of token counts.

        Takes `Modality.probe` of an item, too: ask nothing of it but its size.
        """

    @property
    def fixed_features(self) -> int | None:
        """How many features every item gives, where that does not depend on the item."""
        return None

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Rows of several items as the tower's keyword arguments, each with a leading (N,). Default: stack."""
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Plain JSON from which `from_settings` makes an equal preprocessor."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Preprocessor:
        """The inverse of `settings`; reads no file."""


def is_trained(part: nn.Module) -> bool:
    """Whether a parameter of it learns."""
    return any(parameter.requires_grad for parameter in part.parameters())


class QuietWhenFrozen(nn.Module):
    """A module that stays in eval while nothing of it is trained: no dropout, no statistics of batches."""

    def train(self, mode: bool = True) -> Self:
        """As in torch, but in eval where no parameter requires grad."""
        return super().train(mode and is_trained(self))


class Tower(QuietWhenFrozen, ABC):
    """An encoder of one modality.

    `config` is plain JSON, made by `read_config` and saved with the model: enough to build the module
    again without the checkpoint. Keep no non-persistent buffer, or give ``init_non_persistent_buffers()``:
    ``from_pretrained`` destroys them otherwise. While nothing of it is trained a tower stays in eval, so that its
    dropout and its batch statistics rest.
    """

    preprocessor_class: ClassVar[type[Preprocessor]]
    # Names of module classes that a device_map must not split.
    no_split_modules: ClassVar[tuple[str, ...]] = ()
    # Last names of linear layers that keep their dtype where the tower is quantized.
    never_quantized: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)

    @property
    @abstractmethod
    def embed_dim(self) -> int:
        """E, the width of the features."""

    @property
    def grid(self) -> Grid | None:
        """The raster of an item's features where it is known before any item is seen; what connectors check."""
        return None

    @classmethod
    @abstractmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        """The module's configuration from a hub name or a local directory; reads no weights.

        Raises:
            KitError: not found, or a checkpoint of another kind.
        """

    @classmethod
    @abstractmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
        """The preprocessor that the checkpoint was trained with."""

    @abstractmethod
    def load_weights(self, checkpoint: str) -> None:
        """Fill the module from the checkpoint.

        Raises:
            KitError: keys are missing or of other shapes.
        """

    def rows_at_once(self, inputs: Mapping[str, Tensor]) -> int:
        """How many of the rows in `inputs` to run at a time where no graph is built, so that memory has a bound.

        A long item may have any number of rows. Static shapes are all there is to ask. Default: all.
        """
        return len(next(iter(inputs.values())))

    @abstractmethod
    def forward(self, **inputs: Tensor) -> Features:
        """What `Preprocessor.collate` made -> Features. No host sync."""


class Connector(QuietWhenFrozen, ABC):
    """The joint between a tower and the LLM: E wide features in, D wide rows out, perhaps fewer.

    Built as ``cls(in_dim=E, out_dim=D, grid=tower.grid, **options)``.
    """

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.grid = in_dim, out_dim, grid

    def num_tokens(self, num_features: int) -> int:
        """How many rows an item of `num_features` features becomes, by arithmetic."""
        return num_features

    def sources(self, num_features: int) -> list[list[int]] | None:
        """The features that each row of an item depends on; None where each depends on all, or where nobody knows."""
        return None

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Features of whole items -> (N, P', D); row i is real up to ``num_tokens(lengths[i])``."""


class LanguageModel:
    """A causal LM and its tokenizer, as transformers classes; the defaults serve any Auto model.

    `model_types`: the configurations it takes; empty: any.
    """

    model_types: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> PreTrainedConfig:
        """The checkpoint's configuration, see `check_config`, as a saved model may hold it; reads no weights.

        Raises:
            KitError: see `check_config`; or its weights are quantized, which the kit does after a model is assembled.
        """
        from ..pretrained.owners import read_llm_config
        from ..pretrained.saved_config import network

        config = read_llm_config(checkpoint)
        cls.check_config(config, checkpoint)
        if getattr(config, "quantization_config", None) is not None:
            raise KitError(
                f"{checkpoint!r} is quantized; take the checkpoint that it was made of, and quantize the model"
            )
        return network(type(config), config.to_dict(), f"{checkpoint!r}: config.json")

    @classmethod
    def check_config(cls, config: PreTrainedConfig, name: str) -> None:
        """Refuse a configuration, of a checkpoint or of a saved model, that is not one of such an LLM.

        Args:
            name: whose it is, for the message.

        Raises:
            KitError: not of `model_types`, an encoder-decoder, a model of several parts, or without a causal language
                model class.
        """
        from ..pretrained.checkpoint import check_model_type

        check_model_type(config.model_type, cls.model_types, name)
        kind = f"{name!r} is a {config.model_type!r} checkpoint"
        if config.is_encoder_decoder:
            raise KitError(f"{kind}, an encoder-decoder; a decoder alone is expected")
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise KitError(f"{kind}, for which transformers has no causal language model; take a checkpoint of one")
        if config.get_text_config() is not config:
            raise KitError(f"{kind}, a model of several parts; take a checkpoint of its language model alone")

    @classmethod
    def build(cls, config: PreTrainedConfig) -> PreTrainedModel:
        """The model from its configuration alone.

        Raises:
            KitError: see `check_config`; or no network can be made of it.
        """
        from ..files.failures import reading

        cls.check_config(config, "text_config")
        with reading("config.json: text_config"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            return model

    @classmethod
    def load(cls, checkpoint: str, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        """The model with its weights.

        Raises:
            KitError: not found, or weights are missing, which transformers would fill with random numbers.
        """
        from ..pretrained.checkpoint import check_loaded, read_pretrained

        model: PreTrainedModel
        model, info = read_pretrained(
            AutoModelForCausalLM, checkpoint, config=config, dtype=dtype, output_loading_info=True
        )
        check_loaded(checkpoint, missing=info["missing_keys"])
        return model

    @classmethod
    def read_tokenizer(cls, checkpoint: str) -> PreTrainedTokenizerBase:
        """The tokenizer, with a padding token."""
        from ..pretrained.checkpoint import read_tokenizer

        tokenizer: PreTrainedTokenizerBase = read_tokenizer(checkpoint)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
        return tokenizer

    @classmethod
    def logits(cls, model: PreTrainedModel, hidden: Tensor) -> Tensor:
        """Final hidden states (..., D) -> logits (..., V), as the model's own forward makes them."""
        logits: Tensor = model.get_output_embeddings()(hidden)  # (..., V)
        return logits


class ChatTemplate(ABC):
    """Writes a conversation as text and says which part of it the model shall learn.

    `add_bos`: the tokenizer's begin token is put in front of the first piece; a template that writes
    its own says False.
    """

    add_bos: ClassVar[bool] = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    @abstractmethod
    def render(self, turns: Sequence[Turn], *, answer: bool = False) -> list[Span]:
        """The whole text as spans in order, each learned or not.

        An item stands in a turn's text as the character `conversation.ITEM` and stays where it is.
        With `answer`, the text ends where the assistant begins to speak.

        Raises:
            KitError: roles in an order that the template cannot write.
        """

    def jinja(self) -> str | None:
        """The same in jinja, which is saved for other programs; None: it has no such form, and nothing is saved.

        Of ``messages``, `content` is the text with a placeholder where an item stands; of those with items,
        `placeholders` is the list of these, in order, and `words` the text without them. Answers before the first
        question are gone. ``raise_exception`` refuses, and ``add_generation_prompt`` is what `answer` is here.
        """
        return None
