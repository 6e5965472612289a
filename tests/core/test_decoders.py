"""What decoders share: their rows, what of them is trained, the order of frames, streams, and kinds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tinyllava_kit import KitError
from tinyllava_kit.core.decoders import HiddenDecoder, TextDecoder, TokenDecoder, TokenEmbeddings, check_kind
from tinyllava_kit.core.ids import ParallelStream


class Counting(TokenDecoder):
    """Items are lists of numbers below 5, one id each; `layer` is a weight of its own."""

    ranges, follows, parallel = {"a": 5}, TokenDecoder.cycle(["a"]), {"s": ParallelStream(size=3, on=("a",))}

    def __init__(self) -> None:
        super().__init__({})
        self.layer, self.rows = nn.Linear(2, 2), TokenEmbeddings(7, 4)

    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        raise NotImplementedError

    def num_ids(self, item: Any) -> int:
        raise NotImplementedError

    def encode(self, item: Any) -> torch.Tensor:
        raise NotImplementedError

    def decode(self, ids: torch.Tensor) -> Any:
        return ids.tolist()


class OfWords(HiddenDecoder):
    """Trains its `layer`; `still` stays."""

    def __init__(self, trains: bool = True) -> None:
        super().__init__({"a": 1}, 3)
        self.trains, self.layer, self.still = trains, nn.Linear(3, 2), nn.Linear(3, 2)

    def trained_modules(self):
        return [self.layer] if self.trains else []

    read_config = classmethod(Counting.read_config.__func__)
    num_ids = encode = decode = targets = losses = make = Counting.num_ids
    loss_weights = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a"], {"begin": ("a",), "a": ("a", "end")}),
        (["a", "b", "c"], {"begin": ("a",), "a": ("b",), "b": ("c",), "c": ("a", "end")}),
    ],
)
def test_frames_are_a_cycle_that_ends_behind_a_whole_one(names, expected):
    assert TokenDecoder.cycle(names) == expected


def test_rows_are_spread_as_the_llms_own():
    torch.manual_seed(0)
    rows = TokenEmbeddings(400, 30)
    assert rows.embedding.std().item() == pytest.approx(0.02, rel=0.05)
    rows.spread_like(torch.randn(90, 30) * 3, (torch.randn(90, 30) * 0.5).bfloat16())
    assert rows.embedding.std().item() == pytest.approx(3, rel=0.05)
    assert rows.head.std().item() == pytest.approx(0.5, rel=0.05)
    assert {each.dtype for each in rows.parameters()} == {torch.float32}


def test_what_is_trained_is_all_that_can_be_opened():
    for decoder, trained in ((Counting(), "rows"), (OfWords(), "layer")):
        decoder.requires_grad_(True)
        opened = {name.partition(".")[0] for name, each in decoder.named_parameters() if each.requires_grad}
        assert opened == {trained}
        decoder.requires_grad_(False)
        assert not any(each.requires_grad for each in decoder.parameters())


def test_ranges_and_streams_count_together_as_much_as_the_text():
    assert Counting().loss_weights == {"a": 0.5, "s": 0.5}


def test_a_stream_of_a_decoder_that_has_none_gives_all_at_the_end():
    stream = Counting().stream()
    assert stream.finish() is None
    assert [stream.push(torch.tensor(each)) for each in ([1, 2], [3])] == [None, None]
    assert stream.finish() == [1, 2, 3]


def test_the_zero_of_a_decoder_without_an_item_holds_all_that_is_trained():
    decoder = OfWords().requires_grad_(True)
    zero = decoder.dummy()
    zero.backward()
    assert (zero.shape, zero.item(), zero.dtype) == ((), 0.0, torch.float32)
    assert all(each.grad is not None and not each.grad.any() for each in decoder.layer.parameters())
    assert all(each.grad is None for each in decoder.still.parameters())
    assert OfWords(trains=False).requires_grad_(True).dummy().item() == 0.0


def test_a_class_of_another_kind_than_its_spec_says_is_refused():
    check_kind(Counting, "count", "tokens")
    check_kind(OfWords, "words", "hidden")
    check_kind(TextDecoder, "text", "text")
    with pytest.raises(KitError, match="'count' says that it reads 'hidden', and Counting is no HiddenDecoder; report"):
        check_kind(Counting, "count", "hidden")
    with pytest.raises(KitError, match="says that it reads 'tea', and Counting is no decoder of that kind; report it"):
        check_kind(Counting, "count", "tea")
