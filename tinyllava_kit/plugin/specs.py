"""Specs: frozen, import-light descriptions of components, returned by the hooks.

A spec holds facts and a target, ``"package.module:attribute"``. Nothing is imported until
`load` is called, so that listing a hundred plugins needs no torch.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from ..errors import KitError, near
from ..files.item_names import ROW_KEYS, columns_of
from .isolation import PluginFault, isolated
from .options import Option as Option
from .options import OptionValue, article, check_tuple

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

T = TypeVar("T")
_Base = TypeVar("_Base")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The description that every kind of component has.

    `name` is exact and lower_snake. A component for a family of names (``mlp2x_gelu``, ``mlp3x_gelu``, ...) has a
    `pattern`, a regular expression that must match a whole name and whose named groups become integer options.
    `contract` names, as a target, the class of checks that a component of toy size passes (`tinyllava_kit.testing`).
    """

    kind: ClassVar[str]
    names: ClassVar[str] = r"[a-z][a-z0-9_]*"

    name: str
    target: str
    summary: str = ""
    pattern: str = ""
    options: tuple[Option, ...] = ()
    contract: str = ""

    def __post_init__(self) -> None:
        _check_fields(self, f"{self.kind} {self.name!r}")
        if not re.fullmatch(self.names, self.name):
            raise ValueError(f"name must be lower_snake, like 'mlp2x_gelu', got {self.name!r}")
        if not _TARGET.fullmatch(self.target):
            raise ValueError(f"target must be 'package.module:attribute', got {self.target!r}")
        if self.contract and not _TARGET.fullmatch(self.contract):
            raise ValueError(f"contract must be 'package.module:Class', got {self.contract!r}")
        names = [option.name for option in self.options]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{self.kind} {self.name!r}: option {doubled!r} is defined twice")
        if self.pattern:
            self._check_pattern()

    def _check_pattern(self) -> None:
        try:
            matches = re.fullmatch(self.pattern, self.name)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from error
        if not matches:
            raise ValueError(f"pattern {self.pattern!r} must match the component's own name {self.name!r}")

    def matches(self, name: str) -> bool:
        """Whether `name` is this component's, or one of its family."""
        return name == self.name or bool(self.pattern and re.fullmatch(self.pattern, name))

    def name_options(self, name: str) -> dict[str, int]:
        """The options in a name of a family: ``{"depth": 3}`` for ``mlp3x_gelu``."""
        match = re.fullmatch(self.pattern, name) if self.pattern else None
        return {key: int(value) for key, value in match.groupdict().items() if value} if match else {}

    def check_options(self, options: dict[str, Any], owner: str) -> dict[str, OptionValue]:
        """Return every option of the spec with its value: the user's, or the default.

        Raises:
            KitError: an unknown option (with the near one), or a value of the wrong type.
        """
        known = {option.name: option for option in self.options}
        for key in options:
            if key not in known:
                advice = near(key, known) if known else "it has none"
                raise KitError(f"{owner}: {self.kind} {self.name!r} has no option {key!r}; {advice}")
        if missing := next((name for name, o in known.items() if o.required and name not in options), None):
            raise KitError(f"{owner}: {self.kind} {self.name!r} needs its option {missing!r}")
        return {name: o.parse(options[name], owner) if name in options else o.default for name, o in known.items()}


