"""The contract of a decoder that reads a text."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ..core.decoders import TextDecoder
from ..core.interfaces import Modality
from ..plugin.specs import DecoderSpec
from .comparing import check_refused, same, through_json
from .contract import check
from .loaded import LoadedContract
from .offered import modality_of
from .specified import SpecifiedContract


class TextDecoderContract(SpecifiedContract, LoadedContract):
    """What holds for a decoder that turns the text of an answer into an item.

    An author gives `toy_checkpoint`, where it takes one.
    """

    kind = "decoder"
    modality_class: ClassVar[type[Modality] | None] = None

    def texts(self) -> Sequence[str]:
        """At least three that differ, some of several sentences."""
        return ("a red cat", "Yes. It is blue, and small.", "no")

    def modality(self) -> Modality:
        """What its items are read and written by."""
        return modality_of_decoder(self)

    def load(self, checkpoint: str) -> nn.Module:
        """See `LoadedContract.load`."""
        return self.build(self.given_options, checkpoint)

    def build(self, options: Mapping[str, Any], checkpoint: str) -> TextDecoder:
        """The decoder with its weights, in eval."""
        decoder: TextDecoder = self.component(through_json(self.component.read_config(checkpoint, **options)))
        decoder.load_weights(checkpoint)
        return decoder.eval()

    @check("decode: an item as the modality reads it, of the text alone; keep nothing between texts")
    def test_decode(self) -> None:
        """An item of the modality for each text, the same each time, another for another text."""
        modality, decoder = self.modality(), self.build(self.given_options, self.checkpoint)
        texts = self.texts()
        alone = [_decoded(self.build(self.given_options, self.checkpoint), text) for text in texts]
        for number, item in enumerate(alone):
            assert same(modality.read(item), item), f"the item decoded from text {number} is no item of the modality"
            for other in alone[:number]:
                assert not same(item, other), f"text {number} gives the item of another text"
        for number in (*range(len(texts)), *reversed(range(len(texts)))):
            assert same(_decoded(decoder, texts[number]), alone[number]), f"text {number}: another item behind others"

    @check("decode: raise a KitError of one line where there is nothing in the text to turn into an item")
    def test_empty(self) -> None:
        """An empty text is refused."""
        decoder = self.build(self.given_options, self.checkpoint)
        for text in ("", " \n "):
            check_refused(lambda text=text: decoder.decode(text), f"decode of {text!r}")

    @check("config: plain JSON from which the decoder is built again, and no buffer that is not saved")
    def test_saved(self) -> None:
        """Built of its configuration, with its state, it gives the same items."""
        decoder = self.build(self.given_options, self.checkpoint)
        again = self.component(through_json(decoder.config)).eval()
        again.load_state_dict(decoder.state_dict())
        text = self.texts()[0]
        assert same(_decoded(again, text), _decoded(decoder, text)), "saved and loaded, it gives another item"

    def effect(self, options: Mapping[str, Any]) -> Any:
        """The items of its texts."""
        decoder = self.build(options, self.checkpoint)
        return [_decoded(decoder, text) for text in self.texts()]


def modality_of_decoder(contract: Any) -> Modality:
    """The modality of a decoder's items: the contract's `modality_class`, or that of the spec.

    Raises:
        NotImplementedError: the contract names neither.
    """
    if contract.modality_class is not None:
        own: Modality = contract.modality_class()
        return own
    if not isinstance(contract.spec, DecoderSpec) or contract.catalog is None:
        raise NotImplementedError(f"{type(contract).__name__} must give modality_class")
    return modality_of(contract.spec, contract.catalog)


def _decoded(decoder: TextDecoder, text: str) -> Any:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    return decoder.decode(text)
