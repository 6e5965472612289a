"""The contracts of the installed components as tests of pytest: ``pytest --tinyllava-conformance[=DISTRIBUTION]``.

Each component is a class of checks, ``tower:clip::counts``. Light: nothing is imported but what pytest has, until
checks are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..plugin.catalog import Catalog, Offer
    from .contract import Contract

ALL = "all"
_OF_A_CHECK = "tinyllava_check"  # a keyword of each test that is a check
_FLAG, _SETTING = "--tinyllava-conformance", "tinyllava_conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option, and the setting of a project whose own tests the checks are."""
    group = parser.getgroup("tinyllava_kit")
    told = "run the checks of the components of a DISTRIBUTION (default: of all that is installed), and paths if given"
    group.addoption(_FLAG, nargs="?", const=ALL, default=None, metavar="DISTRIBUTION", help=told)
    parser.addini(_SETTING, "distributions whose components are checked where no path is given", type="args")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """With the option and without a path, the checks are all there is."""
    return True if config.getoption(_FLAG) is not None and not _has_paths(config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks that are asked for; mark those of a contract that are expected to fail."""
    for distribution in _asked(config):
        items += _checks(session, distribution)
    for item in items:
        _expect_failure(item)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Why checks did not apply, or were expected to fail: none is left out without a word."""
    for outcome, told in (("skipped", "does not apply"), ("xfailed", "fails, as expected")):
        for report in terminalreporter.stats.get(outcome, ()):
            if _OF_A_CHECK in getattr(report, "keywords", ()):  # a file that was left out whole has none
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.wasxfail
                terminalreporter.write_line(f"{report.nodeid} {told}: {reason.removeprefix('Skipped: ')}")


@pytest.fixture
def only_this_plugin() -> Iterator[Callable[[str], Catalog]]:
    """A function that lets discovery find one distribution, and what the kit ships, for the length of a test."""
    from .isolated import only_this_plugin

    with ExitStack() as stack:
        yield lambda distribution: stack.enter_context(only_this_plugin(distribution))


def _asked(config: pytest.Config) -> list[str]:
    flag = config.getoption(_FLAG)
    if flag is not None:
        return [flag]
    return [] if _has_paths(config) else list(config.getini(_SETTING))


def _has_paths(config: pytest.Config) -> bool:
    return config.args_source is pytest.Config.ArgsSource.ARGS


def _checks(session: pytest.Session, distribution: str) -> Iterator[pytest.Item]:
    """The checks of what a distribution offers, or of all that is offered.

    Raises:
        pytest.UsageError: there is no plugin of such a distribution.
    """
    from ..errors import near
    from ..plugin.discovery import discover

    catalog = discover()
    rows = [row for row in catalog.plugins if distribution in (ALL, row.distribution)]
    if not rows:
        known = near(distribution, {row.distribution for row in catalog.plugins})
        raise pytest.UsageError(f"{_FLAG}: no plugin is of distribution {distribution!r}; {known}")
    for row in rows:
        if row.status != "disabled":
            yield from PluginChecks.from_parent(session, name=f"plugin:{row.name}", nodeid=f"plugin:{row.name}").of(row)
        for offer in catalog.offers:
            if (offer.plugin, offer.distribution) == (row.name, row.distribution):
                name = f"{offer.spec.kind}:{offer.spec.name}"
                yield from ComponentChecks.from_parent(session, name=name, nodeid=name).of(offer, catalog)


class _Checks(pytest.Collector):
    """A node for a component; its items are made at once."""

    def collect(self) -> list[pytest.Item]:
        """Nothing more: its checks are among the items already."""
        return []

    def check(self, name: str, call: Callable[[], None]) -> pytest.Item:
        """One check as a test."""
        item: pytest.Item = CheckItem.from_parent(self, name=name, call=call)
        item.extra_keyword_matches.add(item.nodeid)  # so that -k takes an id as it is printed
        item.keywords[_OF_A_CHECK] = True
        return item


class PluginChecks(_Checks):
    """Of a plugin as a whole."""

    def of(self, row: Any) -> Iterator[pytest.Item]:
        """That it can be loaded, and is light."""
        from .plugins import check_light, check_loaded

        yield self.check("loaded", lambda: check_loaded(row))
        yield self.check("light", lambda: check_light(row))


class ComponentChecks(_Checks):
    """Of one component."""

    def of(self, offer: Offer, catalog: Catalog) -> Iterator[pytest.Item]:
        """Those of its contract; one that fails, where there is no contract."""
        from .contract import PREFIX, CheckFailure, checks_of
        from .offered import contract_of

        try:
            contract = contract_of(offer, catalog)
        except CheckFailure as failure:
            yield self.check("contract", lambda failure=failure: _fail(failure))  # type: ignore[misc]
            return
        self.contract = contract
        for name in checks_of(contract):
            yield self.check(name, lambda name=name: getattr(contract(), PREFIX + name)())  # type: ignore[misc]
        for name in sorted(set(contract.expected_failures) - set(checks_of(contract))):
            unknown = CheckFailure(f"expected_failures names {name!r}, which is no check\nchange: take it out")
            yield self.check(name, lambda unknown=unknown: _fail(unknown))  # type: ignore[misc]


class CheckItem(pytest.Item):
    """A check: a call that raises the fault."""

    def __init__(self, *, call: Callable[[], None], **known: Any) -> None:
        super().__init__(**known)
        self.call = call

    def runtest(self) -> None:
        """Run the check."""
        self.call()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The fault and what to change; with the traceback of an error of the component, or where it is asked for."""
        from .contract import CheckFailure

        if isinstance(excinfo.value, CheckFailure) and not self.config.option.fulltrace:
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """The id is given as the place: the check is in no file of the project."""
        return self.path, None, self.nodeid


def _fail(failure: Exception) -> None:
    raise failure


def _expect_failure(item: pytest.Item) -> None:
    """A check that its contract says will fail must fail."""
    contract, name = _check_of(item)
    reason = getattr(contract, "expected_failures", {}).get(name)
    if reason and hasattr(contract, f"test_{name}"):
        item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def _check_of(item: pytest.Item) -> tuple[type[Contract] | None, str]:
    """The contract that a test is a check of, and the name of the check."""
    import sys

    if isinstance(item, CheckItem):
        return getattr(item.parent, "contract", None), item.name
    known = sys.modules.get("tinyllava_kit.testing.contract")  # not imported: no test is of one
    owner = getattr(item, "cls", None)
    if known is None or not (isinstance(owner, type) and issubclass(owner, known.Contract)):
        return None, ""
    return owner, item.name.removeprefix(known.PREFIX)
