"""The connectors for long sequences against loops over single items, and what padding may not do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests import toys
from tinyllava_kit import TinyLlavaForConditionalGeneration, assemble
from tinyllava_kit.components.connectors.average_pool import AveragePoolMLP
from tinyllava_kit.components.connectors.conv import ConvMLP
from tinyllava_kit.components.connectors.stack import StackMLP
from tinyllava_kit.components.connectors.window_qformer import WindowQFormer
from tinyllava_kit.core.interfaces import Features
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import ItemSpan, TextSpan
from tinyllava_kit.errors import KitError

E, D = 7, 11
TINY = {"hidden_dim": 12, "num_heads": 3, "mlp_dim": 14}  # of a Q-Former
CLASSES = {"stack_mlp": StackMLP, "conv_mlp": ConvMLP, "avgpool_mlp": AveragePoolMLP, "window_qformer": WindowQFormer}
SMALL = {
    "stack_mlp": {"factor": 3, "hidden_dim": 13},
    "conv_mlp": {"num_layers": 2, "hidden_dim": 13},
    "avgpool_mlp": {"factor": 3, "hidden_dim": 13},
    "window_qformer": {"window": 5, "num_queries": 2, **TINY},
}
every_connector = pytest.mark.parametrize("name", CLASSES)


def build(name, **options):
    torch.manual_seed(0)
    return CLASSES[name](in_dim=E, out_dim=D, **{**SMALL[name], **options}).eval()


# The same, slowly: one item, no padding, no batch.


def slow_mlp(connector, row):
    """The layers at the end, written out, for one row."""
    weights = dict(connector.mlp.named_parameters())
    mean, variance = row.mean(), row.var(unbiased=False)
    row = (row - mean) / (variance + 1e-5).sqrt() * weights["0.weight"] + weights["0.bias"]
    hidden = F.gelu(weights["1.weight"] @ row + weights["1.bias"])
    return weights["3.weight"] @ hidden + weights["3.bias"]


def slow_stack_mlp(connector, item):
    rows = []
    for start in range(0, len(item), connector.factor):
        frames = [item[at] if at < len(item) else torch.zeros(E) for at in range(start, start + connector.factor)]
        rows.append(slow_mlp(connector, torch.cat(frames)))
    return rows


def slow_conv_mlp(connector, item):
    frames = list(item)
    for conv in connector.convs:
        framed = [torch.zeros(E), *frames, torch.zeros(E)]
        frames = [
            F.gelu(conv.bias + sum(conv.weight[:, :, k] @ framed[start + k] for k in range(3)))
            for start in range(0, len(framed) - 2, 2)
        ]
    return [slow_mlp(connector, frame) for frame in frames]


def slow_avgpool_mlp(connector, item):
    starts = range(0, len(item), connector.factor)
    return [slow_mlp(connector, item[start : start + connector.factor].mean(0)) for start in starts]


def slow_window_qformer(connector, item):
    """transformers' Q-Former on each window by itself, with no mask."""
    rows = []
    for start in range(0, len(item), connector.window):
        window = item[start : start + connector.window]
        inner = connector.qformer
        found = inner.qformer(query_embeds=inner.query_tokens, encoder_hidden_states=window[None]).last_hidden_state[0]
        rows += list(found @ inner.projector.weight.T + inner.projector.bias)
    return rows


SLOW = {
    "stack_mlp": slow_stack_mlp,
    "conv_mlp": slow_conv_mlp,
    "avgpool_mlp": slow_avgpool_mlp,
    "window_qformer": slow_window_qformer,
}
OPTIONS = {
    "stack_mlp": st.fixed_dictionaries({"factor": st.integers(1, 6)}),
    "conv_mlp": st.fixed_dictionaries({"num_layers": st.integers(1, 4)}),
    "avgpool_mlp": st.fixed_dictionaries({"factor": st.integers(1, 6)}),
    "window_qformer": st.fixed_dictionaries({"window": st.integers(1, 7), "num_queries": st.integers(1, 3)}),
}
GARBAGE = st.sampled_from([1e3, float("inf"), float("nan")])


