"""The catalog: what discovery found. A value; build it as often as you like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import KitError, MissingPluginError, near
from .specs import KINDS, Spec


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One entry point and how loading it went.

    `status` is ``ok``, ``disabled``, ``duplicate`` (its entry-point name is taken), ``incompatible``
    (another hook API) or ``broken``; `detail` says why, `fix` what to do.
    """

    name: str
    distribution: str
    version: str
    target: str
    status: str = "ok"
    detail: str = ""
    fix: str = ""

    @property
    def attention(self) -> bool:
        """Whether somebody should look at it; to be disabled is a choice, not a fault."""
        return self.status not in ("ok", "disabled")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A spec and who offers it."""

    spec: Spec
    plugin: str
    distribution: str
    version: str

    @property
    def qualified(self) -> str:
        """The name that is unique even in a conflict: ``distribution/name``."""
        return f"{self.distribution}/{self.spec.name}"


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """One name of one kind, offered more than once. Nobody wins by accident."""

    kind: str
    name: str
    offers: tuple[Offer, ...]

    @property
    def owners(self) -> str:
        """The distributions that offer it, in one line."""
        return ", ".join(sorted({offer.distribution for offer in self.offers}))


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All plugins, all offers, all conflicts."""

    plugins: tuple[Plugin, ...] = ()
    offers: tuple[Offer, ...] = ()

    def of_kind(self, kind: str) -> tuple[Offer, ...]:
        """The offers of one kind, by name.

        Raises:
            KitError: there is no such kind.
        """
        if kind not in KINDS:
            raise KitError(f"no kind of component is called {kind!r}; {near(kind, KINDS)}")
        return tuple(sorted((o for o in self.offers if o.spec.kind == kind), key=lambda o: (o.spec.name, o.plugin)))

    def names(self, kind: str) -> list[str]:
        """The names of one kind, in the order in which they are offered, each once."""
        return list(dict.fromkeys(offer.spec.name for offer in self.offers if offer.spec.kind == kind))

    def find(self, kind: str, name: str) -> Offer:
        """The one offer that `name` means: exact, of a family, or ``distribution/name``.

        Raises:
            MissingPluginError: nobody offers it; the message names the near ones and what to install.
            KitError: two distributions offer it.
        """
        distribution, _, bare = name.rpartition("/")
        offers = [o for o in self.of_kind(kind) if not distribution or o.distribution == distribution]
        found = [o for o in offers if o.spec.name == bare] or [o for o in offers if o.spec.matches(bare)]
        if len(found) == 1:
            return found[0]
        if found:
            raise KitError(self._ambiguous(kind, bare, found))
        known = (o.qualified if distribution else o.spec.name for o in self.of_kind(kind))
        also = self._left_out()
        raise MissingPluginError(
            f"no {kind} is called {name!r}; {near(name, known)} "
            f"('tinyllava list {kind}' shows all; a plugin that offers it is added with pip install{also})"
        )

    def _left_out(self) -> str:
        """The plugins that might offer what nobody offers: those that did not load, and those that are disabled."""
        failed = ", ".join(sorted({p.name for p in self.plugins if p.attention}))
        off = ", ".join(sorted({p.name for p in self.plugins if p.status == "disabled"}))
        failed = f"; {failed} did not load, see 'tinyllava doctor'" if failed else ""
        return failed + (f"; disabled: {off}" if off else "")

    def _ambiguous(self, kind: str, bare: str, found: list[Offer]) -> str:
        qualified = sorted({f"{o.distribution}/{bare}" for o in found})
        if len(qualified) > 1:
            advice = "is offered by more than one distribution: write " + " or ".join(map(repr, qualified))
        else:
            plugins = " and ".join(sorted(repr(o.plugin) for o in found))
            advice = f"is offered by plugins {plugins} of {found[0].distribution}: disable one of them"
        return f"{kind} {bare!r} {advice}"

    def conflicts(self) -> Iterator[Conflict]:
        """Every name that more than one plugin offers."""
        for kind in KINDS:
            offers = self.of_kind(kind)
            for name in sorted({o.spec.name for o in offers}):
                same = tuple(o for o in offers if o.spec.name == name)
                if len(same) > 1:
                    yield Conflict(kind=kind, name=name, offers=same)
