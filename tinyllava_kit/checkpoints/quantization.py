"""8- and 4-bit weights, by bitsandbytes: which layers get them, loading, saving, what they take.

The LLM's head, embeddings, norms and biases are never quantized; of the other parts, linear layers are where asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import KitError, near
from ..model.parts import named_parts, part_prefixes
from ..plugin.extras import need

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import BitsAndBytesConfig

    from ..model.configuration import TinyLlavaConfig
    from ..model.modeling import TinyLlavaForConditionalGeneration

BITS = (8, 4)
TYPES = ("nf4", "fp4")
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
# What 4 bits need of a layer. Numbers share a scale by 64, and a processor with bfloat16 instructions also wants whole
# scales in a row and 32 rows at a time; elsewhere other layers would work, until the model is moved.
IN_FACTOR, OUT_FACTOR = 64, 32


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How to quantize, and what.

    Args:
        bits: 8 (a scale for each row of a weight; activations are rounded, too, but not in training) or 4.
        type: of 4 bits: ``nf4`` or ``fp4``, the sixteen values that a number may have.
        double_quant: of 4 bits: the scales are quantized as well.
        compute_dtype: of 4 bits: what they are multiplied in, one of `COMPUTE_DTYPES`; None: the dtype of the model.
        parts: which parts, by the names of recipes: ``llm``, ``tower.MODALITY``, ``connector.MODALITY``.

    Raises:
        KitError: a value that does not exist, or one of 4 bits with ``bits=8``.
    """

    bits: int
    type: str = "nf4"
    double_quant: bool = True
    compute_dtype: str | None = None
    parts: tuple[str, ...] = ("llm",)

    def __post_init__(self) -> None:
        _one_of("bits", self.bits, BITS)
        _one_of("type", self.type, TYPES)
        _one_of("compute_dtype", self.compute_dtype, (None, *COMPUTE_DTYPES))
        if self.bits == 8 and (self.type, self.double_quant, self.compute_dtype) != ("nf4", True, None):
            raise KitError("type, double_quant and compute_dtype are of 4 bits; leave them out, or take bits 4")
        if not self.parts:
            raise KitError("no part to quantize was named; expected llm, tower.MODALITY or connector.MODALITY")

    def config(self, model_config: TinyLlavaConfig) -> BitsAndBytesConfig:
        """What ``from_pretrained(..., quantization_config=)`` takes, for models of this configuration.

        The layers are found in a model without weights. Those that do not fit keep their dtype.

        Raises:
            KitError: bitsandbytes is not installed, the model is quantized already, it has no such part, or a part has
                no layer that fits.
        """
        need("bitsandbytes", "a weight of 8 or 4 bits")
        if getattr(model_config, "quantization_config", None) is not None:
            raise KitError(
                f"the model is quantized already ({said(model_config)}); quantize the one that it was made of"
            )
        import torch
        from transformers import BitsAndBytesConfig

        from ..model.modeling import TinyLlavaForConditionalGeneration

        with torch.device("meta"):
            model = TinyLlavaForConditionalGeneration(model_config)
        kept = self._kept_layers(model)
        compute = self.compute_dtype or str(model_config.dtype or torch.float32).removeprefix("torch.")
        others = [prefix for part, prefix in part_prefixes(model_config).items() if part not in self.parts]
        return BitsAndBytesConfig(
            load_in_8bit=self.bits == 8,
            load_in_4bit=self.bits == 4,
            bnb_4bit_quant_type=self.type,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=compute if self.bits == 4 else None,
            # transformers matches them from the start as patterns, and as plain text at the end, where ^ never stands
            llm_int8_skip_modules=[f"^{re.escape(name)}" for name in (*others, *kept)],
        )

    def _kept_layers(self, model: TinyLlavaForConditionalGeneration) -> list[str]:
        """The linear layers of the chosen parts that are not quantized."""
        kept = []
        known = part_prefixes(model.config)
        never = _never(model)
        for part in self.parts:
            if part not in known:
                raise KitError(f"cannot quantize {part!r}: the model has no such part; {near(part, known)}")
            if part.startswith("decoder."):
                raise KitError(f"cannot quantize {part!r}: decoders stay in float32, in fewer bits they give other ids")
            layers = dict(_linears(model, known[part]))
            stay = [name for name, layer in layers.items() if name in never or not self.fits(layer)]
            if len(stay) == len(layers):
                raise KitError(f"cannot quantize {part!r} to {self.bits} bits: {self._why(layers, never)}")
            kept += stay
        return kept

    def fits(self, layer: nn.Module) -> bool:
        """Whether a linear layer can have so few bits."""
        rows, columns = _sizes(layer)
        return self.bits == 8 or (columns % IN_FACTOR == 0 and rows % OUT_FACTOR == 0)

    def _why(self, layers: dict[str, nn.Module], never: Collection[str]) -> str:
        odd = _by_pattern((name, layer) for name, layer in layers.items() if name not in never)
        if not odd:
            return "it has no linear layer of its own"
        some = ", ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
        return f"rows must be a multiple of {OUT_FACTOR} and columns of {IN_FACTOR}, it has {some}; take 8 bits"


