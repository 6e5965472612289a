"""What holds for decoders that write items as ids: what goes in comes out, and all of it is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.interfaces import Modality
from ..plugin.specs import DecoderSpec
from .comparing import same, through_json
from .contract import DoesNotApply, check
from .loaded import LoadedContract
from .offered import contract_of
from .specified import SpecifiedContract
from .text_decoders import modality_of_decoder


class ItemDecoderContract(SpecifiedContract, LoadedContract):
    """An author gives `toy_checkpoint` where it takes one, and `items` where those of the modality do not suit it.

    `component` and `modality_class` are needed where no spec names them.
    """

    kind = "decoder"
    modality_class: ClassVar[type[Modality] | None] = None
    # Why an item that was coded and decoded is another, where it is.
    lossy: ClassVar[str] = ""

    def items(self) -> Sequence[Any]:
        """At least four items, as the modality reads them, that differ; some of different lengths. A second is long.

        Default: those that the contract of the modality gives.
        """
        if not isinstance(self.spec, DecoderSpec) or self.catalog is None:
            raise NotImplementedError(f"{type(self).__name__} must give items()")
        modality: Any = contract_of(self.catalog.find("modality", self.spec.modality), self.catalog)()
        items: Sequence[Any] = modality.items()
        return items

    def known_ids(self) -> Sequence[tuple[Any, Sequence[Any]]]:
        """Items with the ids that are theirs, written down by hand. Default: none."""
        return ()

    def modality(self) -> Modality:
        """What its items are read and joined by."""
        return modality_of_decoder(self)

    def coder(self, options: Mapping[str, Any], checkpoint: str) -> Any:
        """The decoder, with the weights of a checkpoint, in eval."""
        raise NotImplementedError(f"{type(self).__name__} must give coder()")

    def load(self, checkpoint: str) -> nn.Module:
        """See `LoadedContract.load`; without the rows of its ids, which are new in each model."""
        coder: nn.Module = self.coder(self.given_options, checkpoint).coder
        coder._modules.pop("rows", None)
        return coder

    @check("encode and decode: decoding the encoded item gives the item; or say in `lossy` why it is another")
    def test_round_trip(self) -> None:
        """An item comes back from its ids, and has the same ids again."""
        if self.lossy:
            raise DoesNotApply(self.lossy)
        decoder = self.coder(self.given_options, self.checkpoint)
        for number, item in enumerate(self.items()):
            ids = decoder.encode(item)
            again = decoder.decode(ids)
            assert same(again, item), f"item {number} is another after it was coded and decoded"
            assert torch.equal(decoder.encode(again), ids), f"item {number}: coded again, it has other ids"

    @check("encode: the ids that known_ids says")
    def test_known(self) -> None:
        """Items have the ids that were written down for them."""
        decoder, known = self.coder(self.given_options, self.checkpoint), self.known_ids()
        if not known:
            raise DoesNotApply("no known_ids() to compare with; an order that both encode and decode turn is not seen")
        for number, (item, ids) in enumerate(known):
            got = decoder.encode(item).tolist()
            assert got == [*ids], f"known item {number} has ids {got[:12]}, expected {[*ids][:12]}"
            assert same(decoder.decode(torch.tensor(ids)), item), f"the ids of known item {number} give another item"

    @check("config: plain JSON from which the decoder is built again, and no buffer that is not saved")
    def test_saved(self) -> None:
        """Built of its configuration, with its state, it gives the same ids and items."""
        decoder = self.coder(self.given_options, self.checkpoint)
        torch.manual_seed(11)
        again = self.of_config(through_json(decoder.config)).eval()
        again.load_state_dict(decoder.state_dict())
        item = self.items()[0]
        ids = decoder.encode(item)
        assert torch.equal(again.encode(item), ids), "saved and loaded, it gives other ids"
        assert same(again.decode(ids), decoder.decode(ids)), "saved and loaded, it gives another item"

    def of_config(self, config: Mapping[str, Any]) -> Any:
        """The decoder of a configuration, without weights."""
        return self.component(config)

    def effect(self, options: Mapping[str, Any]) -> Any:
        """Ids, items and the shapes of its weights."""
        decoder = self.coder(options, self.checkpoint)
        coded: list[Tensor] = [decoder.encode(item) for item in self.items()]
        shapes = [tuple(value.shape) for value in decoder.state_dict().values()]
        return [coded, [decoder.decode(ids) for ids in coded], shapes, dict(decoder.loss_weights)]
