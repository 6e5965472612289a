"""The files of a new plugin, from the templates beside this module. Light; asks no network."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from tinyllava_kit import KitError, __version__

TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")

# kind -> the template of each module in the package; what it is written for depends on the modality.
MODULES: Mapping[str, Mapping[str, str]] = {
    "tower": {"plugin.py": "tower_plugin", "tower.py": "tower", "contract.py": "tower_contract"},
    "connector": {"plugin.py": "connector_plugin", "connector.py": "connector"},
    "modality": {
        "plugin.py": "modality_plugin",
        "signal.py": "modality",
        "tower.py": "tower",
        "contract.py": "modality_contract",
    },
    "llm": {"plugin.py": "llm_plugin", "llm.py": "llm"},
    "decoder": {"plugin.py": "decoder_plugin", "decoder.py": "decoder", "contract.py": "decoder_contract"},
    "scorer": {"plugin.py": "scorer_plugin", "scorer.py": "scorer"},
    "template": {"plugin.py": "template_plugin", "template.py": "template"},
    "command": {"plugin.py": "command_plugin", "command.py": "command", "contract.py": "command_contract"},
}
SCAFFOLDS = tuple(MODULES)
# kind -> the modality that it is of where none is given; "" is one of its own.
MODALITY = {"tower": "image", "decoder": ""}


def render(name: str, kind: str, modality: str = "") -> dict[str, str]:
    """The files of a plugin, path -> text.

    Raises:
        KitError: a name that is none, or a modality where the kind has none.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise KitError(f"new-plugin: a name is lower case with dashes, like 'depth' or 'my-clip', got {name!r}")
    if modality and kind not in MODALITY:
        raise KitError(f"new-plugin: a {kind} is of no modality; leave --modality out")
    if modality and not _NAME.fullmatch(modality):
        raise KitError(f"new-plugin: a modality is lower case, like 'image', got {modality!r}")
    if kind == "decoder" and modality not in ("", "audio"):
        raise KitError(
            f"new-plugin: there is no template of a decoder of {modality!r}; take --modality audio, or leave it out "
            "for a decoder with a modality of its own, and change that"
        )
    words = _words(name, kind, modality or MODALITY.get(kind, ""))
    package = Path("src") / words["package"]
    files = {
        "pyproject.toml": "pyproject",
        "README.md": "readme",
        ".gitignore": "gitignore",
        str(package / "py.typed"): "",
        f"tests/test_{words['snake']}.py": "tests",
    }
    files |= {str(package / module): template for module, template in _modules(kind, words).items()}
    rendered = {path: _fill(template, words) if template else "" for path, template in files.items()}
    rendered[str(package / "__init__.py")] = f'"""The {kind} `{words["snake"]}` for tinyllava_kit."""\n'
    return rendered


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write the files of a plugin to a folder that is not there, or is empty.

    Raises:
        KitError: the folder holds something, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KitError(f"new-plugin: {str(folder)!r} is there already and not empty; choose another --out")
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise KitError(f"new-plugin: cannot write {str(folder)!r}: {error.strerror}") from error


def _words(name: str, kind: str, modality: str) -> dict[str, str]:
    """What stands for each variable of the templates."""
    snake = name.replace("-", "_")
    camel = "".join(part.capitalize() for part in snake.split("_"))
    major, minor = __version__.split(".")[:2]
    own = kind == "modality" or (kind == "decoder" and not modality)
    return {
        "name": name.replace("_", "-"),
        "snake": snake,
        "camel": camel,
        "package": f"tinyllava_kit_{snake}",
        "distribution": f"tinyllava-kit-{name.replace('_', '-')}",
        "kind": kind,
        "modality": snake if own else modality,
        "component": f"{snake}_patches" if kind == "modality" else snake,
        "tower": f"{camel}Tower",
        "kit": f">={major}.{minor},<{major}.{int(minor) + 1}",
        "checked": "tower" if kind == "modality" else kind,
    }


def _modules(kind: str, words: Mapping[str, str]) -> dict[str, str]:
    """The templates of a kind's modules: those of its modality, where there are any."""
    found = {}
    for module, template in MODULES[kind].items():
        special = f"{template}_{words['modality']}"
        found[module] = special if (TEMPLATES / f"{special}.tmpl").is_file() else template
    if kind == "decoder" and words["modality"] == words["snake"]:
        found |= {"plugin.py": "decoder_plugin_own", "levels.py": "levels"}
    return found


def _fill(template: str, words: Mapping[str, str]) -> str:
    text = (TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")
    return Template(text).substitute(words)
