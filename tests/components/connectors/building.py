"""Connectors of toy sizes, as a user names them."""

from __future__ import annotations

import torch

from tinyllava_kit.components.connectors.plugin import tinyllava_connectors
from tinyllava_kit.plugin.specs import load

SMALL = {
    "resampler": {"num_queries": 5, "num_layers": 2},
    "qformer": {"num_queries": 5, "num_layers": 3, "hidden_dim": 12, "num_heads": 3, "mlp_dim": 14},
    "window_qformer": {"window": 7, "num_queries": 2, "hidden_dim": 12, "num_heads": 3, "mlp_dim": 14},
}
GRID = (4, 6)


def spec_of(name):
    return next(spec for spec in tinyllava_connectors() if spec.matches(name))


def build(name, in_dim=7, out_dim=11, grid=GRID):
    """The connector that a user names, toy size, through its spec."""
    spec = spec_of(name)
    options = {**spec.check_options(SMALL.get(name, {}), "test"), **spec.name_options(name)}
    out_dim = in_dim if name == "identity" else out_dim
    torch.manual_seed(0)
    return load(spec)(in_dim=in_dim, out_dim=out_dim, grid=grid, **options).eval()
