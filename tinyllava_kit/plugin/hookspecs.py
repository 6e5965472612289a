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
    """The kinds of content that this plugin adds to conversations.

    Used wherever rows, messages or the words of a command line name one, and where a tower or decoder is of it.

    Returns:
        Specs whose targets extend `interfaces.Modality`. Refused are names of what a row holds beside items.
        Two modalities with one placeholder are a finding of the doctor.
    """
    return ()


@hookspec
def tinyllava_towers() -> Iterable[TowerSpec]:
    """Encoders, each of one modality.

    Used where a model is assembled or read, ``--tower MODALITY=NAME:CHECKPOINT``.

    Returns:
        Specs whose targets extend `interfaces.Tower`. One of a modality that nobody offers is a finding of the doctor.
    """
    return ()


@hookspec
def tinyllava_connectors() -> Iterable[ConnectorSpec]:
    """Ways from a tower's features to the width of the LLM.

    Used where a model is assembled or read, ``--connector MODALITY=NAME``.

    Returns:
        Specs whose targets extend `interfaces.Connector`.
    """
    return ()


@hookspec
def tinyllava_llms() -> Iterable[LanguageModelSpec]:
    """Causal language models with their tokenizers.

    Used where a model is assembled or read, ``--llm NAME:CHECKPOINT``.

    Returns:
        Specs whose targets extend `interfaces.LanguageModel`.
    """
    return ()


@hookspec
def tinyllava_decoders() -> Iterable[DecoderSpec]:
    """Outputs of the LLM in a modality.

    Used where a model is assembled or read, ``--decoder MODALITY=NAME:CHECKPOINT``.

    Returns:
        Specs whose targets extend `interfaces.TokenDecoder`, `interfaces.HiddenDecoder` or `interfaces.TextDecoder`,
        whichever `reads` says. One of a modality that nobody offers is a finding of the doctor.
    """
    return ()


@hookspec
def tinyllava_chat_templates() -> Iterable[ChatTemplateSpec]:
    """Ways to write a conversation as text with role borders.

    Used where a model is assembled, ``--template NAME``, and wherever it reads a conversation.

    Returns:
        Specs whose targets extend `interfaces.ChatTemplate`.
    """
    return ()


@hookspec
def tinyllava_checkpoints() -> Iterable[CheckpointSpec]:
    """Layouts of other projects' checkpoints.

    Used where a directory is not of this kit: `tinyllava convert` and `load-check`, and `load_pretrained`.

    Returns:
        Specs whose targets extend `checkpoints.CheckpointReader`. Refused is one without `model_types` and `keys`.
    """
    return ()


@hookspec
def tinyllava_scorers() -> Iterable[ScorerSpec]:
    """What makes figures of a model's answers.

    Used by ``tinyllava eval --scorer NAME``, by benchmarks, and where a recipe judges a model.

    Returns:
        Specs whose targets extend `evaluation.Scorer`.
    """
    return ()


@hookspec
def tinyllava_benchmarks() -> Iterable[BenchmarkSpec]:
    """Questions with known answers, and the scorers of them.

    Used by ``tinyllava eval MODEL NAME``.

    Returns:
        Specs whose targets are an `evaluation.Benchmark`, made already.
    """
    return ()


@hookspec
def tinyllava_objectives() -> Iterable[ObjectiveSpec]:
    """What a stage of a recipe may learn in place of the model's own loss.

    Used where a recipe is read: the name is a key of a stage.

    Returns:
        Specs whose targets extend `training.Objective`.
    """
    return ()


@hookspec
def tinyllava_exports() -> Iterable[ExportSpec]:
    """Forms in which other programs read a model.

    Used by ``tinyllava export --to NAME``, and by ``--check-only``, which asks all of them.

    Returns:
        Specs whose targets extend `checkpoints.ExportTarget`. Their names may have hyphens.
    """
    return ()


@hookspec
def tinyllava_readers() -> Iterable[ReaderSpec]:
    """What reads files of rows.

    Used where data are read: by the ending of a file, or by a recipe's ``reader: NAME``.

    Returns:
        Specs whose targets are functions of a `Path` that give rows. Refused are suffixes that are not like ``.jsonl``.
    """
    return ()


@hookspec
def tinyllava_commands() -> Iterable[CommandSpec]:
    """Commands of ``tinyllava``.

    Used when its help is shown, a line is completed or a command is typed that is not the kit's own.

    Returns:
        Specs whose targets are click commands. One that is called as a command of the kit, or as another plugin's, is
        typed as ``DISTRIBUTION/NAME`` and is a finding of the doctor.
    """
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
