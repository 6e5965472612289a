"""The contract of a decoder of an LLM's ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.decoders import TokenDecoder
from ..core.ids import NO_ID, allot, sizes_of
from ..core.plan import plan
from ..core.spans import TextSpan
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.vocabulary.grammar import Grammar, Segment
from .comparing import same, through_json
from .contract import check
from .decoder_models import END_ID, TEXT_IDS, model_with
from .item_decoders import ItemDecoderContract


class TokenDecoderContract(ItemDecoderContract):
    """What holds for a decoder that turns ids into items: its arithmetic, its order, and an LLM that learns it.

    With parallel streams, too: their ids stand where the decoder says, are learned and generated.

    The LLM is a toy: two layers, a vocabulary of a few ids, in front of the decoder's own.

    A codec that was never trained gives one id for everything: fill its codebooks from what its encoder makes of the
    items before anything is tested with it. `min_used` sees to it.
    """

    # How many different ids of a range the items use together, as a share of the range or of all that they have there.
    min_used: ClassVar[float] = 0.25
    # Steps in which the toy learns four items at most.
    max_steps: ClassVar[int] = 400

    def coder(self, options: Mapping[str, Any], checkpoint: str) -> TokenDecoder:
        """See `ItemDecoderContract.coder`."""
        decoder: TokenDecoder = self.component(self.component.read_config(checkpoint, **options))
        decoder.load_weights(checkpoint)
        return decoder.eval()

    def build(self, checkpoint: str) -> TokenDecoder:
        """The decoder with its weights, in eval."""
        return self.coder(self.given_options, checkpoint)

    @check("num_ids, encode, ranges or follows: ids in the ranges, in the order of follows, as many as num_ids says")
    def test_counts(self) -> None:
        """By arithmetic, also of what was decoded; and ids are in the ranges, in the order that is stated."""
        decoder = self.build(self.checkpoint)
        grammar = _grammar(decoder)
        for number, item in enumerate(self.items()):
            ids = decoder.encode(item)
            assert ids.dtype == torch.int64, f"item {number}: ids are {ids.dtype}"
            shape = (len(ids), 1 + len(decoder.parallel)) if decoder.parallel else (len(ids),)
            assert ids.shape == shape, f"item {number}: ids have shape {tuple(ids.shape)}, expected {shape}"
            assert decoder.num_ids(item) == len(ids), f"item {number}: {decoder.num_ids(item)} counted, {len(ids)} ids"
            grammar.enclosed("it", ids, f"item {number}")
            again = decoder.num_ids(decoder.decode(ids))
            assert again == len(ids), f"item {number}: {len(ids)} ids become an item of {again}"

    @check("encode and decode: keep nothing from one item to the next")
    def test_stateless(self) -> None:
        """No state is left from one item to the next, neither coding nor decoding; ids survive JSON."""
        decoder = self.build(self.checkpoint)
        items = list(self.items())
        alone = [self.build(self.checkpoint).encode(item) for item in items]
        for number in (*range(len(items)), *reversed(range(len(items)))):
            ids = decoder.encode(items[number])
            assert torch.equal(ids, alone[number]), f"item {number} has other ids behind others than alone"
            first, again = (decoder.decode(torch.tensor(through_json(ids.tolist()))) for _ in range(2))
            assert same(first, again), f"item {number}: the same ids give another item the second time"

    @check("stream: its chunks, joined by the modality, are what decode gives")
    def test_stream(self) -> None:
        """However many steps are pushed at a time."""
        decoder, modality = self.build(self.checkpoint), self.modality()
        grammar = _grammar(decoder)
        for number, item in enumerate(self.items()):
            ids = decoder.encode(item)
            whole = decoder.decode(ids)
            whole_row = grammar.enclosed("it", ids, f"item {number}")
            ends = [n for n, each in enumerate(whole_row[1:-1], 1) if grammar.may_break(each, n)]
            assert ends[-1] == len(ids), f"item {number}: it cannot be cut behind its last id"
            for step in (1, 2, 5, len(ends)):
                stream, at, chunks = decoder.stream(), 0, []
                for end in dict.fromkeys([*ends[step - 1 :: step], ends[-1]]):
                    chunks.append(stream.push(ids[at:end]))
                    at = end
                chunks = [chunk for chunk in (*chunks, stream.finish()) if chunk is not None]
                assert same(modality.join(chunks), whole), f"item {number}, {step} steps at a time: not the whole"

    @check("encode; or the toy checkpoint: fill the codebooks from what the encoder makes of the items")
    def test_used(self) -> None:
        """Of every range with more than one: a codec that gives one id for everything proves nothing."""
        decoder = self.build(self.checkpoint)
        ids = torch.cat([decoder.encode(item) for item in self.items()])
        main, *parallel_ids = ids[:, None].T if ids.ndim == 1 else ids.T
        first, found = 0, []
        for name, size in decoder.ranges.items():
            found.append((name, size, main[(main >= first) & (main < first + size)]))
            first += size
        for (name, stream), column in zip(decoder.parallel.items(), parallel_ids, strict=True):
            found.append((name, stream.size, column[column != NO_ID]))
        for name, size, mine in found:
            possible = min(size, len(mine))
            wanted = max(min(2, size), self.min_used * possible)
            used = len(mine.unique())
            assert used >= wanted, f"range {name!r}: {used} ids of {possible}"

    @check("follows: from every range the end can be reached, and decode takes whatever it allows")
    def test_whole(self) -> None:
        """Greedy, sampled, with beams where it has no streams; one that is cut off keeps its whole steps; a
        forbidden one never begins."""
        model = self._toy()
        grammar = _grammar_of(model)
        prompt = torch.tensor([[1, 3], [1, 4]])
        speak: dict[str, Any] = {
            "force": ["it"],
            "eos_token_id": list(range(TEXT_IDS)),
            "max_new_tokens": 50,
            "pad_token_id": 0,
        }
        beams: list[dict[str, Any]] = [] if grammar.parallel else [{"do_sample": False, "num_beams": 2}]
        for how in [{"do_sample": False}, {"do_sample": True}, *beams]:
            torch.manual_seed(0)
            for segment in (segments[0] for segments in _generated(model, prompt, **speak, **how)):
                assert segment.modality == "it", f"{how}: the item that is forced does not begin"
                ids = torch.tensor(segment.ids, dtype=torch.int64)
                if segment.closed:
                    grammar.enclosed("it", ids, f"the item generated with {how}")
                _decoder(model).decode(ids)
        silent = model.generate(prompt, forbid=["it"], max_new_tokens=20, do_sample=True, pad_token_id=0)
        assert int(silent.max()) < grammar.first, "a forbidden item begins"

    @check("the decoder: train its rows and nothing else, unless trained_modules names it")
    def test_llm(self) -> None:
        """Its logits are bit-equal with the decoder and without; one step changes the rows and nothing else."""
        model = self._toy()
        ids = torch.tensor([[1, 3, 2, 5]])
        with torch.no_grad():
            own, extended = model.language_model(input_ids=ids).logits, model(ids).logits
        assert torch.equal(extended[..., : own.shape[-1]], own), "the LLM's own logits are others with the decoder"
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self._learn(model, [([1, 3], _ids_of(model, self.items()[0]))], steps=1, rows_alone=True)
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        expected = {"decoders.it.rows.embedding", "decoders.it.rows.head"}
        assert changed == expected, f"one step changed {sorted(changed)}"

    @check("encode, decode and parallel: ids that a small LLM learns give the items back")
    def test_learned(self) -> None:
        """Each by its own prompt: ids and items are equal, and the prompts do not give one another's."""
        model = self._toy()
        answers = [_ids_of(model, item) for item in self.items()[:4]]
        prompts = [[1, 3 + number] for number in range(4)]
        assert len(set(map(str, answers))) == 4, "four items have fewer than four sequences of ids"
        self._learn(model, list(zip(prompts, answers, strict=True)), steps=self.max_steps)
        grammar, decoder, items = _grammar_of(model), _decoder(model), self.items()
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            how = {"do_sample": False, "max_new_tokens": len(answer.ids) + 1, "pad_token_id": 0}
            (got,) = _generated(model, torch.tensor([prompt]), **how)
            wanted = grammar.segments([*answer.ids, END_ID], answer.parallel)
            right = sum(a == b for a, b in zip(got[0].ids, wanted[0].ids, strict=False))
            assert got == wanted, f"item {number} is not learned: {right} ids of {len(wanted[0].ids)} are right"
            decoded = decoder.decode(torch.tensor(got[0].ids))
            expected = decoder.decode(decoder.encode(items[number]))
            assert same(decoded, expected), f"item {number}: equal ids give another item"

    def _toy(self) -> TinyLlavaForConditionalGeneration:
        decoder = self.component(self.component.read_config(self.checkpoint, **self.given_options))
        ids = {"it": dict(decoder.ranges)}, {"it": decoder.parallel}
        model = model_with(decoder, "tokens", token_ranges=allot(ids[0], TEXT_IDS), parallel_streams=sizes_of(ids[1]))
        _decoder(model).load_weights(self.checkpoint)
        return model.eval()

    def _learn(
        self,
        model: TinyLlavaForConditionalGeneration,
        samples: Sequence[tuple[list[int], TextSpan]],
        *,
        steps: int,
        rows_alone: bool = False,
    ) -> None:
        """Until every id is the likeliest at its place with some to spare, or the steps are over."""
        end = TextSpan([END_ID], [END_ID])
        inputs, layout = plan([[TextSpan(prompt), answer, end] for prompt, answer in samples])
        model.requires_grad_(False)
        _decoder(model).requires_grad_(True)
        model.language_model.requires_grad_(not rows_alone)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
        model.train()
        for _ in range(steps):
            out = model(**inputs, plan=layout)
            if float(out.target_losses.max()) < 0.1:
                break
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
        model.eval()


