"""A new plugin of each kind: rendered, found by discovery, and right by its contract at the first run."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fakes import FakeSite, install
from tinyllava_kit import KitError
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.testing import DoesNotApply, checks_of, contract_of
from tinyllava_kit_cli.commands.new_plugin import command
from tinyllava_kit_cli.scaffold.rendering import SCAFFOLDS, render

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
        contract = contract_of(offer, catalog)
        for check in checks_of(contract):
            if check not in _LONG:
                with suppress(DoesNotApply):
                    getattr(contract(), f"test_{check}")()


@pytest.mark.slow
def test_pytest_runs_the_checks_of_a_new_plugin_with_its_own_tests(tmp_path: Path) -> None:
    """As an author does it: a project that is installed, and plain pytest in its folder."""
    project = new_plugin(tmp_path, "my-joint", "connector")
    site = FakeSite(tmp_path / "site", pytest.MonkeyPatch())
    site.distribution("tinyllava-kit-my-joint", plugins={"my-joint": "tinyllava_kit_my_joint.plugin"})
    paths = f"import sys; sys.path[:0] = [{str(project / 'src')!r}, {str(site.folder)!r}]; "
    run = f"{paths}import pytest; raise SystemExit(pytest.main(['-v', '-p', 'no:cacheprovider']))"
    done = subprocess.run([sys.executable, "-c", run], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "connector:my_joint::counts PASSED" in done.stdout
    assert "plugin:my-joint::light PASSED" in done.stdout
    assert "test_the_plugin_offers_its_component_without_any_other PASSED" in done.stdout
    assert "connector:my_joint::grid does not apply: its spec does not say needs_grid" in done.stdout


@pytest.mark.parametrize("kind", SCAFFOLDS)
def test_what_is_rendered_is_whole_and_compiles(kind: str) -> None:
    files = render("my-thing", kind)
    assert {"pyproject.toml", "README.md", "tests/test_my_thing.py"} <= files.keys()
    for path, text in files.items():
        assert "$" not in text.replace("\\$", ""), path
        if path.endswith(".py"):
            compile(text, path, "exec")
            assert max(map(len, text.splitlines()), default=0) <= 120, path


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
    ],
)
def test_a_wrong_word_is_told_in_a_line(words: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [*words, "--out", str(tmp_path / "new")])
    assert isinstance(result.exception, KitError)
    assert message in str(result.exception)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    result = CliRunner().invoke(command, ["a", "--kind", "tower", "--out", str(tmp_path)])
    assert "is there already and not empty" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
