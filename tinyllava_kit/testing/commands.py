"""The contract of a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from click import Command, Option
from click.testing import CliRunner, Result

from ..errors import KitError
from ..plugin.child_process import run_trials
from .contract import DoesNotApply, check
from .help_trial import show_help
from .specified import SpecifiedContract

_LIMIT_S = 120.0


class CommandContract(SpecifiedContract):
    """What holds for a command. An author gives `arguments`, with which it succeeds on something small."""

    kind = "command"

    def arguments(self, folder: Path) -> Sequence[str]:
        """Words of a command line with which it does its work on toys that are written to `folder`."""
        raise DoesNotApply("no arguments(folder): it is not run")

    @check("the command: a click command with a docstring, and a help for each option")
    def test_help(self) -> None:
        """`--help` succeeds and says what it does; each option has its own line."""
        command = self._command()
        result = self._run(["--help"])
        assert result.exit_code == 0, f"--help ends with {result.exit_code}: {result.output}"
        assert command.get_short_help_str(), "it has no docstring, so that its help says nothing"
        assert self.spec is None or self.spec.summary, "its spec has no summary, which 'tinyllava --help' shows"
        silent = [p.name for p in command.params if isinstance(p, Option) and not (p.help or p.hidden)]
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
            result, error = self._run(words), None
            error = result.exception
            told = error is None or isinstance(error, (SystemExit, KitError))
            assert told, f"{' '.join(words)}: raises {type(error).__name__}: {error}"
            assert result.exit_code != 0 or words[0] != "--no-such-option", "an unknown option is not refused"
            if isinstance(error, KitError):
                assert "\n" not in str(error), f"{' '.join(words)}: more than one line: {error}"

    @check("the command: end with 0 where all went well")
    def test_run(self) -> None:
        """With the arguments of the contract it succeeds, twice."""
        for _ in range(2):
            words = list(self.arguments(self.folder))
            result = self._run(words)
            shown = result.output.strip().splitlines()[-1:] or [repr(result.exception)]
            assert result.exit_code == 0, f"{' '.join(words)}: ends with {result.exit_code}: {shown[0]}"

    def _command(self) -> Command:
        assert isinstance(self.component, Command), f"{self.component!r} is no click command"
        return self.component

    def _wrong_words(self) -> list[list[str]]:
        """Each argument that is needed, with the name of a file that is not there."""
        needed = [p for p in self._command().params if p.param_type_name == "argument" and p.required]
        return [[str(self.folder / "gone") for _ in needed]] if needed else []

    def _run(self, words: Sequence[str]) -> Result:
        return CliRunner().invoke(self._command(), list(words), prog_name=self.owner)
