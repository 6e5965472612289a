"""Fake installations: distributions as dist-info folders in a temporary folder, seen as pip's are."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import pytest

from tinyllava_kit.plugin import discovery
from tinyllava_kit.plugin.hookspecs import GROUP

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class FakeSite:
    """A folder on ``sys.path`` that distributions and modules are put into, for the length of a test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(folder)
        # the test's own memory of what is installed; the process has its own back afterwards
        monkeypatch.setattr(discovery, "_discovered", lru_cache(maxsize=1)(discovery._discovered.__wrapped__))

    def alone(self) -> FakeSite:
        """Show `importlib.metadata` this folder and no other: nothing of the developer's venv is found.

        Modules are still imported from wherever they are.
        """
        self._monkeypatch.setattr(metadata.DistributionFinder.Context, "path", property(lambda _: [str(self.folder)]))
        self._changed()
        return self

    def module(self, name: str, source: str) -> None:
        """A module of that dotted name; forgotten after the test."""
        path = self.folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        self.forget(name)

    def forget(self, *names: str) -> None:
        """Modules that are not loaded yet, nor after the test."""
        for name in names:
            self._monkeypatch.setitem(sys.modules, name, None)  # what the test's end restores: absence
            del sys.modules[name]
        self._changed()

    def _changed(self) -> None:
        """Nothing that was found before is remembered."""
        importlib.invalidate_caches()
        discovery._discovered.cache_clear()

    def distribution(
        self,
        name: str,
        *,
        version: str = "0.1.0",
        plugins: Mapping[str, str] | None = None,
        group: str = GROUP,
        requires: Iterable[str] = (),
        project: Path | None = None,
    ) -> Path:
        """A dist-info folder: `plugins` are entry points, `project` is where it would be editable from."""
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        fields = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        fields += [f"Requires-Dist: {each}" for each in requires]
        (info / "METADATA").write_text("\n".join(fields) + "\n", encoding="utf-8")
        lines = [f"[{group}]", *(f"{key} = {target}" for key, target in (plugins or {}).items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if project is not None:
            origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
            (info / "direct_url.json").write_text(json.dumps(origin), encoding="utf-8")
        self._changed()
        return info

    def plugin(
        self, stem: str, source: str, *, distribution: str = "", group: str = GROUP, requires: Iterable[str] = ()
    ) -> None:
        """A distribution ``tinyllava-kit-STEM`` whose one entry point, STEM, names a module of that source."""
        module = f"fake_{(distribution or stem).replace('-', '_')}"
        self.module(module, PREAMBLE + textwrap.dedent(source))
        name = distribution or f"tinyllava-kit-{stem}"
        self.distribution(name, plugins={stem: module}, group=group, requires=requires)


PREAMBLE = """\
from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import *

"""


def offering(hook: str, *specs: str) -> str:
    """The source of a plugin whose `hook` returns what the expressions say.

    Example:
        >>> offering("tinyllava_llms", "LanguageModelSpec(name='tiny', target='a.b:C')").count("tiny")
        1
    """
    return f"@hookimpl\ndef {hook}():\n    return [{', '.join(specs)}]\n"


def tower(name: str, *, modality: str = "smell", target: str = "a.b:C") -> str:
    """The source of a plugin that offers one tower."""
    return offering("tinyllava_towers", f"TowerSpec(name={name!r}, target={target!r}, modality={modality!r})")


def modality(name: str, *, placeholder: str = "<smell>") -> str:
    """The source of a plugin that offers one modality."""
    token = f"TokenType(placeholder={placeholder!r})"
    return offering("tinyllava_modalities", f"ModalitySpec(name={name!r}, target='a.b:C', token={token})")


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """Make a plugin's project visible as if pip had installed it, for the length of a test.

    The project keeps its sources under ``src/``; its modules are imported from there.
    """
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    monkeypatch.syspath_prepend(project / "src")
    site = FakeSite(tmp_path / "site", monkeypatch)
    site.distribution(
        declared["name"],
        version=declared["version"],
        plugins=declared["entry-points"][GROUP],
        requires=declared["dependencies"],
        project=project,
    )
