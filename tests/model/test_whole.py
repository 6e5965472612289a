"""Of a model's decoders those that make items of words, in order."""

from __future__ import annotations

from torch import nn

from tests.core.test_decoders import Counting, OfWords
from tinyllava_kit.model.whole import Whole


class Toy(Whole, nn.Module):
    def __init__(self, **decoders: nn.Module) -> None:
        super().__init__()
        self.decoders = nn.ModuleDict(decoders)


def test_hidden_decoders_are_in_the_order_of_their_modalities() -> None:
    b, a = OfWords(), OfWords()
    found = Toy(b=b, count=Counting(), a=a).hidden_decoders()
    assert list(found.items()) == [("a", a), ("b", b)]
    assert Toy(count=Counting()).hidden_decoders() == Toy().hidden_decoders() == {}
