"""The contract of a command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import click
from click.testing import CliRunner, Result

from ..errors import KitError
from ..plugin.child_process import run_trials
from .contract import DoesNotApply, check
from .folders import changed_files, content_of, no_file_above
from .help_trial import show_help
from .specified import SpecifiedContract

_LIMIT_S = 120.0
_MISTAKE = 2  # the exit code of a mistake of the user
_NEW = "a new file"  # stands for a path in the folder that the arguments are in
_NUMBERS = ("1", "2", "3", "5", "0.5")  # tried of an option that is a number


class CommandContract(SpecifiedContract):
    """What holds for a command. An author gives `arguments`, with which it succeeds on something small; its options are
    click's, whose names `other_options` and `unseen_options` take."""

    kind = "command"
    takes_options: ClassVar[tuple[str, int] | None] = None

    def arguments(self, folder: Path) -> Sequence[str]:
        """Words of a command line with which it does its work on toys that are written to `folder`."""
        raise DoesNotApply("no arguments(folder): it is not run")

    @check("the command: a click command with a docstring, and a help and flags of its own for each option")
    def test_help(self) -> None:
        """`--help` succeeds and says what it does; each option has its own line."""
        command = self._command()
        flags = [flag for p in self._options() for flag in (*p.opts, *p.secondary_opts)]
        doubled = [flag for flag in flags if flags.count(flag) > 1]
        assert not doubled, f"two options are called {doubled[0]}"
        result = self._run(["--help"])
        assert result.exit_code == 0, f"--help ends with {result.exit_code}: {result.output}"
        assert command.get_short_help_str(), "it has no docstring, so that its help says nothing"
        assert self.spec is None or self.spec.summary, "its spec has no summary, which 'tinyllava --help' shows"
        silent = [p.name for p in self._options() if not (p.help or p.hidden)]
        assert not silent, f"option {silent[0]} has no help"

    @check("the command's module: import torch and what needs it inside the function")
    def test_light(self) -> None:
        """Importing it and showing its help imports no large package."""
        if self.spec is None:
            raise DoesNotApply("the contract has no spec")
        (outcome,) = run_trials(show_help, [(self.spec.target,)], limit_s=_LIMIT_S)
        assert not outcome.error, f"in a process of its own: {outcome.error}"
        assert not outcome.heavy, f"its help imports {', '.join(outcome.heavy)}"

    @check("the command: raise a KitError for a mistake of the user; click does so for the words of the command line")
    def test_refused(self) -> None:
        """Unknown options, and missing files, give an error of one line and exit code 2, or are ignored."""
        for words in (["--no-such-option"], *self._wrong_words()):
            result = self._run(words)
            self._check_told(result, " ".join(words))
            assert result.exit_code != 0 or words[0] != "--no-such-option", "an unknown option is not refused"

    @check("the command: raise a KitError where an input is not there, so that it ends with 2")
    def test_missing(self) -> None:
        """Where a file or folder of its arguments is gone, it does not end with 0, unless it has made it anew."""
        for place in range(len(self.arguments(self.folder))):
            folder = self.folder
            words = list(self.arguments(folder))
            head, mark, value = words[place].rpartition("=")
            if not (value and Path(value).is_relative_to(folder) and Path(value).exists()):
                continue
            gone = folder / "gone"
            words[place] = f"{head}{mark}{gone}"
            result = self._run(words)
            self._check_told(result, f"without {value}")
            assert result.exit_code != 0 or gone.exists(), f"{value} is not there, and it ends with 0"

    @check("the command: end with 0 where all went well, and leave the process as it was")
    def test_run(self) -> None:
        """With the arguments of the contract it succeeds, twice, and stays in the working directory."""
        here = Path.cwd()
        for _ in range(2):
            words = list(self.arguments(self.folder))
            result = self._run(words)
            shown = result.output.strip().splitlines()[-1:] or [repr(result.exception)]
            assert result.exit_code == 0, f"{' '.join(words)}: ends with {result.exit_code}: {shown[0]}"
            assert Path.cwd() == here, "it goes to another working directory and stays there"

    @check("the code that should read the option; or give other_options = {name: a value that shows}")
    def test_options(self) -> None:
        """Each option of click's, set to another value, changes what is printed or written."""
        given = {word.partition("=")[0] for word in self.arguments(self.folder)}
        options = [option for option in self._options() if not option.hidden and not given & {*option.opts}]
        if not options:
            raise DoesNotApply("it has no option beside its arguments")
        before = self._shown([])
        for option in options:
            if option.name not in self.unseen_options:
                self._check_switch(option, before)

    @check("the command: write with write_file, or within atomic_directory, of tinyllava_kit.files")
    def test_atomic(self) -> None:
        """Where the disk is full in the middle of a file, a line says so, and no part of a file is left."""
        written = [size for size in self._written() if size > 1]
        if not written:
            raise DoesNotApply("it writes nothing to the folder of its arguments")
        folder = self.folder
        words = list(self.arguments(folder))
        before = content_of(folder)
        with no_file_above(max(written) // 2):
            result = self._run(words)
        self._check_told(result, "a disk that is full")
        assert result.exit_code != 0, "a disk that is full: it ends with 0"
        left = changed_files(before, content_of(folder))
        assert not left, f"a disk that is full: it leaves {left}"

    def _command(self) -> click.Command:
        assert isinstance(self.component, click.Command), f"{self.component!r} is no click command"
        return self.component

    def _options(self) -> list[click.Option]:
        return [parameter for parameter in self._command().params if isinstance(parameter, click.Option)]

    def _wrong_words(self) -> list[list[str]]:
        """Each argument that is needed, with the name of a file that is not there."""
        needed = [p for p in self._command().params if p.param_type_name == "argument" and p.required]
        return [[str(self.folder / "gone") for _ in needed]] if needed else []

    def _run(self, words: Sequence[str]) -> Result:
        return CliRunner().invoke(self._command(), list(words), prog_name=self.owner)

    def _check_told(self, result: Result, what: str) -> None:
        """A mistake is a KitError of one line, or click's own error."""
        error = result.exception
        told = error is None or isinstance(error, (SystemExit, KitError))
        assert told, f"{what}: raises {type(error).__name__}: {error}"
        assert "Traceback (most recent call last)" not in result.output, f"{what}: prints a traceback"
        if isinstance(error, KitError):
            assert "\n" not in str(error), f"{what}: more than one line: {error}"
        elif result.exit_code not in (0, _MISTAKE):
            raise AssertionError(f"{what}: ends with {result.exit_code}, expected {_MISTAKE}")

    def _check_switch(self, option: click.Option, before: tuple[str, dict[str, str]]) -> None:
        tried, refused = [], []
        for words in self._settings(option):
            try:
                shown = self._shown(words)
            except KitError as error:
                refused.append(f"{' '.join(words)} ({error})")
                continue
            if shown != before:
                return
            tried.append(" ".join(words))
        assert tried, f"option {option.name}: nothing that was tried is taken: {'; '.join(refused) or 'none'}"
        raise AssertionError(f"option {option.name} changes nothing: {', '.join(tried)} gives what is given without it")

    def _settings(self, option: click.Option) -> Iterator[list[str]]:
        """Words that set an option: the author's, or near ones."""
        flag = option.opts[-1]
        if option.name in self.other_options:
            yield [flag, str(self.other_options[option.name])]
        elif option.is_flag:
            yield from ([each] for each in (flag, *option.secondary_opts[-1:]))
        elif isinstance(option.type, click.Choice):
            yield from ([flag, str(choice)] for choice in option.type.choices)
        elif isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType)):
            yield from ([flag, number] for number in _NUMBERS)
        else:
            yield [flag, _NEW]

    def _shown(self, words: Sequence[str]) -> tuple[str, dict[str, str]]:
        """What it prints, and the files of the folder, with other words beside the arguments.

        Raises:
            KitError: it does not succeed.
        """
        folder = self.folder
        added = [str(folder / "new") if word == _NEW else word for word in words]
        result = self._run([*added, *self.arguments(folder)])
        if result.exit_code != 0:
            said = result.output.strip().splitlines()[-1:] or [str(result.exception)]
            raise KitError(said[0])
        return result.output.replace(str(folder), ""), content_of(folder)

    def _written(self) -> list[int]:
        """The sizes of the files that it writes to the folder of its arguments, or changes there."""
        folder = self.folder
        words = list(self.arguments(folder))
        before = content_of(folder)
        result = self._run(words)
        assert result.exit_code == 0, f"{' '.join(words)}: ends with {result.exit_code}"
        after = content_of(folder)
        return [(folder / name).stat().st_size for name in after if after[name] != before.get(name)]
