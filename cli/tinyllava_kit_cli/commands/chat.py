"""``tinyllava chat``: a conversation with a model."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from tinyllava_kit.core.conversation import ITEM, Item
from tinyllava_kit.errors import KitError, near
from tinyllava_kit.files.printable import one_line
from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit_cli.generation import answer_length, load_to_run, placed, placement, sampled, sampling
from tinyllava_kit_cli.items import need_packages
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import say
from tinyllava_kit_cli.shell_completion import directories, names

if TYPE_CHECKING:
    from tinyllava_kit.inference.chatting import Chat

NO_TEXT = "the line is not UTF-8 text; convert it"


@click.command
@click.argument("directory", type=click.Path(), shell_complete=directories)
@click.option(
    "--template",
    metavar="NAME",
    shell_complete=names("template"),
    help="The chat template; default: the model's own.",
)
@answer_length("each answer")
@sampling
@placement
def command(
    directory: str,
    template: str | None,
    max_new_tokens: int | None,
    temperature: float | None,
    seed: int,
    device: str,
    dtype: str,
) -> None:
    """Talk with the model in DIRECTORY, a line a turn.

    A line that begins with a slash is a command of the program: /help lists them. Ctrl-C stops an answer; /quit or
    Ctrl-D ends the conversation. Lines may come from a pipe; then the first mistake ends it.
    """
    check_model(directory)

    from tinyllava_kit.checkpoints.loading import open_checkpoint
    from tinyllava_kit.inference.chatting import Chat

    where = placed(device, dtype)
    how = sampled(temperature, seed)
    opened = open_checkpoint(directory, template=template)
    processor = opened.processor()
    model = load_to_run(opened, where)
    terminal = Terminal(Chat(model, processor, max_new_tokens=max_new_tokens, **how))
    if sys.stdin.isatty():
        say(_introduction(directory, model, processor), err=True)
        terminal.greet()
        terminal.converse()
    else:
        terminal.read(sys.stdin)


def _introduction(directory: str, model: Any, processor: Any) -> str:
    """The first line: which model this is, what it reads, and how to leave."""
    reads = " and ".join(["text", *processor.reads])
    llm = model.config.component("llm").name
    where = f"on {model.device} in {str(model.dtype).removeprefix('torch.')}"
    return f"{directory}: {llm}, reads {reads}, {where}; /quit or Ctrl-D ends"


class Terminal:
    """Lines in, answers out. Answers go to standard output, everything else to standard error."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.placeholders = {name: chat.processor.specs[name].token.placeholder for name in chat.processor.reads}
        modalities = [offer.spec.name for offer in installed_catalog().of_kind("modality")]
        self.commands: dict[str, tuple[str, Callable[[str], None]]] = {
            **{name: (f"/{name} FILE", self._attaching(name)) for name in modalities},
            "clear": ("/clear", lambda rest: self.chat.clear()),
            "history": ("/history", lambda rest: self._show_history()),
            "help": ("/help", lambda rest: self.greet()),
            "exit": ("/exit", lambda rest: self._end()),
            "system": ("/system [TEXT]", self._instruct),
        }
        self.others = {"quit": "exit", "bye": "exit"}

    def greet(self) -> None:
        """What can be typed."""
        unread = {f"/{name} FILE" for name in self.commands} - {f"/{name} FILE" for name in self.placeholders}
        usages = [usage for usage, _ in self.commands.values() if usage not in unread]
        end = "/exit (or /quit, /bye)"
        say(f"{', '.join(usages).replace('/exit', end)}; anything else is sent to the model", err=True)
        where = " or ".join(self.placeholders.values())
        if where:
            say(f"an item comes before the next question, or where that says {where}", err=True)

    def read(self, lines: Iterable[str]) -> None:
        """Lines that no person types: nothing is asked for, and the first mistake is raised.

        Raises:
            KitError: a mistake, or input that is not text.
        """
        try:
            for line in lines:
                self.take(line)
        except EOFError:
            return
        except UnicodeError as error:
            raise KitError(f"{NO_TEXT}: {error}") from error

    def converse(self) -> None:
        """Lines that a person types: a mistake is shown, and Ctrl-C stops the answer."""
        with suppress(ImportError):
            import readline  # noqa: F401  (gives `input` its editing)
        while True:
            try:
                self.take(input("> "))
            except KitError as error:
                say(f"error: {one_line(str(error))}", err=True)
            except UnicodeError as error:
                say(f"error: {NO_TEXT}: {error}", err=True)
            except KeyboardInterrupt:
                say("\n(stopped; /exit or Ctrl-D ends)", err=True)
            except EOFError:
                return

    def take(self, line: str) -> None:
        """One line: a command, or something to say.

        Raises:
            KitError: no such command, or a question that cannot be asked. EOFError: the end is wanted.
            UnicodeError: bytes that are no text, which some locales let through.
        """
        line.encode("utf-8")
        word, _, rest = line.strip().partition(" ")
        if not word:
            return
        if word.startswith("/") and "/" not in word[1:]:
            self._run(word[1:], rest.strip())
            return
        self.chat.say(line.strip(), _print)
        say()

    def _run(self, name: str, rest: str) -> None:
        name = self.others.get(name, name)
        if name not in self.commands:
            raise KitError(f"no command is called '/{name}'; {near(name, [*self.commands, *self.others])}")
        usage, action = self.commands[name]
        if bool(rest) != usage.endswith(" FILE") and not usage.endswith("]"):
            raise KitError(f"write {usage}, got '/{name}{' ' * bool(rest)}{rest}'")
        action(rest)

    def _attaching(self, modality: str) -> Callable[[str], None]:
        def attach(file: str) -> None:
            need_packages([modality])
            file = os.path.expanduser(_unquoted(file))
            self.chat.attach(Item(modality, file))
            say(f"({modality} {file})", err=True)

        return attach

    def _instruct(self, text: str) -> None:
        self.chat.instruct(text)
        say(f"(system: {text})" if text else "(no system text)", err=True)

    def _show_history(self) -> None:
        """The system text and the turns, each item at its place with its file; then the items that wait."""
        for turn in self.chat.system:
            say(f"{turn.role}: {turn.text}")
        items = iter([*self.chat.history.items, *self.chat.waiting])
        for turn in self.chat.history.turns:
            pieces = turn.text.split(ITEM)
            text = pieces[0] + "".join(f"{_named(next(items))}{piece}" for piece in pieces[1:])
            say(f"{turn.role}: {text}")
        for item in items:
            say(f"next: {_named(item)}")

    def _end(self) -> None:
        raise EOFError


def _print(piece: object) -> None:
    """The words of an answer as they come; in a conversation it holds no items."""
    if isinstance(piece, str):
        say(piece, nl=False)


def _unquoted(file: str) -> str:
    """A file as a terminal pastes it, in quotes or with escaped spaces, or as a person types it, spaces as they are."""
    with suppress(ValueError):  # a quote that is not closed
        words = shlex.split(file)
        return words[0] if len(words) == 1 else file
    return file


def _named(item: Item) -> str:
    return f"[{item.modality} {item.source}]"
