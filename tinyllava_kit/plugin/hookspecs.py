"""The hooks of a plugin: the whole contract between the core and a distribution.

A plugin is a module named by an entry point in the group ``tinyllava_kit.plugins.v1``. It defines any of these
functions, marked with ``tinyllava_kit.hookimpl``, each returning an iterable of specs. Hooks return data: they do no
I/O, download nothing, query no device, and their module imports no torch, transformers or numpy. `discover()` calls
each of them once. Leave out a hook that has nothing to offer, or return ``()``.

A hook of this version may get an argument, with a default, which an implementation takes or leaves out. One that goes
stays for two minor versions and is named in ``hookspec(warn_on_impl_args={...})`` with a `DeprecationWarning`, so that
pluggy warns of each implementation that takes it, and the doctor says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable
from types import ModuleType

import pluggy

from .specs import (
    BenchmarkSpec,
    ChatTemplateSpec,
    CheckpointSpec,
    CommandSpec,
    ConnectorSpec,
    DecoderSpec,
    ExportSpec,
    LanguageModelSpec,
    ModalitySpec,
    ObjectiveSpec,
    ReaderSpec,
    ScorerSpec,
    TowerSpec,
)

PROJECT = "tinyllava_kit"
GROUP_STEM = "tinyllava_kit.plugins.v"
API = 1
GROUP = f"{GROUP_STEM}{API}"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def tinyllava_modalities() -> Iterable[ModalitySpec]:
    """Return the kinds of content that this plugin adds to conversations."""
    return ()


@hookspec
def tinyllava_towers() -> Iterable[TowerSpec]:
    """Return encoders, each of one modality."""
    return ()


@hookspec
def tinyllava_connectors() -> Iterable[ConnectorSpec]:
    """Return connectors from a tower's features to the width of the LLM."""
    return ()


@hookspec
def tinyllava_llms() -> Iterable[LanguageModelSpec]:
    """Return causal language models with their tokenizers."""
    return ()


@hookspec
def tinyllava_decoders() -> Iterable[DecoderSpec]:
    """Return decoders, outputs of the LLM in a modality."""
    return ()


@hookspec
def tinyllava_chat_templates() -> Iterable[ChatTemplateSpec]:
    """Return ways to write a conversation as text with role borders."""
    return ()


@hookspec
def tinyllava_checkpoints() -> Iterable[CheckpointSpec]:
    """Layouts of other projects' checkpoints; asked for when a directory is not of this kit."""
    return ()


@hookspec
def tinyllava_scorers() -> Iterable[ScorerSpec]:
    """Return scorers, which make figures of a model's answers."""
    return ()


@hookspec
def tinyllava_benchmarks() -> Iterable[BenchmarkSpec]:
    """Return tasks: questions with known answers, and the scorers of them."""
    return ()


@hookspec
def tinyllava_objectives() -> Iterable[ObjectiveSpec]:
    """Return what a stage of a recipe may learn in place of the model's own loss; asked for when a recipe is read."""
    return ()


@hookspec
def tinyllava_exports() -> Iterable[ExportSpec]:
    """Return forms in which other programs read a model."""
    return ()


@hookspec
def tinyllava_readers() -> Iterable[ReaderSpec]:
    """Return readers of files of rows; asked for when data are read."""
    return ()


@hookspec
def tinyllava_commands() -> Iterable[CommandSpec]:
    """Return commands of ``tinyllava``; called when help is shown or an unknown command is typed."""
    return ()


# The kind of spec that each hook returns.
HOOKS: dict[str, str] = {
    "tinyllava_modalities": "modality",
    "tinyllava_towers": "tower",
    "tinyllava_connectors": "connector",
    "tinyllava_llms": "llm",
    "tinyllava_decoders": "decoder",
    "tinyllava_chat_templates": "template",
    "tinyllava_checkpoints": "checkpoint",
    "tinyllava_scorers": "scorer",
    "tinyllava_benchmarks": "benchmark",
    "tinyllava_objectives": "objective",
    "tinyllava_exports": "export",
    "tinyllava_readers": "reader",
    "tinyllava_commands": "command",
}

# The specifications alone: pluggy looks at each name of what it is given.
SPECIFICATIONS = ModuleType("hooks")
vars(SPECIFICATIONS).update({name: globals()[name] for name in HOOKS})


def specifications(hooks: Collection[str]) -> ModuleType:
    """Those of some hooks: pluggy takes each apart that it is given."""
    some = ModuleType("hooks")
    vars(some).update({name: getattr(SPECIFICATIONS, name) for name in hooks})
    return some


def arguments_of(hook: str) -> tuple[str, ...]:
    """What an implementation of a hook may take."""
    return tuple(inspect.signature(getattr(SPECIFICATIONS, hook)).parameters)
