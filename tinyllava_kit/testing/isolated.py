"""Discovery of one distribution alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from ..errors import KitError, near
from ..plugin.catalog import Catalog
from ..plugin.discovery import DISABLE, disabled_names, find_plugins, installed_catalog
from ..plugin.extras import CORE


@contextmanager
def only_this_plugin(distribution: str) -> Iterator[Catalog]:
    """While it lasts, discovery finds this distribution and the kit's own components, here and in processes started.

    Raises:
        KitError: no plugin of it is installed.
    """
    rows = [row for _, row in find_plugins()]
    names = {row.distribution for row in rows}
    if distribution not in names:
        raise KitError(f"no plugin is of distribution {distribution!r}; {near(distribution, names)}")
    others = {row.name for row in rows if row.distribution not in (distribution, CORE)}
    with patch.dict(os.environ, {DISABLE: ",".join(sorted({*disabled_names(), *others}))}):
        yield installed_catalog()