def batch_of(lengths, garbage, padding=0, width=E):
    """Random items of these lengths in one batch; past them stands what a connector may not see."""
    generator = torch.Generator().manual_seed(sum(lengths))
    features = torch.randn(len(lengths), max(lengths) + padding, width, generator=generator)
    for item, length in zip(features, lengths, strict=True):
        item[length:] = garbage
    return Features(features, torch.tensor(lengths))


@every_connector
@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    lengths=st.lists(st.integers(0, 19), min_size=1, max_size=4),
    padding=st.integers(0, 5),
    junk=GARBAGE,
)
def test_rows_and_counts_are_those_of_the_slow_loop(name, data, lengths, padding, junk):
    connector = build(name, **data.draw(OPTIONS[name]))
    features = batch_of(lengths, junk, padding)
    with torch.no_grad():
        found = connector(features)
        assert found.shape == (len(lengths), connector.num_tokens(max(lengths) + padding), D)
        for rows, item, length in zip(found, features.features, lengths, strict=True):
            expected = SLOW[name](connector, item[:length])
            assert len(expected) == connector.num_tokens(length)
            for row, slow_row in zip(rows[: len(expected)], expected, strict=True):
                assert (row - slow_row).abs().max() < 1e-5


@every_connector
@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 19), longer=st.integers(0, 9), junk=GARBAGE)
def test_an_item_alone_without_lengths_is_the_same_in_a_batch(name, length, longer, junk):
    connector = build(name)
    features = batch_of([length, length + longer], junk)
    with torch.no_grad():
        alone = connector(Features(features.features[:1, :length]))[0]
        together = connector(features)[0, : len(alone)]
    assert len(alone) == connector.num_tokens(length)
    assert (together - alone).abs().max() < 1e-5


@every_connector
def test_gradients_are_finite_and_none_comes_from_padding(name):
    connector = build(name)
    lengths = [17, 4, 0]
    grads = []
    for junk in (1e3, float("nan")):
        features = batch_of(lengths, junk)
        features.features.requires_grad_()
        connector.zero_grad()
        found = connector(features)
        counts = [connector.num_tokens(length) for length in lengths]
        torch.cat([rows[:count] for rows, count in zip(found, counts, strict=True)]).square().sum().backward()
        for item, length in zip(features.features.grad, lengths, strict=True):
            assert item[:length].abs().sum(-1).all()  # each real feature has a say
            assert (item[length:] == 0).all()
        grads.append({key: parameter.grad for key, parameter in connector.named_parameters()})
    for key, grad in grads[0].items():
        assert grad.isfinite().all()
        assert torch.equal(grad, grads[1][key]), key


@every_connector
def test_no_features_are_no_rows(name):
    connector = build(name)
    assert connector.num_tokens(0) == 0
    for lengths in (None, torch.tensor([0, 0])):
        assert connector(Features(torch.randn(2, 0, E), lengths)).shape == (2, 0, D)
    assert connector(Features(torch.randn(0, 9, E))).shape == (0, connector.num_tokens(9), D)


@every_connector
def test_a_raster_changes_nothing(name):
    features = torch.randn(2, 24, E)
    with torch.no_grad():
        plain = build(name)(Features(features))
        assert torch.equal(build(name, grid=(4, 6))(Features(features, grid=(4, 6))), plain)


@pytest.mark.slow
@every_connector
def test_batches_of_several_lengths_are_one_graph_each_time(name):
    connector = build(name)
    compiled = torch.compile(connector, fullgraph=True, backend="eager", dynamic=True)
    for lengths in ([23, 12], [31, 0], [17, 17]):
        features = batch_of(lengths, 1e3)
        with torch.no_grad():
            torch.testing.assert_close(compiled(features), connector(features))


