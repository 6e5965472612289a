"""A new plugin of each kind: rendered, found by discovery, and right by its contract at the first run."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests import processes
from tests.fakes import FakeSite, install, offering
from tests.testing.right import passes
from tinyllava_kit import KitError
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.plugin.hook_functions import hooks_of
from tinyllava_kit.plugin.hookspecs import HOOKS
from tinyllava_kit.plugin.specs import Spec, import_target
from tinyllava_kit.testing import contract_of
from tinyllava_kit_cli.commands.new_plugin import command
from tinyllava_kit_cli.scaffold.naming import PluginNames, names_of
from tinyllava_kit_cli.scaffold.rendering import SCAFFOLDS, TEMPLATES, render, write

# (kind, modality) -> the components that it offers.
PLUGINS = {
    ("tower", ""): ["tower"],
    ("tower", "audio"): ["tower"],
    ("connector", ""): ["connector"],
    ("modality", ""): ["modality", "tower"],
    ("llm", ""): ["llm"],
    ("decoder", ""): ["modality", "decoder"],
    ("decoder", "audio"): ["decoder"],
    ("template", ""): ["template"],
    ("scorer", ""): ["scorer"],
    ("command", ""): ["command"],
}
# What starts compilers or processes, or trains; they run where the plugin's own tests do.
_LONG = ("compile", "learned", "light", "incomplete")
# What a modality may be called: as the kit's, as one of nobody's, and as what templates and modules are.
_MODALITIES = sorted(
    {"image", "audio", "my-smell", *(word for path in TEMPLATES.iterdir() for word in path.stem.split("_"))}
)
_GRID = [
    *((kind, "") for kind in SCAFFOLDS),
    *(("tower", modality) for modality in _MODALITIES),
    ("decoder", "audio"),
]


def new_plugin(folder: Path, name: str, kind: str, modality: str = "") -> Path:
    words = [name, "--kind", kind, "--out", str(folder / name), *(["--modality", modality] if modality else [])]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.output
    assert f"cd {folder / name}" in result.output
    return folder / name


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "modality"), PLUGINS, ids=lambda value: value or "own")
def test_a_new_plugin_passes_its_checks(
    kind: str, modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"new-{kind}{'-' if modality else ''}{modality}"
    install(tmp_path / "installed", monkeypatch, new_plugin(tmp_path, name, kind, modality))
    catalog = discover()
    offers = [offer for offer in catalog.offers if offer.plugin == name]
    assert [offer.spec.kind for offer in offers] == PLUGINS[kind, modality]
    for offer in offers:
        passes(contract_of(offer, catalog)(), leaving_out=_LONG)


@pytest.mark.slow
def test_pytest_runs_the_checks_of_a_new_plugin_with_its_own_tests(tmp_path: Path) -> None:
    """As an author does it: a project that is installed, and plain pytest in its folder."""
    project = new_plugin(tmp_path, "my-joint", "connector")
    site = FakeSite(tmp_path / "site", pytest.MonkeyPatch())
    site.distribution("tinyllava-kit-my-joint", plugins={"my-joint": "tinyllava_kit_my_joint.plugin"})
    paths = f"import sys; sys.path[:0] = [{str(project / 'src')!r}, {str(site.folder)!r}]; "
    run = f"{paths}import pytest; raise SystemExit(pytest.main(['-v', '-p', 'no:cacheprovider']))"
    done = processes.run(["-c", run], cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "connector:my_joint::counts PASSED" in done.stdout
    assert "plugin:my-joint::light PASSED" in done.stdout
    assert "test_the_plugin_offers_its_component_without_any_other PASSED" in done.stdout
    assert "connector:my_joint::grid does not apply: its spec does not say needs_grid" in done.stdout


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["My_Eye", "--kind", "tower"], "a name is lower case with dashes"),
        (["class", "--kind", "tower"], "a name is lower case with dashes"),
        (["a", "--kind", "connector", "--modality", "image"], "a connector is of no modality"),
        (["a", "--kind", "tower", "--modality", "../x"], "a modality is lower case"),
        (
            ["a", "--kind", "decoder", "--modality", "image"],
            "no template of a decoder of 'image'; take --modality audio",
        ),
        (["image", "--kind", "modality"], "tinyllava-kit offers the modality 'image' already; choose another name"),
        (["audio", "--kind", "decoder"], "tinyllava-kit offers the modality 'audio' already; .* like 'my-audio'"),
        (["linear", "--kind", "connector"], "tinyllava-kit offers the connector 'linear' already"),
        (["mlp7x-gelu", "--kind", "connector"], "tinyllava-kit offers the connector 'mlp7x_gelu' already"),
        (["text", "--kind", "modality"], "rows and messages say something else under 'text'"),
        (["message", "--kind", "modality"], "rows and messages say something else under 'messages'"),
        (["load-check", "--kind", "command"], "tinyllava has a command 'load-check' already"),
        (["cli", "--kind", "scorer"], "the package tinyllava_kit_cli is the kit's own"),
        (["command", "--kind", "command"], "'command' would make a class CommandContract, which the kit has"),
    ],
)
def test_a_wrong_word_is_told_in_a_line(words: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [*words, "--out", str(tmp_path / "new")])
    assert isinstance(result.exception, KitError)
    assert re.search(message, str(result.exception)), result.exception
    assert not (tmp_path / "new").exists()


def test_a_tower_is_of_the_modality_that_its_items_are_cut_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = FakeSite(tmp_path / "site", monkeypatch)
    token = "TokenType(placeholder='<film>')"
    site.plugin(
        "film",
        offering("tinyllava_modalities", f"ModalitySpec(name='film', target='a.b:C', token={token}, parts_of='image')"),
    )
    result = CliRunner().invoke(command, ["a", "--kind", "tower", "--modality", "film", "--out", str(tmp_path / "a")])
    assert "the parts of a film are of 'image', and its towers read them; take --modality image" in str(
        result.exception
    )


def test_a_modality_that_nobody_offers_is_noted(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["a", "--kind", "tower", "--modality", "imgae", "--out", str(tmp_path / "a")])
    assert (
        "no installed plugin offers the modality 'imgae', which the checks need; did you mean 'image'?" in result.stderr
    )
    assert result.exit_code == 0


def test_a_plugin_may_be_rendered_again_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, new_plugin(tmp_path, "new-smell", "modality"))
    assert (new_plugin(tmp_path / "again", "new-smell", "modality") / "pyproject.toml").is_file()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    result = CliRunner().invoke(command, ["a", "--kind", "tower", "--out", str(tmp_path)])
    assert "exists and is not empty" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
