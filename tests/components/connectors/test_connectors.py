"""What every connector of the kit promises, whatever it computes."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.components.connectors.building import GRID, build
from tinyllava_kit.components.connectors.plugin import tinyllava_connectors
from tinyllava_kit.core.interfaces import Connector, Features
from tinyllava_kit.testing.no_sync import NoSync

SEQUENCE_NAMES = ("stack_mlp", "conv_mlp", "avgpool_mlp", "window_qformer")
NAMES = (
    *(
        "identity",
        "linear",
        "mlp1x_gelu",
        "mlp2x_gelu",
        "mlp3x_gelu",
        "resampler",
        "qformer",
        "pixel_shuffle_mlp",
        "ldpv2",
    ),
    *SEQUENCE_NAMES,
)


def test_every_offered_connector_is_in_these_tests():
    assert all(any(spec.matches(name) for name in NAMES) for spec in tinyllava_connectors())


@pytest.mark.parametrize("name", NAMES)
def test_connector_is_a_connector_without_buffers(name):
    connector = build(name)
    assert isinstance(connector, Connector)
    assert list(connector.buffers()) == []


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    num_items=st.integers(1, 3),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    in_dim=st.integers(1, 9),
    out_dim=st.integers(1, 9),
)
def test_num_tokens_is_the_number_of_rows(name, num_items, height, width, in_dim, out_dim):
    grid = (2 * height, 2 * width)
    connector = build(name, in_dim, out_dim, grid)
    rows = connector(Features(torch.randn(num_items, grid[0] * grid[1], in_dim), grid=grid))
    assert rows.shape == (num_items, connector.num_tokens(grid[0] * grid[1]), connector.out_dim)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_item_is_the_same_alone_and_padded_in_a_batch(name, dtype):
    connector = build(name).to(dtype)
    lengths = torch.tensor([24, 12])
    features = torch.randn(2, 24, 7, dtype=dtype)
    features[1, 12:] = 1e3  # what would show if it leaked
    with torch.no_grad():
        together = connector(Features(features, lengths, GRID))
        alone = connector(Features(features[1:, :12], grid=(2, 6)))
    num_rows = connector.num_tokens(12)
    assert alone.shape[1] == num_rows
    torch.testing.assert_close(together[1, :num_rows], alone[0], atol=1e-6 if dtype == torch.float32 else 5e-2, rtol=0)


@pytest.mark.parametrize("name", ["resampler", "qformer"])
def test_the_order_of_features_does_not_matter_to_learned_rows(name):
    connector = build(name)
    features = torch.randn(2, 24, 7)
    with torch.no_grad():
        torch.testing.assert_close(
            connector(Features(features)), connector(Features(features.flip(1))), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("name", ["resampler", "qformer", *SEQUENCE_NAMES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_item_without_features_gives_finite_rows(name, dtype):
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        rows = build(name)(Features(torch.randn(2, 24, 7), torch.tensor([24, 0])))
    assert rows.isfinite().all()


@pytest.mark.parametrize("num_features", [12, 24])
@pytest.mark.parametrize("name", NAMES)
def test_the_sources_of_a_row_are_the_features_that_it_depends_on(name, num_features):
    connector = build(name)
    features = torch.randn(1, num_features, 7, requires_grad=True)
    rows = connector(Features(features, grid=(num_features // GRID[1], GRID[1])))[0]
    found = []
    for row in rows:
        [slope] = torch.autograd.grad((row * torch.randn_like(row)).sum(), features, retain_graph=True)
        found.append(slope[0].abs().sum(-1).nonzero().flatten().tolist())
    everything = [list(range(num_features))] * len(found)
    assert found == (connector.sources(num_features) or everything)
    assert (connector.sources(num_features) is None) == (name in ("resampler", "qformer"))


@pytest.mark.parametrize("name", ["pixel_shuffle_mlp", "ldpv2"])
def test_the_sources_of_features_that_do_not_fold_are_not_known(name):
    assert build(name).sources(7) is None


@pytest.mark.parametrize("name", NAMES)
def test_forward_never_waits_for_the_device(name):
    connector = build(name)
    with NoSync(), torch.no_grad():
        connector(Features(torch.randn(2, 24, 7), torch.tensor([24, 12]), GRID))


@pytest.mark.parametrize("name", NAMES)
def test_forward_is_one_graph(name):
    connector = build(name)
    features = Features(torch.randn(2, 24, 7), torch.tensor([24, 12]), GRID)
    compiled = torch.compile(connector, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(features), connector(features))


@pytest.mark.parametrize("name", sorted({*NAMES} - {"identity"}))
def test_every_parameter_gets_a_gradient(name):
    connector = build(name).train()
    connector(Features(torch.randn(2, 24, 7))).square().sum().backward()
    assert [key for key, p in connector.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_connector_can_be_built_without_memory_for_its_arithmetic(name):
    with torch.device("meta"):
        connector = build(name)
    assert all(parameter.is_meta for parameter in connector.parameters())
    assert connector.num_tokens(24) == build(name).num_tokens(24)


@pytest.mark.parametrize("name", ["resampler", "qformer"])
def test_reset_parameters_fills_what_no_submodule_owns(name):
    connector = build(name)
    raw = dict(connector.named_parameters(recurse=False))
    assert all(0 < parameter.std() < 2 for parameter in raw.values())  # filled when built
    others = {key: copy.deepcopy(value) for key, value in connector.state_dict().items() if key not in raw}
    for parameter in raw.values():
        torch.nn.init.constant_(parameter, float("nan"))
    connector.reset_parameters()
    assert len(raw) == 1
    assert all(0 < parameter.std() < 2 for parameter in raw.values())
    assert all(torch.equal(connector.state_dict()[key], value) for key, value in others.items())
