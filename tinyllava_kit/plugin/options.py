"""Options: the keyword arguments of a component that a user may set, and how texts become their values. Light."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import KitError, near

OptionValue = str | int | float | bool | None
_OPTION_TYPES = (str, int, float, bool)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One keyword argument of a component that a user may set.

    The text of a command line is converted to `type`. `None` (the word ``none``) is accepted if the default is `None`.
    A `required` one must be given. A number is more than `above`, at least `at_least` and at most `at_most`.
    """

    name: str
    type: type = str
    default: OptionValue = None
    help: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ValueError(f"an option's name must be that of a keyword argument, got {self.name!r}")
        where = f"option {self.name!r}"
        if not any(self.type is each for each in _OPTION_TYPES):
            raise ValueError(f"{where}: type must be str, int, float or bool, got {_said(self.type)}")
        if not isinstance(self.help, str):
            raise ValueError(f"{where}: help must be a str, got {self.help!r}")
        check_tuple(self, "choices", where, of=self.type)
        if self.default is not None and not is_a(self.default, self.type):
            raise ValueError(f"{where}: default must be {article(self.type)} or None, got {self.default!r}")
        if self.choices and self.default is not None and self.default not in self.choices:
            raise ValueError(f"{where}: default {self.default!r} is not among its choices {self.choices!r}")
        if self.required and self.default is not None:
            raise ValueError(f"{where}: is required and has the default {self.default!r}; take one of them out")
        if self.type not in (int, float) and self.bounds:
            raise ValueError(f"{where}: is a {self.type.__name__} and cannot be {self.bounds}")
        if self.default is not None and not self._within(self.default):
            raise ValueError(f"{where}: default {self.default!r} is not {self.bounds}")

    @property
    def bounds(self) -> str:
        """Between what a number lies, in words; empty: anything."""
        said = (("more than", self.above), ("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{words} {value:g}" for words, value in said if value is not None)

    def _within(self, value: OptionValue) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return True
        above = self.above is None or value > self.above
        return (
            above
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )

    def parse(self, value: object, owner: str) -> OptionValue:
        """Convert `value` (from YAML or a command line) to this option's type.

        Raises:
            KitError: it is not of the type, or not among the choices.
        """
        if self.default is None and (value is None or (isinstance(value, str) and value.lower() == "none")):
            return None
        if self.type is bool and isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        wrong = not isinstance(value, (str, int, float)) or isinstance(value, bool) != (self.type is bool)
        try:
            if wrong or (self.type is int and isinstance(value, float) and value != int(value)):
                raise ValueError
            parsed: OptionValue = self.type(value)
        except (OverflowError, ValueError):
            raise KitError(f"{owner}: option {self.name!r} needs {self.type.__name__}, got {value!r}") from None
        if not self._within(parsed):
            raise KitError(f"{owner}: option {self.name!r} must be {self.bounds}, got {value!r}")
        if self.choices and parsed not in self.choices:
            raise KitError(f"{owner}: option {self.name!r} got {value!r}; {near(str(value), map(str, self.choices))}")
        return parsed


def check_tuple(owner: object, name: str, where: str, *, of: type) -> None:
    """Check a field of a frozen dataclass for values of one type, and store it as a tuple.

    Raises:
        ValueError: not a tuple of such values; for a single one without its comma the message says what to write.
    """
    value = getattr(owner, name)
    if isinstance(value, (str, Option)):
        shown = repr(value) if isinstance(value, str) else "Option(...)"
        raise ValueError(f"{where}: {name} must be a tuple, got {shown} alone; write {name}=({shown},) with the comma")
    if not isinstance(value, (tuple, list)):
        raise ValueError(f"{where}: {name} must be a tuple, got {value!r}")
    for each in value:
        if not is_a(each, of):
            raise ValueError(f"{where}: {name} must hold {of.__name__} values, got {each!r}")
    object.__setattr__(owner, name, tuple(value))


def is_a(value: object, wanted: type) -> bool:
    """Whether a value is of a type; a whole number is a float, true is no number."""
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, (int, float) if wanted is float else wanted)


def article(wanted: type) -> str:
    """A type's name with its article, for a message: "an int"."""
    return f"{'an' if wanted is int else 'a'} {wanted.__name__}"


def _said(value: object) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)