def _check_fields(owner: Any, where: str) -> None:
    """Each field has the type that it is declared with; a list of what a tuple holds becomes one.

    Raises:
        ValueError: says what to write.
    """
    known = {"str": str, "bool": bool, "TokenType": TokenType}
    for field in fields(owner):
        annotation, value = str(field.type), getattr(owner, field.name)
        if annotation.startswith("tuple["):
            check_tuple(owner, field.name, where, of=Option if "Option" in annotation else str)
        elif not isinstance(value, known.get(annotation, object)):
            raise ValueError(f"{where}: {field.name} must be {article(known[annotation])}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class TokenType:
    """How an item of a modality is written in text.

    A user writes `placeholder` for one item (``<image>``). `begin` and `end` are texts around an item's embeddings; the
    LLM's tokenizer turns them into ordinary tokens.
    """

    placeholder: str
    begin: str = ""
    end: str = ""

    def __post_init__(self) -> None:
        _check_fields(self, "token")
        if not re.fullmatch(r"<[^<>\s]+>", self.placeholder):
            raise ValueError(f"placeholder must look like '<name>', got {self.placeholder!r}")

    @property
    def text(self) -> str:
        """The text for an item in a prompt: the placeholder between `begin` and `end`."""
        return f"{self.begin}{self.placeholder}{self.end}"


@dataclass(frozen=True, kw_only=True)
class ModalitySpec(Spec):
    """A kind of content. Target: an `interfaces.Modality` class.

    A LLaVA row names the item's file, or a list of them, under the modality's name (``{"image": "a.png",
    "conversations": [...]}``). `suffixes` are the endings of such files. `packages` are the modules that its files need
    and that may be missing: a command checks for them before it starts. `verb` is the verb for generating an item,
    lower_snake: the command line then has ``--VERB FILE`` for an answer's item. `parts_of` names another modality where
    what `Modality.expand` gives are items of that one (a video's frames are pictures): its towers are taken, too.
    """

    kind: ClassVar[str] = "modality"
    token: TokenType
    suffixes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    verb: str = ""
    parts_of: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if taken := {"text", *ROW_KEYS} & columns_of((self.name,)).keys():
            raise ValueError(f"modality {self.name!r}: rows and messages say something else under {taken.pop()!r}")
        if self.verb and not _NAME.fullmatch(self.verb):
            raise ValueError(f"verb must be lower_snake, like 'draw', got {self.verb!r}")


@dataclass(frozen=True, kw_only=True)
class TowerSpec(Spec):
    """An encoder of one modality. Target: an `interfaces.Tower` class.

    `modality` is the name of the modality that it reads. `model_types` are the ``config.json`` model types of the
    checkpoints that it takes; empty: it checks them itself. `checkpoint` is the default checkpoint.
    """

    kind: ClassVar[str] = "tower"
    modality: str
    model_types: tuple[str, ...] = ()
    checkpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class ConnectorSpec(Spec):
    """From a tower's features to embeddings of the LLM's width. Target: an `interfaces.Connector` class.

    `needs_grid`: it folds two-dimensional features and refuses a tower without a grid.
    """

    kind: ClassVar[str] = "connector"
    needs_grid: bool = False


@dataclass(frozen=True, kw_only=True)
class LanguageModelSpec(Spec):
    """A causal language model and its tokenizer. Target: an `interfaces.LanguageModel` class."""

    kind: ClassVar[str] = "llm"
    model_types: tuple[str, ...] = ()
    checkpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class DecoderSpec(Spec):
    """An output of the LLM in a modality. Target: a decoder class of `interfaces`, of the kind that `reads` names.

    `modality` is the name of the modality that it generates. `reads` is its input: ids that the LLM writes (``tokens``,
    a `TokenDecoder`), the LLM's states of the words of an answer (``hidden``, a `HiddenDecoder`) or their text
    (``text``, a `TextDecoder`). `checkpoint` is the default checkpoint.
    """

    kind: ClassVar[str] = "decoder"
    modality: str
    reads: str = "tokens"
    checkpoint: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reads not in ("tokens", "hidden", "text"):
            raise ValueError(f"reads must be 'tokens', 'hidden' or 'text', got {self.reads!r}")


class ChatTemplateSpec(Spec):
    """From messages to text with role borders. Target: an `interfaces.ChatTemplate` class."""

    kind: ClassVar[str] = "template"


class CommandSpec(Spec):
    """A command added to ``tinyllava``. Target: a click command."""

    kind: ClassVar[str] = "command"


@dataclass(frozen=True, kw_only=True)
class CheckpointSpec(Spec):
    """A layout of another project's checkpoints. Target: a `checkpoints.CheckpointReader` class.

    A directory is of it where its ``config.json`` has one of these `model_types`, where any are given, and all of these
    `keys`. `project` is whose it is, as messages say it.
    """

    kind: ClassVar[str] = "checkpoint"
    project: str
    model_types: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.model_types or self.keys):
            raise ValueError(f"{self.kind} {self.name!r}: give model_types or keys that tell its config.json")

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """Whether a ``config.json`` is of this layout."""
        of_type = not self.model_types or config.get("model_type") in self.model_types
        return of_type and all(key in config for key in self.keys)


@dataclass(frozen=True, kw_only=True)
class ScorerSpec(Spec):
    """Figures of a model's answers, ``eval --scorer NAME``. Target: an `evaluation.Scorer` class.

    `packages` are modules that it needs and that may be missing.
    """

    kind: ClassVar[str] = "scorer"
    packages: tuple[str, ...] = ()


class BenchmarkSpec(Spec):
    """A task, ``eval MODEL NAME``. Target: an `evaluation.Benchmark`, made already."""

    kind: ClassVar[str] = "benchmark"


