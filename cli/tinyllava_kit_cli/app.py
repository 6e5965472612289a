"""The ``tinyllava`` command: its subcommands, imported when they are run, and how errors are shown."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError
from click.shell_completion import CompletionItem

from tinyllava_kit import KitError, __version__
from tinyllava_kit.errors import MissingPluginError, near, shown
from tinyllava_kit.files.printable import one_line
from tinyllava_kit.plugin.catalog import Catalog, Offer
from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit.plugin.specs import load
from tinyllava_kit_cli.messages import printable_messages
from tinyllava_kit_cli.printing import say
from tinyllava_kit_cli.shell_completion import VARIABLE
from tinyllava_kit_cli.streams import standard_streams

# Each with its line in the help, which imports none of them. It is the module `commands.NAME` (a dash is an underscore
# there), light to import, with a click command `command`.
COMMANDS = {
    "list": "List the installed components.",
    "info": "Show a component, its options and its plugin.",
    "doctor": "Check the environment and the installed plugins.",
    "assemble": "Put towers, connectors and an LLM together as one model.",
    "data": "Check and show the data of a recipe.",
    "train": "Train a model as a recipe says.",
    "ask": "Ask a model one question, about items if you like.",
    "eval": "Judge a model on rows with answers, or on a benchmark.",
    "chat": "Talk with a model, about items if you like.",
    "serve": "Serve a model to programs that speak OpenAI's API.",
    "show": "Show why a model answers as it does.",
    "load-check": "Report the layout of a checkpoint and whether it can be loaded.",
    "convert": "Write another project's checkpoint as a model of this kit.",
    "merge": "Add kept adapters to a model's weights.",
    "quantize": "Write a model with 8- or 4-bit weights.",
    "export": "Write a model as other programs read it.",
    "new-plugin": "Write a plugin to start from.",
    "help": "Show the help of a command.",
}

INTERRUPTED = 130  # as a shell reports SIGINT


class UserError(click.ClickException):
    """A `KitError` or a usage error of click as the command line shows it: one line, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        say(f"error: {one_line(self.message)}", err=True)


class Commands(click.Group):
    """The kit's commands, then those of plugins. The doctor reports a plugin's faults."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *(name for name, _ in _plugin_commands(installed_catalog()))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name; None where a shell completes and there is none.

        Raises:
            KitError: nobody offers it, two do, or it cannot be imported.
        """
        if name in COMMANDS:
            return _own(name)
        catalog = installed_catalog()
        try:
            return _load(catalog.find("command", name))
        except KitError as error:
            if ctx.resilient_parsing:
                return None  # a shell completes a line; its faults are reported when it runs
            if not isinstance(error, MissingPluginError):
                raise
            known = [*COMMANDS, *(other for other, _ in _plugin_commands(catalog))]
            raise KitError(f"no command is called {name!r}; {near(name, known)}") from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with their summaries; none is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        if added := _plugin_commands(installed_catalog()):
            with formatter.section("Commands of plugins"):
                formatter.write_dl(added)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """The commands that begin so; none is imported for it."""
        known = [
            pair
            for pair in (*COMMANDS.items(), *_plugin_commands(installed_catalog()))
            if pair[0].startswith(incomplete)
        ]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=summary or None) for name, summary in known), *options]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words before the command's name."""
        with _usage_errors_in_one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command; what it returns is for callers of the function, not an exit code."""
        try:
            with _usage_errors_in_one_line(ctx):
                super().invoke(ctx)
        except EOFError as error:  # click takes it for Ctrl-D, and ends without a word
            raise RuntimeError(f"a file has ended too early: {error}") from error
        except KitError as error:
            raise UserError(str(error)) from error
        except OSError as error:  # what asks whether a path is there raises it, too
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise UserError(f"no file has a name as long as {shown(error.filename)}; give a shorter one") from error


@contextmanager
def _usage_errors_in_one_line(ctx: click.Context) -> Iterator[None]:
    """Without click's lines on the usage; they are in the help that the one line names.

    Raises:
        UserError: what click cannot make sense of. That nothing was given is shown as click does: with the help.
    """
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        if error.ctx is not None:
            path = error.ctx.command_path
        else:  # click does not always say where
            path = " ".join([ctx.command_path, *filter(None, [ctx.invoked_subcommand])])
        said = " ".join(error.format_message().split()).removesuffix(".")
        raise UserError(f"{said}; see '{path} --help'") from error


def _own(name: str) -> click.Command:
    command: click.Command = importlib.import_module(f"{__package__}.commands.{name.replace('-', '_')}").command
    return command


def _plugin_commands(catalog: Catalog) -> list[tuple[str, str]]:
    """What to type for each command of a plugin, and its summary."""
    taken = {*COMMANDS, *(conflict.name for conflict in catalog.conflicts() if conflict.kind == "command")}
    offers = catalog.of_kind("command")
    return [(o.qualified if o.spec.name in taken else o.spec.name, one_line(o.spec.summary)) for o in offers]


def _load(offer: Offer) -> click.Command:
    try:
        command = load(offer.spec)
    except KitError as error:
        raise KitError(f"{error}; it is of {offer.distribution} {offer.version}") from error
    if not isinstance(command, click.Command):
        raise KitError(
            f"command {offer.spec.name!r} of {offer.distribution} {offer.version}: {offer.spec.target} must be a "
            f"click command, got {type(command).__name__}; report it to its authors"
        )
    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tinyllava")
def cli() -> None:
    """Small multimodal language models from plugins.

    Take a tower, a connector and an LLM by name, train the joints, ask questions.
    """


def main(args: list[str] | None = None) -> None:
    """The console entry: runs `cli` and exits with 0, 1 (findings), 2 (user error), 130 or 141."""
    with standard_streams(), printable_messages():
        code = _run(args)
    sys.exit(code)


def _run(args: list[str] | None) -> int:
    if not sys.stderr.isatty():  # transformers reads it when it is imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if os.environ.get(VARIABLE, "").startswith("bash"):
        importlib.import_module(f"{__package__}.bash")
    try:
        code: int = cli.main(args, prog_name="tinyllava", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code