def _grammar(decoder: TokenDecoder) -> Grammar:
    ranges, parallel, break_points = (
        allot({"it": dict(decoder.ranges)}, TEXT_IDS),
        {"it": decoder.parallel},
        {"it": decoder.break_points},
    )
    return Grammar(ranges, {"it": decoder.follows}, TEXT_IDS, parallel=parallel, break_points=break_points)


def _decoder(model: TinyLlavaForConditionalGeneration) -> TokenDecoder:
    decoder = model.decoders["it"]
    assert isinstance(decoder, TokenDecoder)
    return decoder


def _ids_of(model: TinyLlavaForConditionalGeneration, item: Any) -> TextSpan:
    ids = model.ids_of("it", item)
    assert isinstance(ids, TextSpan)
    return ids


def _grammar_of(model: TinyLlavaForConditionalGeneration) -> Grammar:
    assert model.extension is not None
    return model.extension.grammar


def _generated(model: TinyLlavaForConditionalGeneration, prompt: Tensor, **how: Any) -> list[list[Segment]]:
    """What the model writes behind each prompt, in segments."""
    grammar = _grammar_of(model)
    chosen: list[Tensor] = []
    new = model.generate(prompt, parallel=chosen, **how)[:, prompt.shape[1] :]  # (B, new)
    parallel_ids = grammar.written(new, chosen).tolist() if chosen else [None] * len(new)
    return [grammar.segments(row, parallel) for row, parallel in zip(new.tolist(), parallel_ids, strict=True)]
