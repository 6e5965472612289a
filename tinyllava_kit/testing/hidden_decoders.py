"""The contract of a decoder that makes an item of an LLM's hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.decoders import HiddenDecoder
from ..core.plan import ModelInputs, Plan, plan
from ..core.spans import GeneratedSpan, TextSpan
from ..errors import KitError
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.vocabulary.extension import token_sampler
from ..model.vocabulary.target_ids import targets_of
from .comparing import check_close, same, through_json
from .contract import check
from .decoder_models import END_ID, model_with, tiny_llm_config
from .item_decoders import ItemDecoderContract


class HiddenDecoderContract(ItemDecoderContract):
    """What holds for a decoder that makes items of what the LLM holds of its words: its arithmetic, and its learning.

    The LLM is a toy of two layers that is never trained. `options` are sizes that learn four items in a minute.
    """

    # Steps in which four items are learned at most.
    max_steps: ClassVar[int] = 400

    def coder(self, options: Mapping[str, Any], checkpoint: str) -> HiddenDecoder:
        """See `ItemDecoderContract.coder`."""
        decoder: HiddenDecoder = self.of_config(self.component.read_config(checkpoint, **options))
        decoder.load_weights(checkpoint)
        return decoder.eval()

    def of_config(self, config: Mapping[str, Any]) -> HiddenDecoder:
        """See `ItemDecoderContract.of_config`."""
        decoder: HiddenDecoder = self.component(config, tiny_llm_config().hidden_size)
        return decoder

    @check("num_ids and encode: as many ids as num_ids says, by arithmetic")
    def test_counts(self) -> None:
        """By arithmetic, also of what was decoded; ids survive JSON, and none is left from one item to the next."""
        decoder = _decoder(self._toy())
        alone = [_decoder(self._toy()).encode(item) for item in self.items()]
        for number, item in reversed(list(enumerate(self.items()))):
            ids = decoder.encode(item)
            assert ids.dtype == torch.int64, f"item {number}: ids are {ids.dtype}"
            assert decoder.num_ids(item) == len(ids), f"item {number}: {decoder.num_ids(item)} counted, {len(ids)} ids"
            assert torch.equal(ids, alone[number]), f"item {number} has other ids behind others than alone"
            decoded = decoder.decode(torch.tensor(through_json(ids.tolist())))
            again = decoder.num_ids(decoded)
            assert again == len(ids), f"item {number}: {len(ids)} ids become an item of {again}"

    @check("targets and losses: one loss for each target, none of them free; loss_weights names their groups")
    def test_targets(self) -> None:
        """Also where one word makes a long item: a target that cannot be learned is refused, and not free."""
        model = self._toy()
        decoder, item = _decoder(model), max(self.items(), key=_decoder(model).num_ids)
        inputs, layout, targets = self._layout(model, [([1, 3], [4], item)])
        assert list(targets) == ["text", *(f"it.{name}" for name in decoder.loss_weights)], "groups without a weight"
        try:
            found = model(**inputs, plan=layout)
        except KitError:
            return
        made = {group: each for group, each in found.target_groups.items() if group != "text"}
        for group, (losses, hits) in made.items():
            assert losses.shape == hits.shape == targets[group].shape, f"{group}: not as many losses as targets"
            assert bool(losses.isfinite().all()), f"{group}: a target has no finite loss"
        counted, cost = (sum(f(losses) for losses, _ in made.values()) for f in (len, lambda each: float(each.sum())))
        assert counted >= len(decoder.encode(item)) - 1, f"{counted} targets are less than the ids of the item"
        assert cost > 0, "an item costs a new decoder nothing"

    @check("losses: mask what lies behind the words and ids of each item")
    def test_batch(self) -> None:
        """Losses and gradients of items together are those of each alone."""
        model = self._toy()
        samples = [([1, 3], [5, 4, 6, 4][: 1 + number], item) for number, item in enumerate(self.items()[:4])]
        totals = torch.stack([torch.tensor([len(t) for t in self._layout(model, [s])[2].values()]) for s in samples])
        alone, gradients = self._losses(model, [[sample] for sample in samples], totals.sum(0))
        together, others = self._losses(model, [samples], totals.sum(0))
        assert alone.keys() == together.keys()
        for group, losses in alone.items():
            assert torch.allclose(together[group], losses, atol=1e-4), f"{group}: other losses in a batch"
        for name, gradient in gradients.items():
            check_close(others[name], gradient, 1e-3, f"the gradient of {name}") if gradient.any() else None

    @check("dummy: zero, in a graph of all that is trained")
    def test_dummy(self) -> None:
        """With a gradient of zero: every rank of a distributed step has the same ones to reduce."""
        model = self._toy().train()
        model.requires_grad_(False)
        decoder = _decoder(model).requires_grad_(True)
        inputs, layout, _targets = self._layout(model, [([1, 3], [4], None)])
        out = model(**inputs, plan=layout)
        out.loss.backward()
        for name, parameter in decoder.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{name}: no gradient, expected one of zero"
                assert not parameter.grad.any(), f"{name}: expected a gradient of zero"

    @check("trained_modules: what a step trains, and nothing else")
    def test_llm(self) -> None:
        """One step changes the trained weights of the decoder and nothing else."""
        model = self._toy()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self._learn(model, [([1, 3], [4, 5], self.items()[0])], steps=1)
        trained = {id(p) for module in _decoder(model).trained_modules() for p in module.parameters()}
        wanted = {name for name, parameter in model.named_parameters() if id(parameter) in trained}
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed <= wanted, f"one step changed {sorted(changed - wanted)}"
        assert changed, "one step changed nothing"

    @check("losses and make: make must give what losses has taught")
    def test_learned(self) -> None:
        """Each of its own words: items are equal, made chunk by chunk, and no words give another's."""
        model, modality = self._toy(), self.modality()
        items = self.items()[:4]
        samples = [([1, 3], [4 + number, 9][: 1 + number % 2], item) for number, item in enumerate(items)]
        self._learn(model, samples, steps=self.max_steps)
        decoder = _decoder(model)
        for number, (prompt, words, item) in enumerate(samples):
            inputs, layout = plan([[TextSpan(prompt), TextSpan(words, words), GeneratedSpan("it")]])
            made = list(decoder.make(model.words("it", inputs["input_ids"], layout), token_sampler(False, None)))
            assert made[-1].closed, f"item {number} is not ended"
            got = modality.join([chunk.item for chunk in made if chunk.item is not None])
            assert same(got, decoder.decode(decoder.encode(item))), f"item {number} is not learned"

    def effect(self, options: Mapping[str, Any]) -> Any:
        """Also the losses of an item, in training."""
        model = self._toy(options).train()
        inputs, layout, _targets = self._layout(model, [([1, 3], [4], self.items()[0])])
        torch.manual_seed(0)
        with torch.no_grad():
            found = model(**inputs, plan=layout).target_groups
        return [super().effect(options), {group: losses for group, (losses, _) in found.items()}]

    def _toy(self, options: Mapping[str, Any] | None = None) -> TinyLlavaForConditionalGeneration:
        config = self.component.read_config(self.checkpoint, **(self.given_options if options is None else options))
        model = model_with(self.component(config, tiny_llm_config().hidden_size), "hidden")
        _decoder(model).load_weights(self.checkpoint)
        return model.eval()

    def _layout(
        self, model: TinyLlavaForConditionalGeneration, samples: Sequence[tuple[list[int], list[int], Any]]
    ) -> tuple[ModelInputs, Plan, dict[str, Tensor]]:
        """Prompts, words and items, as a processor lays them out."""
        decoder = _decoder(model)
        rows: list[list[TextSpan | GeneratedSpan]] = []
        for prompt, words, item in samples:
            rows.append([TextSpan(prompt), TextSpan(words, words)])
            if item is not None:
                rows[-1].append(GeneratedSpan("it", decoder.encode(item).tolist()))
            rows[-1].append(TextSpan([END_ID], [END_ID]))
        inputs, layout = plan(rows)
        return inputs, layout, targets_of(layout, None, None, {"it": decoder})

    def _losses(
        self, model: TinyLlavaForConditionalGeneration, batches: Sequence[Any], total: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The losses of each group, in order, and the gradient of their mean by the parameter's name."""
        model.requires_grad_(False)
        decoder = _decoder(model).requires_grad_(True)
        model.zero_grad()
        losses: dict[str, list[Tensor]] = {}
        for batch in batches:
            inputs, layout, targets = self._layout(model, batch)
            out = model(**inputs, plan=layout, targets=targets, num_items_in_batch=total)
            out.loss.backward()
            for group, (each, _) in out.target_groups.items():
                losses.setdefault(group, []).append(each)
        gradients = {}
        for name, parameter in decoder.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{name}: no gradient; every trained weight must be in every loss"
                gradients[name] = parameter.grad.clone()
        return {group: torch.cat(each).sort().values for group, each in losses.items()}, gradients

    def _learn(
        self,
        model: TinyLlavaForConditionalGeneration,
        samples: Sequence[tuple[list[int], list[int], Any]],
        *,
        steps: int,
    ) -> None:
        """Until every id is the likeliest at its place with some to spare, or the steps are over."""
        inputs, layout, _targets = self._layout(model, samples)
        model.requires_grad_(False)
        decoder = _decoder(model).requires_grad_(True)
        optimizer = torch.optim.Adam([p for p in decoder.parameters() if p.requires_grad], lr=3e-3)
        model.train()
        for _ in range(steps):
            out = model(**inputs, plan=layout)
            if max(float(e.max()) for g, (e, _) in out.target_groups.items() if g != "text" and len(e)) < 0.1:
                break
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
        model.eval()


def _decoder(model: TinyLlavaForConditionalGeneration) -> HiddenDecoder:
    decoder = model.decoders["it"]
    assert isinstance(decoder, HiddenDecoder)
    return decoder
