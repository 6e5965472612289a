"""How a model is used, as its card shows it: what to install, Python that runs, and a command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Sequence

from ..files.printable import one_line

_IMAGE, _AUDIO = "image", "audio"
_FILES = {_IMAGE: "picture.png", _AUDIO: "sound.wav"}  # examples, for which a reader writes a file of their own
_PYTHON = """\
import tinyllava_kit  # the Auto classes know its models
from transformers import {auto}, AutoProcessor

model = {auto}.from_pretrained({name}, dtype="auto", device_map="auto")
processor = AutoProcessor.from_pretrained({name})

messages = [{{"role": "user", "content": [
{parts}
]}}]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
).to(model.device)
ids = model.generate(**inputs, max_new_tokens=64)
print(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""


def pipeline_tag(reads: Collection[str]) -> str | None:
    """What the hub calls a model that reads these modalities beside text; None where it has no word for it."""
    if not reads:
        return "text-generation"
    if set(reads) == {_IMAGE}:
        return "image-text-to-text"
    return "any-to-any" if set(reads) <= {_IMAGE, _AUDIO} else None


def use(reads: Sequence[str], name: str, install: Sequence[str]) -> list[str]:
    """The last lines of a card.

    Args:
        reads: the modalities, in the order in which they are shown.
        name: the model's, on the hub or in the folder where the reader is.
        install: commands that bring what the model needs.
    """
    shell = _fenced("bash", [*install, _command(reads, name)])
    return ["## Use", "", *shell, "", *_fenced("python", _python(reads, name).split("\n")), ""]


def _python(reads: Sequence[str], name: str) -> str:
    classes = {"text-generation": "AutoModelForCausalLM", "image-text-to-text": "AutoModelForImageTextToText"}
    auto = classes.get(pipeline_tag(reads) or "", "AutoModelForMultimodalLM")
    parts = [{"type": modality, "path": _file(modality)} for modality in reads]
    parts.append({"type": "text", "text": _question(reads)})
    written = "\n".join(f"    {_literal(part)}," for part in parts)
    return _PYTHON.format(auto=auto, name=_literal(name), parts=written)


def _command(reads: Sequence[str], name: str) -> str:
    words = ["tinyllava", "ask", f"./{name}" if name.startswith("-") else name]
    for modality in reads:
        file = _file(modality)
        words += [f"--{modality}", file] if modality in _FILES else ["--item", f"{modality}={file}"]
    return f'{one_line(shlex.join(words))} "{_question(reads)}"'


def _file(modality: str) -> str:
    return _FILES.get(modality, f"{modality}.file")


def _question(reads: Collection[str]) -> str:
    if not reads:
        return "What can you do?"
    return "What is in this picture?" if set(reads) == {_IMAGE} else "What is this?"


def _literal(value: object) -> str:
    """A text, or a mapping of texts, as Python and JSON both write it: in one line, whatever it holds."""
    return json.dumps(value)


def _fenced(language: str, lines: Sequence[str]) -> list[str]:
    return [f"```{language}", *lines, "```"]
