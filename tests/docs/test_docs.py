"""What the documentation says is true: its code runs, its commands, options, names and links exist.

Rules for the pages. Blocks of ``python`` are run in order, in one namespace a page; so are the ``tinyllava`` and
``cd`` lines of ``bash`` blocks; the output of ``console`` blocks is compared (``...`` stands for anything). They run in
a folder with toy models under the names that the pages use (`world`). A comment directly above a block changes that:
``not run: REASON``; ``file: NAME`` (the block is written to that file); ``from: PATH`` (the blocks of that path, one
after the other, are that file of the repository); ``numbers: REASON`` (the output is compared but for its numbers);
``rows: REASON`` (the block is a list of rows, each of which must make a conversation with items); ``printed: by the
block above`` (the block is what the python block above it prints).
"""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import io
import json
import re
import shutil
from contextlib import redirect_stdout, suppress
from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path

import click
import pytest
import torch
import yaml
from click.testing import CliRunner

from tests.docs import world
from tests.docs.markdown import (
    Block,
    anchors,
    blocks,
    command_lines,
    console_turns,
    inline_code,
    prose,
    tinyllava_lines,
)
from tests.fakes import FakeSite, install, offering
from tests.house.test_import_rule import FLOORS
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.core.conversation import from_row
from tinyllava_kit.data.sources import Pairs, Source
from tinyllava_kit.interfaces import Features
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.plugin.hookspecs import HOOKS
from tinyllava_kit.plugin.specs import KINDS, load
from tinyllava_kit.training.recipe import Recipe, Stage
from tinyllava_kit.training.stage_settings import Distill, FeatureCaching, Lora, Packing, PartTraining, Quantized
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SENSOR = ROOT / "tests" / "plugins" / "sensor"
EXAMPLE_PLUGINS = [ROOT / "examples" / "plugins" / name for name in ("depth", "swatch", "colours")]
PAIR = ROOT / "docs" / "how-a-pair-is-trained.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
PLUGIN_PAGES = sorted([*ROOT.glob("plugins/*/README.md"), SENSOR / "README.md"])
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
PLUGIN_GUIDE, MODALITY_GUIDE, ARCHITECTURE, CLI, AUDIO, FIRST_STEPS, RESULTS = (
    ROOT / "docs" / f"{name}.md"
    for name in ("writing-a-plugin", "plugin-modality", "architecture", "cli", "audio", "first-steps", "results")
)
PLUGIN_GUIDES = sorted({PLUGIN_GUIDE, *ROOT.glob("docs/plugin-*.md")} - {ROOT / "docs" / "plugin-gallery.md"})

LANGUAGES = {"bash", "console", "javascript", "json", "python", "text", "toml", "yaml"}
NOTES = {"", "file", "from", "not run", "numbers", "printed", "rows"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|home|tmp|work|usr|opt|mnt|Users)\b")
REGISTRY = re.compile(r"pypi\.org|pythonhosted|huggingface\.co|hf\.co|anaconda\.|proxy\.golang|download\.pytorch")


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", [*PAGES, *PLUGIN_PAGES], ids=page_name)
own_page = pytest.mark.parametrize("page", PAGES, ids=page_name)


