"""The doctor: every fault found, with what fixes it; healthy plugins say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeSite, install, modality, offering, tower
from tinyllava_kit.plugin import doctor, hookspecs
from tinyllava_kit.plugin.discovery import DISABLE, discover
from tinyllava_kit.plugin.doctor import Finding, examine
from tinyllava_kit.plugin.hookspecs import hookspec

SENSOR = Path(__file__).parents[1] / "plugins" / "sensor"


@pytest.fixture(autouse=True)
def core(site: FakeSite) -> None:
    """The core is installed, and needs nothing."""
    site.distribution("tinyllava-kit", version="0.1.0")


def find(status: str, **options: bool) -> Finding:
    """The one finding of that status; every row that needs attention ends with what fixes it."""
    findings = examine(**options)
    assert all(finding.fix for finding in findings if finding.attention)
    (found,) = [finding for finding in findings if finding.status == status]
    return found


def statuses(**options: bool) -> list[str]:
    return [finding.status for finding in examine(**options)]


def test_a_healthy_plugin_is_a_row_that_says_what_it_offers(site: FakeSite) -> None:
    site.plugin("smells", modality("smell") + tower("nose"))
    (row,) = examine()
    assert (row.status, row.name, row.distribution) == ("ok", "smells", "tinyllava-kit-smells")
    assert row.detail == "modality smell; tower nose"
    assert not row.attention


def test_a_missing_core_is_found(site: FakeSite) -> None:
    (site.folder / "tinyllava_kit-0.1.0.dist-info" / "METADATA").unlink()
    for file in (site.folder / "tinyllava_kit-0.1.0.dist-info").iterdir():
        file.unlink()
    (site.folder / "tinyllava_kit-0.1.0.dist-info").rmdir()
    assert find("missing").fix == "pip install -e . in the kit's folder"


def test_a_broken_plugin_is_found_and_comes_before_the_healthy(site: FakeSite) -> None:
    site.plugin("bad", "import sys\nsys.exit('missing CUDA')")
    site.plugin("aaa", modality("smell"))
    assert statuses() == ["broken", "ok"]
    assert find("broken").detail == "SystemExit: missing CUDA"


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("import os\nos._exit(3)", "its import, or a hook of it, ends the Python process (exit code 3)"),
        (
            "import os\nos.kill(os.getpid(), 11)",
            "its import, or a hook of it, ends the Python process (signal SIGSEGV)",
        ),
    ],
    ids=["exits", "segfaults"],
)
def test_a_plugin_that_kills_its_process_is_a_row_and_the_others_are_too(site: FakeSite, source: str, how: str) -> None:
    site.plugin("aaa", modality("smell"))
    site.plugin("killer", source)
    site.plugin("zzz", tower("nose"))
    assert statuses() == ["broken", "ok", "ok"]
    killer = find("broken")
    assert (killer.detail, killer.fix) == (how, f"set {DISABLE}=killer")


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.sleep(60)",
        "@hookimpl\ndef tinyllava_towers():\n    while True:\n        pass",
        "@hookimpl\ndef tinyllava_towers():\n    while True:\n        pass\n    yield",
        "@hookimpl\ndef tinyllava_towers():\n    return (each for each in iter(int, 1) if each)",
    ],
    ids=["import", "hook", "generator", "iterator"],
)
def test_a_plugin_that_hangs_is_a_row(site: FakeSite, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(doctor, "IMPORT_LIMIT_S", 1.0)
    site.plugin("slow", source)
    assert find("broken").detail == "its import, or a hook of it, did not return within 1 s"


def test_what_a_plugin_writes_while_it_is_tried_does_no_harm(site: FakeSite) -> None:
    site.plugin("noisy", "import os, sys\nos.write(1, b'noise')\nsys.__stdout__.write('noise')\n" + modality("smell"))
    assert statuses() == ["ok"]


def test_a_disabled_plugin_is_a_row_but_needs_no_attention(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.plugin("off", "import os\nos._exit(3)")
    monkeypatch.setenv(DISABLE, "off")
    off = find("disabled")
    assert not off.attention
    assert off.fix == f"take it out of {DISABLE} to use it"


def test_a_disabled_plugin_is_called_disabled_whatever_else_is_wrong_with_it(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.plugin("future", "", group="tinyllava_kit.plugins.v2")
    site.plugin("needy", "1 / 0", requires=["nowhere>=3"])
    site.plugin("same", "", distribution="tinyllava-kit-a")
    site.plugin("same", "", distribution="tinyllava-kit-b")
    monkeypatch.setenv(DISABLE, "future,needy,same")
    assert statuses() == ["disabled"] * 4


def test_a_name_to_disable_that_is_nobodys_is_found_with_the_near_one(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.plugin("noses", tower("nose") + modality("smell"))
    monkeypatch.setenv(DISABLE, "nose, ")
    unknown = find("unknown")
    assert unknown.detail == f"{DISABLE} names 'nose', which is no plugin; did you mean 'noses'?"


def test_a_plugin_without_a_hook_is_found(site: FakeSite) -> None:
    site.plugin("hollow", "A = 1\n")
    site.plugin("silent", "@hookimpl\ndef tinyllava_llms():\n    return ()\n")
    hollow = find("empty")
    assert (hollow.name, hollow.detail) == ("hollow", "fake_hollow defines no hook, so that it offers nothing")
    assert hollow.fix.startswith("define one of tinyllava_modalities, ")
    assert hollow.fix.endswith("marked with @hookimpl")
    assert [finding.status for finding in examine() if finding.name == "hollow"] == ["empty"]


def test_the_orphan_of_a_disabled_plugin_is_told_of_it(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.plugin("senses", modality("smell"))
    site.plugin("noses", tower("nose"))
    monkeypatch.setenv(DISABLE, "senses")
    assert find("orphan").fix.endswith(f"or take the one that does out of {DISABLE} (disabled: senses)")


def test_duplicate_and_foreign_api_are_found(site: FakeSite) -> None:
    site.plugin("same", modality("smell"), distribution="tinyllava-kit-a")
    site.plugin("same", modality("taste"), distribution="tinyllava-kit-b")
    site.plugin("future", "", group="tinyllava_kit.plugins.v2")
    assert statuses() == ["duplicate", "incompatible", "ok"]
    assert find("duplicate").fix == "pip uninstall tinyllava-kit-b or tinyllava-kit-a"
    assert find("incompatible").detail == "speaks hook API 2, this core speaks 1"


@pytest.mark.parametrize(
    ("requirement", "detail", "fix"),
    [
        ("nowhere>=3", "requires nowhere>=3, not installed", "pip install 'nowhere>=3'"),
        ("torch>=2.6,<3", "requires torch<3,>=2.6, 1.13.1+cpu is installed", "pip install 'torch<3,>=2.6'"),
        (
            "tinyllava-kit>=9",
            "requires tinyllava-kit>=9, 0.1.0 is installed",
            "pip install --upgrade tinyllava-kit-needy, or pip install 'tinyllava-kit>=9'",
        ),
        ("not a requirement", "cannot read its requirement", "report it to the authors of tinyllava-kit-needy"),
    ],
)
def test_an_unmet_requirement_is_found(site: FakeSite, requirement: str, detail: str, fix: str) -> None:
    site.distribution("torch", version="1.13.1+cpu")
    site.plugin("needy", modality("smell"), requires=[requirement])
    found = find("unmet")
    assert found.detail.startswith(detail)
    assert found.fix == fix


def test_a_requirement_that_does_not_apply_or_is_met_is_no_finding(site: FakeSite) -> None:
    site.distribution("torch", version="2.7.0.dev1+cu126")
    needs = ["torch>=2.6", "nowhere; python_version < '3'", "extra-thing; extra == 'audio'", "tinyllava-kit>=0.1,<0.2"]
    site.plugin("fine", modality("smell"), requires=needs)
    assert statuses() == ["ok"]


def test_the_requirements_of_strangers_are_not_our_business(site: FakeSite) -> None:
    site.distribution("stranger", requires=["nowhere>=3"])
    assert statuses() == []


@pytest.mark.parametrize(
    ("project", "detail"),
    [
        (
            '[project]\n[project.entry-points."tinyllava_kit.plugins.v1"]\nnew = "fake_old"\n',
            "declares new = fake_old, installed is old = fake_old",
        ),
        ("[project]\n", "declares no plugin, installed is old = fake_old"),
        ("not toml", "where its pyproject.toml is gone or unreadable"),
        (None, "where its pyproject.toml is gone or unreadable"),
    ],
    ids=["renamed", "removed", "unreadable", "gone"],
)
def test_a_stale_editable_installation_is_found(
    site: FakeSite, tmp_path: Path, project: str | None, detail: str
) -> None:
    if project is not None:
        (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    site.module("fake_old", "")
    site.distribution("tinyllava-kit-old", plugins={"old": "fake_old"}, project=tmp_path)
    found = find("stale")
    assert detail in found.detail
    assert found.fix.startswith("pip install -e ")


def test_a_plugin_added_to_a_project_since_its_installation_is_found(site: FakeSite, tmp_path: Path) -> None:
    text = '[project]\n[project.entry-points."tinyllava_kit.plugins.v1"]\nnew = "fake_new"\n'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    site.distribution("my-package", project=tmp_path)
    assert find("stale").detail.endswith("declares new = fake_new, installed is no plugin")


def test_a_strangers_project_without_pyproject_is_not_our_business(site: FakeSite, tmp_path: Path) -> None:
    site.distribution("stranger", project=tmp_path)
    assert statuses() == []


def test_a_fresh_editable_installation_is_healthy(
    site: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in ("torch", "numpy", "safetensors"):
        site.distribution(needed, version="9")
    install(tmp_path / "sensor", monkeypatch, SENSOR)
    (tmp_path / "sensor" / "site" / "tinyllava_kit_sensor-0.1.0.dist-info").rename(
        site.folder / "tinyllava_kit_sensor-0.1.0.dist-info"
    )
    assert [finding.detail for finding in examine()] == ["modality sensor; tower patchify1d"]


def test_each_plugin_that_imports_numpy_is_blamed_for_it(site: FakeSite) -> None:
    site.plugin("aaa", "import numpy\n" + modality("smell"))
    site.plugin("bbb", "import numpy\n")  # it has no hook either, which is told once this is mended
    site.plugin("ccc", "@hookimpl\ndef tinyllava_llms():\n    import numpy\n    return ()\n")
    site.plugin("light", tower("nose"))
    findings = [finding for finding in examine() if finding.attention]
    assert [finding.name for finding in findings] == ["aaa", "bbb", "ccc"]
    assert {finding.status for finding in findings} == {"heavy"}
    assert findings[0].detail == "importing fake_aaa imports numpy"


def test_a_conflict_of_names_is_found_with_both_owners(site: FakeSite) -> None:
    site.plugin("left", tower("nose") + modality("smell"))
    site.plugin("right", tower("nose"))
    found = find("conflict")
    assert found.detail == "tower 'nose' is offered by tinyllava-kit-left, tinyllava-kit-right"
    assert found.fix == f"write DISTRIBUTION/nose, or set {DISABLE} to left or right"


def test_two_modalities_of_one_placeholder_are_a_conflict(site: FakeSite) -> None:
    site.plugin("left", modality("smell", placeholder="<sense>"))
    site.plugin("right", modality("taste", placeholder="<sense>"))
    assert find("conflict").detail == "placeholder <sense> is that of modalities smell and taste"


def test_a_command_of_the_kits_own_name_is_a_conflict(site: FakeSite) -> None:
    site.plugin("greedy", offering("tinyllava_commands", "CommandSpec(name='list', target='a.b:c')"))
    (found,) = [finding for finding in examine(reserved=("list",)) if finding.attention]
    assert (found.status, found.fix) == ("conflict", "run it as 'tinyllava tinyllava-kit-greedy/list'")


def test_a_tower_or_decoder_whose_modality_nobody_offers_is_found(site: FakeSite) -> None:
    decoder = "DecoderSpec(name='sprayer', target='a.b:C', modality='smell')"
    site.plugin("noses", tower("nose") + offering("tinyllava_decoders", decoder))
    orphans = [finding for finding in examine() if finding.status == "orphan"]
    assert [finding.detail for finding in orphans] == [
        "tower 'nose' is of modality 'smell', which nobody offers",
        "decoder 'sprayer' is of modality 'smell', which nobody offers",
    ]


def test_the_probe_imports_every_component_and_survives_it(site: FakeSite) -> None:
    site.module("fake_killer", "import os\nos._exit(3)\n")
    site.module("fake_function", "import click\n@click.command()\ndef run(): ...\n")
    commands = [
        f"CommandSpec(name={name!r}, target={target!r})"
        for name, target in {
            "absent": "not_there:run",
            "killer": "fake_killer:run",
            "nameless": "fake_function:walk",
            "fine": "fake_function:run",
        }.items()
    ]
    site.plugin("many", offering("tinyllava_commands", *commands))
    found = [finding for finding in examine(probe=True) if finding.status == "failed"]
    fixes = {finding.name: finding.fix for finding in found}
    assert fixes["absent"].startswith("the target not_there:run is not there: correct it where it is written, or, ")
    assert fixes["nameless"].startswith("change what fake_function:walk names, or report it to the authors of")
    assert fixes["killer"] == f"report it to the authors of tinyllava-kit-many; or set {DISABLE}=many"
    failed = {finding.name: finding.detail.partition("): ")[2] for finding in found}
    assert failed == {
        "absent": "ModuleNotFoundError: No module named 'not_there'",
        "killer": "ends the Python process (exit code 3)",
        "nameless": "AttributeError: module 'fake_function' has no attribute 'walk'",
    }
    assert "failed" not in statuses()  # without --probe nothing is imported


@pytest.mark.slow
def test_the_probe_says_what_a_component_must_be(site: FakeSite) -> None:
    site.module(
        "fake_body",
        """
        from tinyllava_kit.core.interfaces import Modality, Tower
        class Smell(Modality):
            def read(self, source): return source
        class Nose(Tower):
            def forward(self): ...
        class Taste: ...
        """,
    )
    source = modality("smell").replace("a.b:C", "fake_body:Smell")
    source += tower("nose", target="fake_body:Nose")
    source += offering("tinyllava_connectors", "ConnectorSpec(name='taste', target='fake_body:Taste')")
    site.plugin("parts", source)
    found = [finding for finding in examine(probe=True) if finding.status == "failed"]
    (fix,) = [finding.fix for finding in found if finding.name == "nose"]
    assert fix.startswith(f"change line 5 of {site.folder / 'fake_body.py'}, to which fake_body:Nose points")
    failed = {finding.name: finding.detail.partition("): ")[2] for finding in found}
    assert failed == {
        "nose": "TypeError: does not define embed_dim, load_weights, read_config, read_preprocessor",
        "taste": "TypeError: must be a class that extends core.interfaces.Connector",
    }


def test_it_changes_nothing(site: FakeSite) -> None:
    site.plugin("smells", modality("smell"))
    before = {path: path.stat().st_mtime_ns for path in site.folder.rglob("*") if "__pycache__" not in path.parts}
    examine()
    after = {path: path.stat().st_mtime_ns for path in site.folder.rglob("*") if "__pycache__" not in path.parts}
    assert after == before


TAKES = "@hookimpl\ndef tinyllava_towers({}):\n    return [TowerSpec(name='nose', target='a.b:C', modality={})]\n"


@pytest.fixture
def later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hooks as a later minor version may have them: one has two arguments, of which one is to go."""

    @hookspec(warn_on_impl_args={"smell": DeprecationWarning("'smell' goes in 0.9; read 'air'")})
    def tinyllava_towers(air: str = "smell", smell: str = "smell") -> None:
        """Return encoders."""

    monkeypatch.setattr(hookspecs.SPECIFICATIONS, "tinyllava_towers", tinyllava_towers)


