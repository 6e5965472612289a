"""Items on a command line: ``--item MODALITY=FILE``, and ``--MODALITY FILE`` for every modality that is installed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator

import click

from tinyllava_kit.assembly.flags import split_word
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.errors import KitError, shown
from tinyllava_kit.files.item_sources import is_name
from tinyllava_kit.files.paths import meant
from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit.plugin.extras import need
from tinyllava_kit.plugin.specs import ModalitySpec

_ANSWERS = "tinyllava_kit_cli.answers"


def _modalities() -> Iterator[ModalitySpec]:
    """Those that are installed."""
    return (offer.spec for offer in installed_catalog().of_kind("modality") if isinstance(offer.spec, ModalitySpec))


class ItemsCommand(click.Command):
    """A command with ``--MODALITY FILE`` for every installed modality, as sugar for ``--item``."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        taken = {option for param in params for option in param.opts}
        for spec in _modalities():
            flag = f"--{spec.name.replace('_', '-')}"
            if flag not in taken:
                taken.add(flag)
                params.append(
                    click.Option(
                        [flag, f"item_{spec.name}"],
                        multiple=True,
                        type=click.Path(),
                        metavar="FILE",
                        help=f"The same as --item {spec.name}=FILE.",
                        expose_value=False,
                        callback=_as_item(spec.name),
                    )
                )
        return params


def _as_item(modality: str) -> Callable[..., None]:
    def keep(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:
        ctx.ensure_object(list).extend((modality, file) for file in value)

    return keep


def need_packages(modalities: Iterable[str]) -> None:
    """Check that the packages are installed that files of these modalities need.

    Raises:
        KitError: a package that files of one of these modalities need is not installed.
    """
    named = set(modalities)
    for spec in _modalities():
        if spec.name in named:
            for package in spec.packages:
                need(package, f"a file of {spec.name}")


def items_of(ctx: click.Context, words: tuple[str, ...]) -> list[Item]:
    """The items of a command line: those of its flags, then those of ``--item``.

    Raises:
        KitError: a word is not MODALITY=FILE, what reads such files is not installed, or a file is not there.
    """
    given = [*ctx.ensure_object(list), *(split_word(word, "--item", "MODALITY=FILE") for word in words)]
    need_packages(modality for modality, _ in given)
    for _, file in given:
        _check_there(file)
    return [Item(modality, file) for modality, file in given]


def _check_there(file: str) -> None:
    """Check that a file exists; an address or content in place of a name passes.

    Raises:
        KitError: it is the name of a file, and there is none.
    """
    if is_name(file) and "\0" not in file and not os.path.lexists(file):
        advice = meant(file, files=True)
        raise KitError(f"cannot open {shown(file)}: No such file or directory{'; ' * bool(advice)}{advice}")


class AnswersCommand(ItemsCommand):
    """Beside the items of a question, ``--VERB FILE`` for every installed modality with a verb, as sugar for
    ``--write``."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        taken = {option for param in params for option in param.opts}
        for spec in _modalities():
            flag = f"--{spec.verb.replace('_', '-')}"
            if spec.verb and flag not in taken:
                taken.add(flag)
                params.append(
                    click.Option(
                        [flag, f"write_{spec.name}"],
                        type=click.Path(),
                        metavar="FILE",
                        help=f"The same as --write {spec.name}=FILE.",
                        expose_value=False,
                        callback=_as_answer(spec.name),
                    )
                )
        return params


def _as_answer(modality: str) -> Callable[..., None]:
    def keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.meta.setdefault(_ANSWERS, {})[modality] = value

    return keep


def answers_of(ctx: click.Context, words: tuple[str, ...]) -> dict[str, str]:
    """Modality -> file, of the items that an answer shall hold.

    Raises:
        KitError: a word is not MODALITY=FILE, a modality is named twice, what writes such files is not installed, or
            the file's folder is not there.
    """
    wanted: dict[str, str] = dict(ctx.meta.get(_ANSWERS, {}))
    for word in words:
        modality, file = split_word(word, "--write", "MODALITY=FILE")
        if modality in wanted:
            raise KitError(f"--write names {modality!r} twice; an answer's items of one modality share a name")
        wanted[modality] = file
    need_packages(wanted)
    for file in wanted.values():
        if not os.path.isdir(os.path.dirname(file) or "."):
            raise KitError(f"cannot write {file!r}: its folder is not there; make it, or choose another one")
        _check_writable(file)
    return wanted


def _check_writable(file: str) -> None:
    """Check, before any answer, that a file can be written.

    Raises:
        KitError: nothing can be written where a file shall stand once there is an answer.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(file) or "."):
            pass
    except OSError as error:
        raise KitError(f"cannot write {file!r}: {error.strerror} in its folder; choose another one") from error
    if os.path.isdir(file):
        raise KitError(f"cannot write {file!r}: it is a folder; give the name of a file in it")
