"""What holds for whatever a spec describes: its target is there, and its options arrive and show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from ..errors import KitError
from ..plugin.doctor import check_component
from ..plugin.specs import DecoderSpec, Option, Spec, TowerSpec, import_target
from .comparing import same
from .contract import Contract, DoesNotApply, check, keywords_of

_ROUNDING = 1e-5  # of floats that are computed in another order
_NO_SPEC = "the contract has no spec; run it with --tinyllava-conformance, or give it one"


class SpecifiedContract(Contract):
    """Checks of a spec against the component that its target names."""

    # What the component's options are keyword arguments of, and how many arguments stand before them; None: of
    # nothing, because none arrive.
    takes_options: ClassVar[tuple[str, int] | None] = ("read_config", 1)

    def effect(self, options: Mapping[str, Any]) -> Any:
        """What a user sees of the component with these options: tensors, numbers and containers of them."""
        raise DoesNotApply(f"nothing shows the options of a {self.kind}")

    @check("the spec's target: 'package.module:Class', a class that extends the interface of its kind")
    def test_target(self) -> None:
        """It can be imported, and is what its kind requires; its modality is installed."""
        spec = self._spec()
        found = import_target(spec.target)
        check_component(spec.kind, found)
        if isinstance(spec, (TowerSpec, DecoderSpec)) and self.catalog is not None:
            known = [offer.spec.name for offer in self.catalog.of_kind("modality")]
            assert spec.modality in known, f"modality={spec.modality!r} is offered by nobody; known: {', '.join(known)}"

    @check("the options of the spec, or the keyword arguments of the class, so that they have the same names")
    def test_keywords(self) -> None:
        """Each option of the spec is a keyword argument of the component, and no other argument is needed."""
        spec = self._spec()
        if not spec.options and not spec.pattern:
            raise DoesNotApply("its spec has no option")
        names = {option.name for option in spec.options} | set(spec.name_options(spec.name))
        assert self.takes_options, f"nothing gives a {self.kind} its options: {', '.join(sorted(names))}"
        method, given = self.takes_options
        if method != "__init__" and not hasattr(self.component, method):
            raise DoesNotApply(f"nothing says which class takes the options of a {self.kind}")
        takes, any_other = keywords_of(self._receiver(method), given=given)
        unknown = sorted(names - takes)
        assert any_other or not unknown, f"{method} takes no {', '.join(unknown)}, which the spec offers as an option"

    @check("the code that should read the option; or give other_options = {name: a value that shows}")
    def test_options(self) -> None:
        """Each option, set to another value, changes what a user sees."""
        spec = self._spec()
        if not spec.options:
            raise DoesNotApply("its spec has no option")
        for option in spec.options:
            if option.name not in self.unseen_options:
                self._check_option(option)

    def _check_option(self, option: Option) -> None:
        """The effect of each other value is compared with that of the option's own, until one differs."""
        tried, refused = [], []
        before = self.effect(self.given_options)
        for value in self._others(option):
            try:
                after = self.effect({**self.given_options, option.name: value})
            except KitError as error:
                refused.append(f"{value!r} ({error})")
                continue
            tried.append(value)
            if not same(before, after, tolerance=_ROUNDING):
                return
        assert tried, f"option {option.name!r}: every value that was tried is refused: {'; '.join(refused) or 'none'}"
        shown = ", ".join(map(repr, tried))
        raise AssertionError(f"option {option.name!r} changes nothing: {shown} gives the default's result")

    def _others(self, option: Option) -> Iterator[Any]:
        """Other values of an option: the author's, or near ones."""
        now = self.given_options[option.name]
        if option.name in self.other_options:
            yield self.other_options[option.name]
            return
        yield from (value for value in _near(option, now) if value != now)

    def _receiver(self, method: str) -> Callable[..., Any]:
        """The method of the component that takes options; the class itself where it is the constructor."""
        receiver: Callable[..., Any] = self.component if method == "__init__" else getattr(self.component, method)
        return receiver

    def _spec(self) -> Spec:
        if self.spec is None:
            raise DoesNotApply(_NO_SPEC)
        return self.spec


def _near(option: Option, now: Any) -> Iterator[Any]:
    if option.choices:
        yield from option.choices
    elif option.type is bool:
        yield not now
    elif option.type is int:
        now = now or 0
        yield from (now + 1, now - 1, now + 2, 2 * now, 1, 2, 4, 8)
    elif option.type is float:
        now = now or 0.0
        yield from (now / 2, now + 0.1, now + 1.0, 2 * now)