@pytest.mark.usefixtures("later_version")
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_an_argument_of_a_hook_that_is_to_go_is_a_warning_and_a_finding(site: FakeSite) -> None:
    site.plugin("smells", modality("smell") + TAKES.format("smell", "smell"))
    with pytest.warns(DeprecationWarning, match="'smell' goes in 0.9; read 'air'"):
        catalog = discover()
    assert catalog.find("tower", "nose").spec.modality == "smell"  # it goes on working
    found = find("deprecated")
    assert (found.name, found.detail) == ("smells", "'smell' goes in 0.9; read 'air'")
    assert found.fix.startswith("change line ")
    assert "fake_smells.py" in found.fix


@pytest.mark.usefixtures("later_version")
@pytest.mark.parametrize("takes", ["", "air"])
def test_a_plugin_that_does_not_take_it_is_healthy(takes: str, site: FakeSite) -> None:
    site.plugin("smells", modality("smell") + TAKES.format(takes, takes or "'smell'"))
    assert statuses() == ["ok"]


@pytest.mark.usefixtures("later_version")
def test_an_argument_that_no_version_has_is_refused_with_those_that_there_are(site: FakeSite) -> None:
    site.plugin("smells", modality("smell") + TAKES.format("wind", "'smell'"))
    assert "hook 'tinyllava_towers' takes wind; it may take air, smell" in find("broken").detail
