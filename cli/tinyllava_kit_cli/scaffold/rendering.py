"""The files of a new plugin, from the templates beside this module. Light; asks no network."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from string import Template

from tinyllava_kit import KitError, __version__

from .naming import PluginNames

TEMPLATES = Path(__file__).parent / "templates"

# kind -> the template of each module in the package.
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
    "decoder": {
        "plugin.py": "decoder_plugin",
        "levels.py": "levels",
        "decoder.py": "decoder",
        "contract.py": "decoder_contract",
    },
    "scorer": {"plugin.py": "scorer_plugin", "scorer.py": "scorer"},
    "template": {"plugin.py": "template_plugin", "template.py": "template"},
    "command": {"plugin.py": "command_plugin", "command.py": "command", "contract.py": "command_contract"},
}
SCAFFOLDS = tuple(MODULES)
# (kind, a modality of the kit) -> the same, where its items ask for other templates.
OF_A_MODALITY: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("tower", "image"): {**MODULES["tower"], "tower.py": "tower_image"},
    ("tower", "audio"): {**MODULES["tower"], "tower.py": "tower_audio", "contract.py": "tower_contract_audio"},
    ("decoder", "audio"): {
        "plugin.py": "decoder_plugin_audio",
        "decoder.py": "decoder_audio",
        "contract.py": "decoder_contract_audio",
    },
}


def render(names: PluginNames) -> dict[str, str]:
    """The files of a plugin, path -> text.

    Raises:
        KitError: a decoder of a modality that there is no template for, or a name that a class of the kit has.
    """
    words, package = _words(names), Path("src") / names.package
    files = {
        "pyproject.toml": "pyproject",
        "README.md": "readme",
        ".gitignore": "gitignore",
        f"tests/test_{names.snake}.py": "tests",
    }
    files |= {str(package / module): template for module, template in _modules(names).items()}
    rendered = {path: _fill(template, words) for path, template in files.items()}
    for path in (path for path in rendered if path.endswith(".py")):
        _check_classes(rendered[path], names.name)
    rendered[str(package / "__init__.py")] = f'"""The {names.kind} `{names.snake}` for tinyllava_kit."""\n'
    return {**rendered, str(package / "py.typed"): ""}


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write the files of a plugin to a folder that is not there, or is empty.

    Raises:
        KitError: the folder holds something, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KitError(f"new-plugin: {str(folder)!r} exists and is not empty; choose another --out")
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise KitError(f"new-plugin: cannot write {str(folder)!r}: {error.strerror}") from error


def _words(names: PluginNames) -> dict[str, str]:
    """The value of each variable of the templates."""
    major, minor = __version__.split(".")[:2]
    checked, component = names.checked
    return {
        "name": names.name,
        "snake": names.snake,
        "camel": names.camel,
        "package": names.package,
        "distribution": names.distribution,
        "kind": names.kind,
        "modality": names.modality,
        "component": component,
        "tower": f"{names.camel}Tower",
        "kit": f">={major}.{minor},<{major}.{int(minor) + 1}",
        "checked": checked,
    }


def _modules(names: PluginNames) -> Mapping[str, str]:
    """The template of each module: that of the modality, where there is one."""
    special = {} if names.own else OF_A_MODALITY.get((names.kind, names.modality), {})
    if names.kind == "decoder" and not (names.own or special):
        known = " or ".join(modality for kind, modality in OF_A_MODALITY if kind == names.kind)
        raise KitError(
            f"new-plugin: there is no template of a decoder of {names.modality!r}; take --modality {known}, or leave "
            "it out for a decoder with a modality of its own, and change that"
        )
    return special or MODULES[names.kind]


def _fill(template: str, words: Mapping[str, str]) -> str:
    text = (TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _check_classes(module: str, name: str) -> None:
    """Check that no class of a new module has the name of an imported one.

    Raises:
        KitError: a class of the module has the name of one that it imports.
    """
    body = ast.parse(module).body
    imported = {alias.name for each in body if isinstance(each, ast.ImportFrom) for alias in each.names}
    if taken := imported & {each.name for each in body if isinstance(each, ast.ClassDef)}:
        raise KitError(f"new-plugin: {name!r} would make a class {taken.pop()}, which the kit has; choose another name")
