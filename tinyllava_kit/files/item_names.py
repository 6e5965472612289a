"""Under which names rows and parts of messages hold items. Light."""

from __future__ import annotations

from collections.abc import Collection

# What a row holds beside items.
ROW_KEYS = ("messages", "conversations", "system", "id")


def columns_of(modalities: Collection[str]) -> dict[str, str]:
    """The columns of a row in which items stand -> their modality: its name, or the plural of that."""
    return {column: modality for modality in modalities for column in (modality, f"{modality}s")}


def part_types(modalities: Collection[str]) -> dict[str, str]:
    """The types of a part of messages that is an item -> its modality; OpenAI's have more about the name."""
    return {kind: name for name in modalities for kind in (name, f"{name}_url", f"input_{name}")}


def part_keys(modality: str) -> tuple[str, ...]:
    """Under which a part of messages names its item's source."""
    return (modality, f"{modality}_url", f"input_{modality}", "path", "url", "source", "base64")