@pytest.mark.parametrize(
    ("name", "options", "counts"),
    [
        ("stack_mlp", {"factor": 5}, {1: 1, 5: 1, 6: 2, 49: 10, 499: 100, 1499: 300}),
        ("stack_mlp", {"factor": 8}, {1: 1, 8: 1, 9: 2, 49: 7, 499: 63, 1499: 188}),
        ("avgpool_mlp", {"factor": 2}, {1: 1, 2: 1, 3: 2, 49: 25, 1499: 750}),
        ("conv_mlp", {"num_layers": 1}, {1: 1, 2: 1, 3: 2, 49: 25, 1500: 750}),
        ("conv_mlp", {"num_layers": 3}, {1: 1, 8: 1, 9: 2, 49: 7}),
        ("window_qformer", {"window": 15, "num_queries": 3}, {1: 3, 15: 3, 16: 6, 49: 12, 1499: 300}),
    ],
)
def test_counts_that_others_have_written_down(name, options, counts):
    connector = build(name, **options)
    assert {count: connector.num_tokens(count) for count in counts} == counts


@pytest.mark.parametrize(
    ("name", "width"), [("stack_mlp", 3 * E), ("avgpool_mlp", E), ("conv_mlp", E)], ids=["stack", "avgpool", "conv"]
)
def test_a_hidden_dim_of_nothing_is_the_width_of_the_llm(name, width):
    sizes = [tuple(p.shape) for key, p in build(name, hidden_dim=0).mlp.named_parameters() if key.endswith("weight")]
    assert sizes == [(width,), (D, width), (D, D)]


@pytest.mark.parametrize("name", ["stack_mlp", "avgpool_mlp"])
def test_the_scale_of_a_tower_does_not_matter(name):
    features = torch.randn(2, 9, E)
    with torch.no_grad():
        small, large = (build(name)(Features(scale * features)) for scale in (1, 1000))
    torch.testing.assert_close(large, small, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("stack_mlp", {"factor": 0}, "stack_mlp: factor must be 1 or more, got 0"),
        ("stack_mlp", {"hidden_dim": -1}, "stack_mlp: hidden_dim must be 1 or more, got -1"),
        ("conv_mlp", {"num_layers": 0}, "conv_mlp: num_layers must be 1 or more, got 0"),
        ("conv_mlp", {"hidden_dim": -2}, "conv_mlp: hidden_dim must be 1 or more, got -2"),
        ("avgpool_mlp", {"factor": -3}, "avgpool_mlp: factor must be 1 or more, got -3"),
        ("avgpool_mlp", {"hidden_dim": -1}, "avgpool_mlp: hidden_dim must be 1 or more, got -1"),
        ("window_qformer", {"window": 0}, "window_qformer: window must be 1 or more, got 0"),
        ("window_qformer", {"num_queries": 0}, "window_qformer: num_queries must be 1 or more, got 0"),
        ("window_qformer", {"num_heads": 5}, "a Q-Former needs .* hidden_dim that num_heads divides, got"),
    ],
)
def test_sizes_that_cannot_be_are_refused(name, options, said):
    with pytest.raises(KitError, match=said) as caught:
        build(name, **options)
    assert "\n" not in str(caught.value)


def logits(model, features):
    """Of a model that is given the features of one item in each sample; by sample, padding left out."""
    connector, lengths = model.connectors["image"], features.lengths.tolist()
    inputs, planned = plan(
        [[TextSpan([1, 5]), ItemSpan("image", connector.num_tokens(n)), TextSpan([6])] for n in lengths]
    )
    items = {"image": {"features": features.features, "lengths": features.lengths}}
    with torch.no_grad():
        found = model(**inputs, items=items, plan=planned).logits
    return [rows[mask] for rows, mask in zip(found, planned.attention_mask.bool(), strict=True)]


@every_connector
def test_a_whole_model_is_the_same_in_a_batch_and_after_loading(name, tmp_path):
    options = {f"connector.image.{key}": value for key, value in SMALL[name].items()}
    model, _ = assemble(toys.picture_assembly(toys.save_llama(tmp_path / "llm"), name, **options))
    model.eval().save_pretrained(tmp_path / "model")
    again = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert all(torch.equal(again.state_dict()[key], value) for key, value in model.state_dict().items())
    features = batch_of([23, 8], 1e3, width=model.connectors["image"].in_dim)
    alone = [
        logits(model, Features(features.features[at : at + 1, :n], torch.tensor([n])))[0] for at, n in ((0, 23), (1, 8))
    ]
    for found in (logits(model, features), logits(again, features)):
        assert all((a - b).abs().max() < 1e-4 for a, b in zip(found, alone, strict=True))
