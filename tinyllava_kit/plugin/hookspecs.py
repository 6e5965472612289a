"""The hooks of a plugin: the whole contract between the core and a distribution.

A plugin is a module named by an entry point in the group ``tinyllava_kit.plugins.v1``. It defines
any of these functions, marked with ``tinyllava_kit.hookimpl``, each returning an iterable of specs.
Hooks return data: they do no I/O, download nothing, ask no device, and their module imports no torch,
transformers or numpy. They are called once per `discover()`; a hook that has nothing to offer is
left out or returns ``()``.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from .specs import (
    ChatTemplateSpec,
    CheckpointSpec,
    CommandSpec,
    ConnectorSpec,
    DecoderSpec,
    LanguageModelSpec,
    ModalitySpec,
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
    """Kinds of content that may stand in a conversation."""
    return ()


@hookspec
def tinyllava_towers() -> Iterable[TowerSpec]:
    """Encoders, each of one modality."""
    return ()


@hookspec
def tinyllava_connectors() -> Iterable[ConnectorSpec]:
    """Joints from a tower's features to the width of the LLM."""
    return ()


@hookspec
def tinyllava_llms() -> Iterable[LanguageModelSpec]:
    """Causal language models with their tokenizers."""
    return ()


@hookspec
def tinyllava_decoders() -> Iterable[DecoderSpec]:
    """Ways out of the LLM into a modality."""
    return ()


@hookspec
def tinyllava_chat_templates() -> Iterable[ChatTemplateSpec]:
    """Ways to write a conversation as text with role borders."""
    return ()


@hookspec
def tinyllava_checkpoints() -> Iterable[CheckpointSpec]:
    """Layouts of other projects' checkpoints; asked for when a directory is not of this kit."""
    return ()


@hookspec
def tinyllava_commands() -> Iterable[CommandSpec]:
    """Commands added to the ``tinyllava`` command line; read when an unknown command is typed or help is shown."""
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
    "tinyllava_commands": "command",
}
