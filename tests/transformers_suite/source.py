"""transformers' own tests of models, which no wheel of it has: from its source distribution, or from a checkout.

As a script it gets the source distribution of the version that is installed and unpacks its tests::

    python -m tests.transformers_suite.source --out .transformers

``TRANSFORMERS_TESTS=DIR`` then names the folder for the tests beside this file: ``.transformers/tests``, or the
``tests`` of a checkout, which has the tests of generation, too.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tarfile
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

from examples.assets import Package, fetch, run_script
from tinyllava_kit import KitError

VARIABLE = "TRANSFORMERS_TESTS"
NAME = "tests_of_transformers"  # of the package that the folder becomes; `tests` is this project's

# Of the versions that the lists in `failing` were made with: version -> SHA-256.
PINNED = {
    "5.23.0": "19d647a4d5d903a7c644ca5cde2d86efc3dde7d8c687ae7988806ff2205efa71",
    "5.24.0": "906cb8c3cb2123575e263962586a4d21a979ce97feeb95fe6aaf66fe6ae88bf3",
}

# What the tests of models build upon, and the source distribution lacks: module -> class.
_LACKING = {"exporters.test_export": "ExportTesterMixin", "generation.test_utils": "GenerationTesterMixin"}


def missing() -> str | None:
    """Why there are no tests to run, if so."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return f"{VARIABLE} names no folder with transformers' own tests; make test-transformers gets them"
    if not Path(folder, "test_modeling_common.py").is_file() and sdist() is None:
        return _not_pinned()
    return None


def sdist() -> Package | None:
    """The source distribution of the version that is installed, where it is pinned."""
    installed = version("transformers")
    if installed not in PINNED:
        return None
    return Package(
        name="transformers",
        version=installed,
        file=f"transformers-{installed}.tar.gz",
        sha256=PINNED[installed],
        licence="Apache-2.0",
        what="transformers with its tests",
    )


def _not_pinned() -> str:
    return f"transformers {version('transformers')} is installed; the tests are pinned for {', '.join(PINNED)}"


def common() -> ModuleType:
    """transformers' ``test_modeling_common``; a class that the folder lacks is empty.

    Raises:
        KitError: it is not in the folder.
    """
    folder = Path(os.environ[VARIABLE]).resolve()
    if not (folder / "test_modeling_common.py").is_file():
        raise KitError(f"{VARIABLE}: {folder} has no test_modeling_common.py; make test-transformers makes one")
    package = _package(NAME, folder)
    for module, cls in _LACKING.items():
        if not (folder / module.replace(".", "/")).with_suffix(".py").is_file():
            parent, _, _ = module.partition(".")
            _package(f"{NAME}.{parent}", folder / parent)
            stand_in = ModuleType(f"{NAME}.{module}")
            setattr(stand_in, cls, type(cls, (), {}))
            sys.modules[stand_in.__name__] = stand_in
    return importlib.import_module(f"{package.__name__}.test_modeling_common")


def _package(name: str, folder: Path) -> ModuleType:
    """A package of the modules in a folder, whatever its ``__init__.py`` says."""
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return sys.modules.setdefault(name, module_from_spec(spec))


def unpack_tests(out: Path) -> None:
    """The tests of the version that is installed as ``out/tests``, where it is pinned."""
    package = sdist()
    if package is None:
        print(f"{_not_pinned()}: nothing to do")
        return
    root = f"{package.name}-{package.version}/"
    with tarfile.open(fetch(package, out)) as archive:
        tests = [each for each in archive if each.isfile() and each.name.startswith(f"{root}tests/")]
        for each in tests:
            each.name = each.name.removeprefix(root)
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda info, _: info)
        shutil.rmtree(out / "tests", ignore_errors=True)  # those of another version
        archive.extractall(out, members=tests)
    print(f"{out / 'tests'}: {len(tests)} files")


if __name__ == "__main__":
    sys.exit(run_script(unpack_tests, "Get transformers' own tests of models.", None))
