"""A new plugin of each kind and modality is rendered whole."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from tinyllava_kit.plugin.hook_functions import hooks_of
from tinyllava_kit.plugin.hookspecs import HOOKS
from tinyllava_kit.plugin.specs import Spec, import_target
from tinyllava_kit_cli.scaffold.naming import PluginNames, names_of
from tinyllava_kit_cli.scaffold.rendering import SCAFFOLDS, TEMPLATES, render, write

# What a modality may be called: as the kit's, as one of nobody's, and as what templates and modules are.
_MODALITIES = sorted(
    {"image", "audio", "my-smell", *(word for path in TEMPLATES.iterdir() for word in path.stem.split("_"))}
)
_GRID = [
    *((kind, "") for kind in SCAFFOLDS),
    *(("tower", modality) for modality in _MODALITIES),
    ("decoder", "audio"),
]


@pytest.mark.parametrize(("kind", "modality"), _GRID, ids=lambda value: value or "none")
def test_what_is_rendered_is_whole_and_can_be_imported(
    kind: str, modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = names_of("my-thing", kind, modality)
    files = render(names)
    assert {"pyproject.toml", "README.md", f"tests/test_{names.snake}.py"} <= files.keys()
    for path, text in files.items():
        assert "$" not in text.replace("\\$", ""), path
        assert max(map(len, text.splitlines()), default=0) <= 120, path
    specs = specs_of(names, tmp_path, monkeypatch)
    assert [(spec.kind, spec.name) for spec in specs] == list(names.offers)
    for spec in specs:
        assert getattr(spec, "modality", names.modality) == names.modality
        for target in filter(None, (spec.target, spec.contract)):
            assert import_target(target).__module__.startswith(names.package) or spec.kind == "command"


def specs_of(names: PluginNames, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    """What a plugin offers that is written to a folder and imported from there."""
    write(render(names), folder / "project")
    monkeypatch.syspath_prepend(folder / "project" / "src")
    modules = [path.stem for path in (folder / "project" / "src" / names.package).glob("*.py")]
    for module in ("", *(f".{stem}" for stem in modules)):
        monkeypatch.delitem(sys.modules, f"{names.package}{module}", raising=False)
    hooks = hooks_of(import_module(f"{names.package}.plugin"))
    return [spec for hook in sorted(hooks, key=[*HOOKS].index) for spec in hooks[hook]()]


@pytest.mark.parametrize(
    ("kind", "modality", "modules"),
    [
        ("tower", "image", {"tower": "pixel_values"}),
        ("tower", "audio", {"tower": "Waveform", "contract": "AudioTowerContract"}),
        ("tower", "contract", {"tower": "num_patches", "contract": "(TowerContract)"}),
        ("tower", "plugin", {"tower": "num_patches", "plugin": "TowerSpec"}),
        ("modality", "", {"tower": "num_patches", "contract": "(TowerContract)", "signal": "(Modality)"}),
        ("decoder", "audio", {"decoder": "Waveform", "contract": "Waveform"}),
        ("decoder", "", {"decoder": "list[float]", "contract": "ModalityContract", "levels": "(Modality)"}),
    ],
)
@pytest.mark.parametrize("name", ["image", "audio", "contract", "plugin", "own"])
def test_the_templates_are_those_of_the_kind_and_modality_whatever_the_name(
    name: str, kind: str, modality: str, modules: dict[str, str]
) -> None:
    names = names_of(f"{name}-thing" if (kind, name) == ("tower", "image") else name, kind, modality)
    files = render(names)
    for module, said in modules.items():
        assert said in files[f"src/{names.package}/{module}.py"], module
    assert (f"src/{names.package}/levels.py" in files) == ("levels" in modules)
