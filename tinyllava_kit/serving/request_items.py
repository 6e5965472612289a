"""The items that a request brings: content alone, no names of files; counted before anything decodes them."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from ..core.conversation import Conversation, Item, from_messages
from ..errors import shown
from ..files.item_names import part_keys, part_types
from ..files.item_sources import AddressContent, is_address
from ..processing.processor import TinyLlavaProcessor
from .api_errors import ApiError
from .fetching import Fetcher
from .limits import Limits

_TEXTS = ("text", "input_text", "output_text")
_ROLES = {"developer": "system"}
_MARK = "data:"
_BESIDE = ("type", "text", "detail", "format", "prompt_cache_breakpoint")  # keys of a part that are not its source
FindKept = Callable[[str], Mapping[str, Any]]  # the id of an answer in sound -> its part of a message


class RequestItems:
    """Makes conversations of the messages of requests.

    Args:
        processor: knows the modalities, those of plugins among them.
        fetcher: of addresses.
    """

    def __init__(self, processor: TinyLlavaProcessor, limits: Limits, fetcher: Fetcher) -> None:
        self.processor, self.limits, self.fetcher = processor, limits, fetcher
        self.types = part_types(processor.specs)

    def conversation(self, messages: list[Any], kept: FindKept) -> Conversation:
        """Turn the messages of a request into a conversation, within the limits.

        Args:
            kept: finds an earlier answer in sound, which an assistant's message may name.

        Raises:
            ApiError: too many messages, items, bytes or letters; a source that is a file's name or an address; names
                the parameter. KitError: what a conversation cannot be made of.
        """
        if len(messages) > self.limits.messages:
            raise ApiError(f"more than {self.limits.messages} messages", param="messages")
        made = [self._message(each, f"messages.{number}", kept) for number, each in enumerate(messages)]
        texts = sum(len(part["text"]) for each in made for part in each["content"] if part["type"] == "text")
        if texts > self.limits.text_chars:
            raise ApiError(f"the texts have more than {self.limits.text_chars} characters", param="messages")
        if sum(part["type"] != "text" for each in made for part in each["content"]) > self.limits.items:
            raise ApiError(f"more than {self.limits.items} items", param="messages")
        conversation = from_messages(made, self.processor.specs)
        self.check(conversation)
        return conversation

    def _message(self, message: Any, where: str, kept: FindKept) -> dict[str, Any]:
        if not isinstance(message, Mapping):
            raise ApiError(f"{where} is {shown(message)}; expected an object with role and content", param=where)
        role = message.get("role")
        if role in ("tool", "function") or message.get("tool_calls") or message.get("function_call"):
            raise ApiError(f"{where}: tools are not supported; write their results as text", param=where)
        content = message.get("content")
        parts = [content] if isinstance(content, str) else content or []
        if not isinstance(parts, list) or any(not isinstance(part, (str, Mapping)) for part in parts):
            raise ApiError(f"{where}.content: expected a text or a list of parts", param=f"{where}.content")
        made = [self._part(part, f"{where}.content.{number}") for number, part in enumerate(parts)]
        if isinstance(message.get("audio"), Mapping):
            made.append(dict(kept(str(message["audio"].get("id")))))
        if not made:
            raise ApiError(f"{where} has no content", param=f"{where}.content")
        return {"role": _ROLES.get(role, role) if isinstance(role, str) else role, "content": made}

    def _part(self, part: str | Mapping[str, Any], where: str) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        kind = part.get("type")
        if kind in _TEXTS or kind == "refusal":
            text = part.get("refusal" if kind == "refusal" else "text")
            if not isinstance(text, str):
                raise ApiError(f"{where}.text: expected a text, got {shown(text)}", param=where)
            return {"type": "text", "text": text}
        modality = self.types.get(kind) if isinstance(kind, str) else None
        if modality is None:
            known = ", ".join(["text", *self.processor.reads])
            raise ApiError(f"{where}: a part of type {shown(kind)}; the model reads {known}", param=where)
        keys = [key for key in part_keys(modality) if part.get(key) is not None and key not in _BESIDE]
        if len(keys) != 1:
            wanted = f'{{"type": "{modality}", "{modality}": SOURCE}}'
            raise ApiError(f"{where}: {len(keys)} sources; expected one, as in {wanted}", param=where)
        made = {"type": modality, modality: self.content(part[keys[0]], f"{where}.{keys[0]}")}
        return made if part.get("text") is None else {**made, "text": part["text"]}

    def content(self, source: Any, where: str) -> Any:
        """A source with its content in place of an address or base64.

        Raises:
            ApiError: a file's name, an address that is not fetched, too many bytes, no base64.
        """
        if isinstance(source, Mapping):
            keys = [key for key in ("url", "data", "bytes") if source.get(key) is not None]
            if "path" in source or len(keys) > 1 or (not keys and "array" not in source):
                raise ApiError(f"{where}: expected url, data (base64) or array; files are not read", param=where)
            return self.content(source[keys[0]], f"{where}.{keys[0]}") if keys else self._array(source, where)
        if isinstance(source, str):
            return self._bytes(source, where)
        if isinstance(source, list):
            _check_numbers(source, where)
            return source
        raise ApiError(f"{where}: {shown(source)} is not content; expected base64, a data: URL or numbers", param=where)

    def _array(self, source: Mapping[str, Any], where: str) -> dict[str, Any]:
        _check_numbers(source["array"], where)
        return {"array": source["array"], "sampling_rate": source.get("sampling_rate")}

    def _bytes(self, text: str, where: str) -> bytes:
        if text[: len(_MARK)].lower() == _MARK:
            head, comma, content = text.partition(",")
            if not comma:
                raise ApiError(f"{where}: a data: URL without a comma", param=where)
            found = _decoded(content, where) if head.lower().endswith(";base64") else unquote_to_bytes(content)
        elif is_address(text):
            found = self.fetcher.fetch(text)
        else:
            found = _decoded(text, where)
        if len(found) > self.limits.item_bytes:
            message = f"{where} has {len(found)} bytes, at most {self.limits.item_bytes} are read"
            raise ApiError(message, status=413, param=where, code="item_too_large")
        return AddressContent(found)

    def check(self, conversation: Conversation) -> None:
        """Check the sizes of a conversation's items by their headers, before one is decoded.

        Raises:
            ApiError: items that are too long or too large, by their headers. KitError: one that cannot be read.
        """
        total = 0
        for item in self.processor.input_items(conversation):
            total += self._size(item)
            if total > self.limits.decoded_bytes:
                message = f"the items have more than {self.limits.decoded_bytes} bytes when they are decoded"
                raise ApiError(message, status=413, param="messages", code="items_too_large")

    def _size(self, item: Item) -> int:
        """Of an item, decoded, in bytes."""
        if item.modality not in self.processor.reads:
            return 0  # told by who encodes it
        modality = self.processor.modalities[item.modality]
        probe = self.processor.probe_source(item)
        if modality.unit == "seconds" and (seconds := modality.measure(probe)) > self.limits.seconds:
            message = f"a sound of {seconds:.0f} s; at most {self.limits.seconds:g} s are read"
            raise ApiError(message, status=413, param="messages", code="item_too_long")
        pixels = math.prod(getattr(probe, "size", ())) if isinstance(getattr(probe, "size", None), tuple) else 0
        if pixels > self.limits.pixels:
            message = f"a picture of {pixels} pixels; at most {self.limits.pixels} are read"
            raise ApiError(message, status=413, param="messages", code="item_too_large")
        return modality.decoded_bytes(probe)


def _decoded(text: str, where: str) -> bytes:
    content = "".join(text.split())
    try:
        found = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(
            f"{where}: {shown(text[:40])} is neither a data: URL nor base64; a server reads no names of files",
            param=where,
            code="invalid_base64",
        ) from error
    if not found:
        raise ApiError(f"{where} is empty", param=where)
    return found


def _check_numbers(values: Any, where: str, depth: int = 3) -> None:
    good = isinstance(values, list) and all(
        (isinstance(each, (int, float)) and not isinstance(each, bool)) or (depth > 1 and isinstance(each, list))
        for each in values
    )
    if not good:
        raise ApiError(f"{where}: expected a list of numbers", param=where)
    for each in values:
        if isinstance(each, list):
            _check_numbers(each, where, depth - 1)