def stored_bytes(module: nn.Module) -> int:
    """The bytes of a module's parameters and buffers in memory, with the scales of quantized weights."""
    tensors: dict[int, Tensor] = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(t.numel() * t.element_size() for t in (*tensors.values(), *_scales(module)))


def full_bytes(module: nn.Module, dtype: torch.dtype) -> int:
    """The same, had the quantized weights been read in that dtype."""
    numbers = 0
    kept = {id(t): t for t in (*module.parameters(), *module.buffers())}
    for layer in filter(is_quantized, module.modules()):
        kept.pop(id(layer.weight), None)
        rows, columns = _sizes(layer)
        numbers += rows * columns
    return numbers * dtype.itemsize + sum(t.numel() * t.element_size() for t in kept.values())


def table_of(model: TinyLlavaForConditionalGeneration) -> list[list[str]]:
    """Each part with its dtype and bytes before and after; for people, the head first."""
    table = [["PART", "DTYPE BEFORE", "BYTES BEFORE", "BYTES AFTER", "QUANTIZED LAYERS"]]
    for part, module in {**named_parts(model), "all": model}.items():
        layers = [layer for _, layer in _linears(module, "")]
        done = sum(map(is_quantized, layers))
        held = {t.dtype for t in module.parameters() if t.is_floating_point()} | ({model.dtype} if done else set())
        table.append(
            [
                part,
                ", ".join(sorted(str(each).removeprefix("torch.") for each in held)),
                f"{full_bytes(module, model.dtype):,}",
                f"{stored_bytes(module):,}",
                f"{done} of {len(layers)}",
            ]
        )
    return table


def kept_layers(model: TinyLlavaForConditionalGeneration, parts: Collection[str]) -> list[str]:
    """The linear layers of these parts that were not quantized, with rows and columns; those that differ in a layer's
    number alone are one."""
    known = part_prefixes(model.config)
    kept = [pair for part in parts for pair in _linears(model, known[part]) if not is_quantized(pair[1])]
    return _by_pattern(kept)


def keep_trainable(model: nn.Module) -> None:
    """Keep the layout of 4-bit weights when the model runs on the CPU in eval mode, between steps of its training.

    bitsandbytes would lay them out for faster inference, and its kernel for that passes no gradient. Eval is slower for
    it, and rounds less.
    """
    layers: Iterator[Any] = filter(is_quantized, model.modules())
    for layer in layers:
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def is_quantized(module: nn.Module) -> bool:
    """Whether it is a layer of bitsandbytes."""
    return type(module).__name__ in ("Linear4bit", "Linear8bitLt")


def said(config: TinyLlavaConfig) -> str:
    """What a saved configuration says of its weights: ``8 bit``, ``nf4``."""
    held: Any = config.quantization_config
    held = held if isinstance(held, dict) else held.to_dict()
    return "8 bit" if held.get("load_in_8bit") else str(held.get("bnb_4bit_quant_type", held.get("quant_method")))


def _linears(model: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers below a prefix that transformers would replace, and those that it has replaced."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    for name, module in model.get_submodule(prefix).named_modules(prefix=prefix):
        if type(module) is nn.Linear or isinstance(module, Conv1D) or is_quantized(module):
            yield name, module


def _by_pattern(layers: Iterable[tuple[str, nn.Module]]) -> list[str]:
    """Names with rows and columns, numbers of layers left out."""
    named = (f"{re.sub(r'(?<=[.])[0-9]+(?=[.])', '*', name)} {'x'.join(map(str, _sizes(m)))}" for name, m in layers)
    return list(dict.fromkeys(named))


def _sizes(layer: Any) -> tuple[int, int]:
    """Rows and columns of a weight: what comes out, what goes in."""
    if hasattr(layer, "in_features"):
        return layer.out_features, layer.in_features
    columns, rows = layer.weight.shape  # a Conv1D of transformers
    return rows, columns


def _never(model: TinyLlavaForConditionalGeneration) -> set[str]:
    """The head, layers whose weight is another module's, too, and those that a tower does not want quantized."""
    head = model.get_output_embeddings()
    tied = model.all_tied_weights_keys
    names = {name.removesuffix(".weight") for pair in tied.items() for name in pair}
    for tower in model.towers.values():
        wanted = {id(m) for name, m in tower.named_modules() if name.rpartition(".")[2] in tower.never_quantized}
        names |= {name for name, module in model.named_modules() if id(module) in wanted}
    return names | {name for name, module in model.named_modules() if module is head}


def _scales(module: nn.Module) -> Iterator[Tensor]:
    """What bitsandbytes keeps beside the weights."""
    for layer in filter(is_quantized, module.modules()):
        state = getattr(layer.weight, "quant_state", None)
        second = getattr(state, "state2", None)
        beside = [
            *(getattr(state, name, None) for name in ("absmax", "code", "offset")),
            *(getattr(second, name, None) for name in ("absmax", "code")),
            getattr(layer.weight, "SCB", None),
            getattr(getattr(layer, "state", None), "SCB", None),  # where a forward moves it
        ]
        yield from (each for each in beside if each is not None)


def _one_of(what: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise KitError(f"{what} {value!r}: expected {' or '.join(str(each) for each in known if each is not None)}")
