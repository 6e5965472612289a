"""``tinyllava help``: the help of a command."""

from __future__ import annotations

import click

from tinyllava_kit.errors import KitError, near
from tinyllava_kit_cli.printing import say


def _commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[object]:
    root = ctx.find_root()
    return [item for item in root.command.shell_complete(root, incomplete) if not item.value.startswith("-")]


@click.command
@click.argument("words", nargs=-1, metavar="[COMMAND]...", shell_complete=_commands)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a COMMAND, as COMMAND --help does; without one, that of tinyllava.

    For a subcommand, give both names: help data check.
    """
    shown = ctx.find_root()
    for word in words:
        group = shown.command
        if not isinstance(group, click.Group):
            raise KitError(f"{shown.command_path!r} has no commands of its own, got {word!r}")
        found = group.get_command(shown, word)
        if found is None:
            raise KitError(f"{shown.command_path!r} has no command {word!r}; {near(word, group.list_commands(shown))}")
        shown = click.Context(found, info_name=word, parent=shown)
        shown.help_option_names = ctx.help_option_names
    say(shown.get_help())