@dataclass(frozen=True, kw_only=True)
class ObjectiveSpec(Spec):
    """What a stage of a recipe learns in place of the model's own loss. Target: a `training.Objective` class.

    The recipe's key is its name, and a mapping of its options the key's value. `trains` are the kinds of parts that it
    trains (``tower``, ``connector``, ``decoder``, ``llm``); a recipe that names another is refused. `runs_llm`: the LLM
    takes part, so that the model answers in words behind it.
    """

    kind: ClassVar[str] = "objective"
    trains: tuple[str, ...] = ("tower", "connector")
    runs_llm: bool = True


@dataclass(frozen=True, kw_only=True)
class ExportSpec(Spec):
    """A form in which other programs read a model, ``export --to NAME``. Target: a `checkpoints.ExportTarget` class.

    `packages` are modules that it needs and that may be missing. A name may have hyphens.
    """

    kind: ClassVar[str] = "export"
    names: ClassVar[str] = r"[a-z][a-z0-9_-]*"
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReaderSpec(Spec):
    """A reader of files of rows. Target: a function of a `Path` that gives the rows, mappings, one after another.

    `suffixes` are the endings of the files, or folders, that it reads; a recipe's ``reader: NAME`` has it read others.
    `packages` are modules that it needs and that may be missing.
    """

    kind: ClassVar[str] = "reader"
    suffixes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if wrong := next((each for each in self.suffixes if not re.fullmatch(r"(\.[^./\\A-Z]+)+", each)), None):
            raise ValueError(f"reader {self.name!r}: a suffix is like '.jsonl', in lower case, got {wrong!r}")


AnySpec = (
    ModalitySpec
    | TowerSpec
    | ConnectorSpec
    | LanguageModelSpec
    | DecoderSpec
    | ChatTemplateSpec
    | CheckpointSpec
    | ScorerSpec
    | BenchmarkSpec
    | ObjectiveSpec
    | ExportSpec
    | ReaderSpec
    | CommandSpec
)
KINDS: dict[str, type[Spec]] = {
    spec.kind: spec
    for spec in (
        ModalitySpec,
        TowerSpec,
        ConnectorSpec,
        LanguageModelSpec,
        DecoderSpec,
        ChatTemplateSpec,
        CheckpointSpec,
        ScorerSpec,
        BenchmarkSpec,
        ObjectiveSpec,
        ExportSpec,
        ReaderSpec,
        CommandSpec,
    )
}


def plain(description: Any, kind: type[T]) -> T:
    """What a spec says, as a `kind` of Python's own values, whatever classes a plugin has made for it.

    Raises:
        TypeError: it says something else.
    """
    return kind(**{field.name: _plain(getattr(description, field.name)) for field in fields(kind)})  # type: ignore[arg-type]


_PLAIN = frozenset(map(id, (type(None), bool, str, int, float)))


def _plain(value: Any) -> Any:
    kind = type(value)  # `isinstance` would believe what a value says of its class, and `==` what that says of itself
    if id(kind) in _PLAIN or any(value is each for each in (str, int, float, bool)):
        return value
    for own, copy in ((str, str.__str__), (int, int.__int__), (float, float.__float__)):  # an enum's member, say
        if issubclass(kind, own):
            return copy(value)
    for sequence in (tuple, list):
        if issubclass(kind, sequence):
            return tuple(map(_plain, sequence.__iter__(value)))
    for part in (Option, TokenType):
        if issubclass(kind, part):
            return plain(value, part)
    raise TypeError(f"specs hold text, numbers and containers of them, got {kind.__name__}")


def load(spec: Spec) -> Any:
    """Import a spec's target.

    Raises:
        KitError: it cannot be imported; the import's own error is the cause of its cause.
    """
    try:
        return isolated(lambda: import_target(spec.target))
    except PluginFault as fault:
        raise KitError(
            f"{spec.kind} {spec.name!r}: cannot import {spec.target}: {fault}; run 'tinyllava doctor --probe'"
        ) from fault


def load_class(spec: Spec, base: type[_Base], named: str) -> type[_Base]:
    """Import a spec's target, which is a class of a kind.

    Args:
        base: what it extends. named: the same as plugins import it, for the message.

    Raises:
        KitError: as `load`, or it is no such class.
    """
    found = load(spec)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise KitError(f"{spec.kind} {spec.name!r}: {spec.target} must be a class that extends {named}")
    return found


def import_target(target: str) -> Any:
    """What ``"package.module:attribute"`` names. Called by `load` and by the doctor's probe, and by nobody else."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
