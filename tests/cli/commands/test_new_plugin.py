"""``tinyllava new-plugin``: a plugin of each kind is found by discovery, and right by its contract at the first run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests import processes
from tests.fakes import FakeSite, install
from tests.testing.right import passes
from tinyllava_kit import KitError
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.testing import contract_of
from tinyllava_kit_cli.commands.new_plugin import command

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
def test_pytest_runs_the_checks_of_a_new_plugin_with_its_own_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an author does it: a project that is installed, and plain pytest in its folder."""
    project = new_plugin(tmp_path, "my-joint", "connector")
    site = FakeSite(tmp_path / "site", monkeypatch)
    site.distribution("tinyllava-kit-my-joint", plugins={"my-joint": "tinyllava_kit_my_joint.plugin"})
    paths = f"import sys; sys.path[:0] = [{str(project / 'src')!r}, {str(site.folder)!r}]; "
    run = f"{paths}import pytest; raise SystemExit(pytest.main(['-v', '-p', 'no:cacheprovider']))"
    done = processes.run(["-c", run], cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "connector:my_joint::counts PASSED" in done.stdout
    assert "plugin:my-joint::light PASSED" in done.stdout
    assert "test_the_plugin_offers_its_component_without_any_other PASSED" in done.stdout
    assert "connector:my_joint::grid does not apply: its spec does not say needs_grid" in done.stdout


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


def test_a_plugin_may_be_rendered_again_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, new_plugin(tmp_path, "new-smell", "modality"))
    assert (new_plugin(tmp_path / "again", "new-smell", "modality") / "pyproject.toml").is_file()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    result = CliRunner().invoke(command, ["a", "--kind", "tower", "--out", str(tmp_path)])
    assert "exists and is not empty" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
