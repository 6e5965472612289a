"""tinyllava_kit: small multimodal language models from plugins.

The public face is the names of this module and of `tinyllava_kit.specs`, `tinyllava_kit.interfaces`,
`tinyllava_kit.components`, `tinyllava_kit.checkpoints`, `tinyllava_kit.pretrained`, `tinyllava_kit.files`,
`tinyllava_kit.evaluation`, `tinyllava_kit.training` and `tinyllava_kit.testing`: these stay where they are, what is
deeper may move.

The public classes are imported when they are first touched; importing the package alone loads no torch. Where a program
imports transformers, its Auto classes know this package's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._lazy import lazy
from .errors import KitError as KitError
from .errors import near as near
from .model.when_imported import is_importing, when_imported
from .plugin.hookspecs import hookimpl as hookimpl

if TYPE_CHECKING:
    from .assembly.assembly import Assembly as Assembly
    from .assembly.blueprint import Blueprint as Blueprint
    from .assembly.blueprint import read_blueprint as read_blueprint
    from .assembly.building import assemble as assemble
    from .assembly.part_costs import report_parts as report_parts
    from .checkpoints.loading import load_pretrained as load_pretrained
    from .checkpoints.quantization import Quantization as Quantization
    from .checkpoints.quantization import stored_bytes as stored_bytes
    from .data.dataset import Collator as Collator
    from .data.dataset import ConversationDataset as ConversationDataset
    from .data.sources import Pairs as Pairs
    from .features.cache import FeatureCache as FeatureCache
    from .inference.answering import answer as answer
    from .inference.answering import question as question
    from .inference.answering import without_defaults as without_defaults
    from .inference.chatting import Chat as Chat
    from .inference.replies import replies as replies
    from .inference.replies import reply as reply
    from .inference.replies import stream_answer as stream_answer
    from .inference.reply import Reply as Reply
    from .inference.segments import GeneratedItem as GeneratedItem
    from .inference.streaming import AnswerStream as AnswerStream
    from .model.configuration import TinyLlavaConfig as TinyLlavaConfig
    from .model.item_encoding import ItemEncoder as ItemEncoder
    from .model.modeling import TinyLlavaForConditionalGeneration as TinyLlavaForConditionalGeneration
    from .model.pretrained import TinyLlavaPreTrainedModel as TinyLlavaPreTrainedModel
    from .plugin.discovery import discover as discover
    from .processing.processor import TinyLlavaProcessor as TinyLlavaProcessor
    from .training.recipe import Recipe as Recipe
    from .training.run import run_recipe as run_recipe

__version__ = "0.1.0"

_LIGHT = ("Assembly", "Recipe", "discover")
_get, _dir = lazy(
    __name__,
    {
        "Assembly": ".assembly.assembly",
        "Blueprint": ".assembly.blueprint",
        "read_blueprint": ".assembly.blueprint",
        "assemble": ".assembly.building",
        "report_parts": ".assembly.part_costs",
        "load_pretrained": ".checkpoints.loading",
        "Quantization": ".checkpoints.quantization",
        "stored_bytes": ".checkpoints.quantization",
        "Collator": ".data.dataset",
        "ConversationDataset": ".data.dataset",
        "Pairs": ".data.sources",
        "FeatureCache": ".features.cache",
        "answer": ".inference.answering",
        "question": ".inference.answering",
        "without_defaults": ".inference.answering",
        "Chat": ".inference.chatting",
        "GeneratedItem": ".inference.segments",
        "Reply": ".inference.reply",
        "replies": ".inference.replies",
        "reply": ".inference.replies",
        "stream_answer": ".inference.replies",
        "AnswerStream": ".inference.streaming",
        "TinyLlavaConfig": ".model.configuration",
        "ItemEncoder": ".model.item_encoding",
        "TinyLlavaForConditionalGeneration": ".model.modeling",
        "TinyLlavaPreTrainedModel": ".model.modeling",
        "discover": ".plugin.discovery",
        "TinyLlavaProcessor": ".processing.processor",
        "Recipe": ".training.recipe",
        "run_recipe": ".training.run",
    },
)


def _register() -> None:
    """Make the Auto classes of transformers know ours."""
    if not is_importing(__name__):  # a module of ours that needs transformers comes first; a class's touch registers
        import_module("tinyllava_kit.processing.auto")


def __getattr__(name: str) -> Any:
    if name in _dir() and name not in _LIGHT:
        _register()
    return _get(name)


def __dir__() -> list[str]:
    return sorted(["KitError", "hookimpl", "near", *_dir()])


when_imported("transformers", _register)