@pytest.fixture
def _sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugins of strangers that pages speak of."""
    for project in (SENSOR, *EXAMPLE_PLUGINS):
        install(tmp_path / "installed" / project.name, monkeypatch, project)
    eye = "TowerSpec(name='my_eye', target='my_eye:Eye', modality='image')"  # as the scaffold offers it
    FakeSite(tmp_path / "eye", monkeypatch).plugin("my_eye_plugin", offering("tinyllava_towers", eye))


# Running the pages.


@pytest.fixture(scope="module")
def toy_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    world.build(folder)
    return folder


# The README in Chinese has the README's own blocks (test_chinese.py).
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) and page != CHINESE], ids=page_name)
def test_the_code_of_a_page_runs(page: Path, toy_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == MODALITY_GUIDE:
        install(tmp_path / "installed", monkeypatch, SENSOR)
    folder = shutil.copytree(toy_world, tmp_path / "world")
    monkeypatch.chdir(folder / ".demo" if page == CLI else folder)
    if page == CLI:  # the reference shows files below the commands that read them
        write_files(blocks(page))
    if page == PAIR:  # it is read in a clone
        for name in ("tests", "docs"):
            (folder / name).symlink_to(ROOT / name)
    namespace: dict[str, object] = {"__name__": page.stem}
    printed = ""
    for block in blocks(page):
        if block.note[0] == "printed":
            assert block.text == printed, f"{block.where}: the page says\n{block.text}\nthe code prints\n{printed}"
            continue
        with redirect_stdout(io.StringIO()) as out:
            run_block(block, namespace, monkeypatch)
        printed = out.getvalue()


def write_files(found: list[Block]) -> None:
    for block in found:
        if block.note[0] == "file":
            Path(block.note[1]).write_text(block.text, encoding="utf-8")


def run_block(block: Block, namespace: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    note = block.note[0]
    if note in ("not run", "from"):
        return
    if note == "file":
        write_files([block])
    elif note == "rows":
        check_rows(block)
    elif block.language == "python":
        exec(compile(block.text, block.where, "exec"), namespace)
    elif block.language == "bash":
        for words in command_lines(block.text):
            if words[0] == "cd":
                monkeypatch.chdir(words[1])
            elif words[0] == "tinyllava":
                run(words, block)
    elif block.language == "console":
        for words, expected in console_turns(block.text):
            assert_same(run(words, block), expected, but_numbers=note == "numbers", where=block.where)


def check_rows(block: Block) -> None:
    modalities = {offer.spec.name: offer.spec for offer in discover().of_kind("modality")}
    for row in json.loads(block.text):
        assert from_row(row, modalities).items, f"{block.where}: {row['id']} has no item"


def run(words: list[str], block: Block) -> str:
    """What a command prints on stdout; anything but exit code 0 fails."""
    result = CliRunner().invoke(app.cli, words[1:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, f"{block.where}: {' '.join(words)}: {result.output}"
    return result.stdout


def assert_same(said: str, expected: str, *, but_numbers: bool, where: str) -> None:
    flags = doctest.ELLIPSIS
    if but_numbers:
        said, expected = (re.sub(r"\d[\d,.]*", "#", text) for text in (said, expected))
        flags |= doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(expected, said, flags)
    assert same, f"{where}: the page says\n{expected}\nthe command says\n{said}"


@own_page
def test_every_block_is_of_a_known_language_and_says_why_it_is_not_run(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block.where
        assert block.note[0] in NOTES, f"{block.where}: {block.note[0]}"
        if block.note[0] in ("not run", "numbers", "rows"):
            assert len(block.note[1].split()) >= 3, f"{block.where}: give the reason"


def test_the_files_that_pages_quote_are_quoted_whole() -> None:
    quoted: dict[str, list[str]] = {}
    for page in PAGES:
        for block in blocks(page):
            if block.note[0] == "from":
                quoted.setdefault(block.note[1], []).append(block.text)
    assert {Path(path).name for path in quoted} >= {"pyproject.toml", "plugin.py", "signal.py", "tower.py"}
    for path, parts in quoted.items():
        lines = [line for part in parts for line in part.splitlines() if line]
        assert lines == [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if line], path


# Commands.


def context(words: list[str]) -> click.Context:
    """Parse a command line without running it.

    Raises:
        click.ClickException: no such command or option, or something is missing.
    """
    top = click.Context(app.cli)
    command = app.cli.get_command(top, words[1])
    assert command is not None
    return command.make_context(words[1], list(words[2:]), parent=top)


@pytest.mark.usefixtures("_sensor")
@every_page
def test_every_command_line_is_one_that_the_kit_understands(page: Path) -> None:
    lines = list(tinyllava_lines(page))
    for words in lines:
        try:
            parsed = context(words)
        except click.ClickException as error:
            pytest.fail(f"{page_name(page)}: {' '.join(words)}: {error.format_message()}")
        if words[1] == "assemble" and parsed.params["llm"]:
            resolve(parsed.params)
    if page in (README, FIRST_STEPS, CLI, MODALITY_GUIDE, AUDIO):
        assert len(lines) >= 4


def resolve(params: dict[str, object]) -> None:
    """Names and options of components, as the catalog knows them. NAME stands for any."""
    settings = {key: params[key] for key in ("llm", "towers", "connectors", "decoders", "template", "settings")}
    if not re.search(r"=NAME\b", repr(settings)):
        Assembly.from_flags(**settings).resolve(discover())  # type: ignore[arg-type]


@pytest.mark.usefixtures("_sensor")
@every_page
def test_the_commands_and_options_between_backticks_exist(page: Path) -> None:
    for code in inline_code(page):
        words = code.split()
        if words[0] == "tinyllava" and len(words) > 1 and words[1].islower() and not words[1].startswith("-"):
            assert words[1] in app.COMMANDS, f"{page_name(page)}: {code}"
            for word in words[2:]:
                option = word.partition("=")[0]
                assert not word.startswith("-") or option in options_of(words[1]), f"{page_name(page)}: {code}"


def options_of(name: str) -> set[str]:
    command = app.cli.get_command(click.Context(app.cli), name)
    assert command is not None
    every = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    params = [param for each in every for param in each.get_params(click.Context(each))]
    return {option for param in params if isinstance(param, click.Option) for option in param.opts}


@pytest.mark.usefixtures("_sensor")
def test_every_command_and_option_is_described() -> None:
    said = CLI.read_text(encoding="utf-8")
    offers = discover().of_kind("modality")
    modalities = {f"--{offer.spec.name}" for offer in offers}
    assert modalities == options_of("ask") & modalities
    modalities |= {f"--{offer.spec.verb}" for offer in offers if offer.distribution != "tinyllava-kit"}
    for name in app.COMMANDS:
        assert f"tinyllava {name}" in said
        for option in options_of(name) - {"--help", "-h"} - modalities:
            assert re.search(rf"`{option}\b", said), f"{name} {option}"


def test_every_key_of_a_recipe_is_described_with_its_default() -> None:
    said = CLI.read_text(encoding="utf-8")
    for model in (Recipe, Stage, Source, Pairs, Distill, FeatureCaching, Packing, Quantized, PartTraining, Lora):
        for name, field in model.model_fields.items():
            assert f"`{name}`" in said, f"{model.__name__}.{name}"
            rows = re.findall(rf"^\| `{name}` \| ([^|]+) \|", said, flags=re.MULTILINE)  # of several parts
            if model not in (Recipe, PartTraining, Lora) and not field.is_required():
                wanted = field.get_default(call_default_factory=True)
                assert any(_is_default(shown.strip("` "), wanted) for shown in rows), (name, rows, wanted)


def _is_default(shown: str, wanted: object) -> bool:
    read = yaml.safe_load(shown)
    if isinstance(wanted, float) and not isinstance(read, bool):  # YAML takes 1e-3 for text
        with suppress(ValueError):
            return float(shown) == wanted
    return read == wanted or (shown, wanted) == ("none", None)


@own_page
def test_the_pieces_of_recipes_between_backticks_are_valid(page: Path) -> None:
    for code in inline_code(page):
        if re.match(rf"({'|'.join(Stage.model_fields)}): ", code):
            Stage.model_validate({"name": "x", "data": "f", "train": {"llm": "full"}, **yaml.safe_load(code)})


# Plugins.


def test_every_hook_is_described_with_its_spec() -> None:
    said = PLUGIN_GUIDE.read_text(encoding="utf-8")
    for hook, kind in HOOKS.items():
        assert re.search(rf"^\| `{hook}` \| `{KINDS[kind].__name__}` \|", said, flags=re.MULTILINE), hook


def test_every_field_of_a_spec_is_described_with_its_kinds() -> None:
    said = PLUGIN_GUIDE.read_text(encoding="utf-8")
    kinds_of: dict[str, list[str]] = {}
    for kind, spec in KINDS.items():
        for field in fields(spec):
            kinds_of.setdefault(field.name, []).append(kind)
    for name, kinds in kinds_of.items():
        of = "all" if len(kinds) == len(KINDS) else ", ".join(kinds)
        assert f"| `{name}` | {of} |" in said, name


# Names, files and links.


@own_page
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    tops = {path.name for path in ROOT.iterdir()} - {".demo", ".venv", "dist"}
    core = re.compile(r"(?<![\w/])(?:core|data|training|inference)/\w+\.py\b")
    named = [*inline_code(page), *(word for b in blocks(page) if b.language == "text" for word in b.text.split())]
    for code in named:
        path = code.rstrip("/,").partition(":")[0]
        if "/" in code and path.partition("/")[0] in tops and re.fullmatch(r"[\w./-]+", path):
            assert (ROOT / path).exists(), f"{page_name(page)}: {path}"
        for inner in core.findall(code):
            assert (ROOT / "tinyllava_kit" / inner).exists(), f"{page_name(page)}: {inner}"


@every_page
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page_name(page)}: {target}"
        assert not fragment or fragment in anchors(linked), f"{page_name(page)}: {target}"


@own_page
def test_other_commands_name_targets_and_files_that_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    lines = [words for b in blocks(page) if b.language == "bash" for words in command_lines(b.text)]
    lines += [code.split() for code in inline_code(page)]
    for words in lines:
        if words[0] == "make" and len(words) > 1:
            assert words[1] in targets, f"{page_name(page)}: {words}"
        if words[0] in ("python", "pip"):
            files = [word for before, word in pairwise(words) if before == "-e"]
            files += [word for word in words if word.endswith(".py")]
            for file in files:
                assert (ROOT / file.strip("'\"").partition("[")[0]).exists(), f"{page_name(page)}: {file}"


@cache
def words_of_the_code() -> frozenset[str]:
    folders = (ROOT / "tinyllava_kit", ROOT / "cli", ROOT / "plugins", ROOT / "examples" / "plugins", SENSOR)
    files = [file for folder in folders for file in folder.rglob("*.py")]
    names = {part for file in files for part in file.with_suffix("").parts}
    return frozenset(names.union(*(re.findall(r"\w+", file.read_text(encoding="utf-8")) for file in files)))


@pytest.mark.parametrize("page", [ARCHITECTURE, *PLUGIN_GUIDES, AUDIO], ids=page_name)
def test_the_names_between_backticks_are_in_the_code(page: Path) -> None:
    known = words_of_the_code() | set(re.findall(r"\w+", " ".join(block.text for block in blocks(page))))
    for code in inline_code(page):
        if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?", code) and Path(code).suffix not in (".py", ".json"):
            assert set(re.findall(r"\w+", code)) <= known, f"{page_name(page)}: {code}"


@every_page
def test_the_modules_that_a_page_names_can_be_imported(page: Path) -> None:
    for code in inline_code(page):
        if re.fullmatch(r"tinyllava_kit(\.\w+)+", code) and ".plugins." not in code:
            module, _, attribute = code.rpartition(".")
            found = hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(code)
            assert found, f"{page_name(page)}: {code}"


def test_the_table_of_floors_is_the_rule_that_is_tested() -> None:
    rows = re.findall(r"^  \| \d+ \| (`.+?) \|$", ARCHITECTURE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert tuple(tuple(re.findall(r"`(\w+)`", row)) for row in rows) == tuple(reversed(FLOORS))


@every_page
def test_no_page_names_a_path_of_a_machine_or_a_registry(page: Path) -> None:
    said = page.read_text(encoding="utf-8")
    for pattern in (MACHINE_PATH, REGISTRY):
        assert not pattern.search(said), f"{page_name(page)}: {pattern.search(said)}"


def test_the_readme_and_the_results_show_the_same_table_of_the_demo() -> None:
    readme, results = (tables(page) for page in (README, RESULTS))
    assert "## What the demo prints\n" in README.read_text(encoding="utf-8")
    assert len(readme) == 1
    assert readme[0] == results[0]


def tables(page: Path) -> list[str]:
    """The blocks of a page that show figures with their controls."""
    return [block.text for block in blocks(page) if block.language == "text" and "\nwithout items" in block.text]


def test_the_plugin_of_the_readme_is_found_and_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = next(block.text for block in blocks(README) if "hookimpl" in block.text)
    modules = re.split(r"^# ([\w/]+)\.py\n", shown, flags=re.MULTILINE)[1:]
    site = FakeSite(tmp_path, monkeypatch)
    for path, source in zip(modules[::2], modules[1::2], strict=True):
        site.module(path.replace("/", "."), source)
    entry = re.search(r'entry-points\."([\w.]+)"\.(\w+) = "([\w.]+)"', README.read_text(encoding="utf-8"))
    assert entry is not None
    site.distribution("tinyllava-kit-normed", group=entry[1], plugins={entry[2]: entry[3]})
    spec = discover().find("connector", "normed").spec
    connector = load(spec)(in_dim=5, out_dim=7)
    assert connector(Features(torch.randn(2, 11, 5))).shape == (2, connector.num_tokens(11), 7)
