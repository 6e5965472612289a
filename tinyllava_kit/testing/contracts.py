"""What a plugin author's tests call: contracts of towers and decoders, as classes of tests for pytest.

Subclass one in a test module, under a name that begins with ``Test``; say which tower, and give a fixture `checkpoint`
with a toy-size checkpoint of it in the hub's directory layout. Every method of the contract is then a test.

Example:
    >>> class TestMyTower(AudioTowerContract):
    ...     tower_class = MyTower
    ...     min_samples, hop_samples, window_samples = 400, 320, 480_000
    ...     window_tolerance = 0.05
    ...
    ...     @pytest.fixture
    ...     def checkpoint(self, tmp_path):
    ...         return save_a_toy(tmp_path)
    ...
    ...     def count(self, num_samples):
    ...         return (num_samples - 400) // 320 + 1

Nothing here needs pytest, and a contract's method can be called by itself: it raises AssertionError and says what is
wrong.

Legend: N rows, P features of a row, E tower width.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, PreTrainedConfig

from ..components.modalities.audio import AudioModality, Waveform
from ..core.decoders import Decoder, HiddenDecoder, TokenDecoder
from ..core.ids import NO_ID, allot, sizes_of
from ..core.interfaces import Features, Modality, Preprocessor, Tower
from ..core.plan import Plan, plan
from ..core.spans import GeneratedSpan, TextSpan
from ..errors import KitError
from ..model.configuration import TinyLlavaConfig
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.pretrained import TinyLlavaPreTrainedModel
from ..model.vocabulary.extension import token_sampler
from ..model.vocabulary.grammar import Grammar, Segment
from ..model.vocabulary.targets import targets_of
from ..plugin.catalog import Catalog, Offer
from ..plugin.specs import DecoderSpec, LanguageModelSpec
from ..processing.batch import Batch
from ..processing.processor import TinyLlavaProcessor

# Rows of a batch, by their index among the items: alone and beside others, in both orders.
_COMPANY = ((0, 1), (1, 0), (0, 1, 2), (2, 1, 0))
_SYNCS = ("_local_scalar_dense", "nonzero", "masked_select")


class TowerContract:
    """What holds for a tower of any modality.

    An author gives `tower_class`, `items` and a fixture `checkpoint`.
    """

    tower_class: ClassVar[type[Tower]]
    # Keyword arguments of `Tower.read_config`.
    options: ClassVar[Mapping[str, Any]] = {}
    # How far features may be from those of the same item alone: relative, L2, float32.
    tolerance: ClassVar[float] = 1e-5
    # The same for a tower in half precision, from the one in float32.
    half_tolerances: ClassVar[Mapping[torch.dtype, float]] = {torch.bfloat16: 0.03, torch.float16: 0.01}

    def items(self) -> Sequence[Any]:
        """At least three items, as the modality reads them, of different lengths where those may differ."""
        raise NotImplementedError(f"{type(self).__name__} must give items()")

    def build(self, checkpoint: str) -> tuple[Tower, Preprocessor]:
        """The tower with its weights, in eval, and its preprocessor. Override it to make windows toy-size."""
        config = self.tower_class.read_config(checkpoint, **self.options)
        tower = self.tower_class(config)
        tower.load_weights(checkpoint)
        return tower.eval(), self.tower_class.read_preprocessor(checkpoint, config)

    def test_what_is_counted_is_what_the_network_gives(self, checkpoint: str) -> None:
        """Shapes, lengths and grid; zeros behind each row."""
        tower, preprocessor = self.build(checkpoint)
        for item in self.items():
            counts = preprocessor.num_features(item)
            got = _encode(tower, preprocessor, [item])
            expected = (len(counts), max(counts), tower.embed_dim)
            assert got.features.shape == expected, f"counted {expected}, the network gives {tuple(got.features.shape)}"
            assert preprocessor.fixed_features in (None, *counts), f"fixed_features is none of {counts}"
            _check_lengths(got, counts)
            assert tower.grid in (None, got.grid), f"the tower says grid {tower.grid}, its features have {got.grid}"

    def test_a_row_does_not_depend_on_its_batch(self, checkpoint: str) -> None:
        """Alone, beside a longer one, beside two, in both orders."""
        tower, preprocessor = self.build(checkpoint)
        items = self.items()
        alone = [_encode(tower, preprocessor, [item]).features for item in items]  # each (N, P, E)
        for company in _COMPANY:
            counts = [count for i in company for count in preprocessor.num_features(items[i])]
            together = _encode(tower, preprocessor, [items[i] for i in company])
            _check_lengths(together, counts)
            rows = iter(together.features)
            for i in company:
                for expected in alone[i]:
                    got = next(rows)[: len(expected)]
                    _check_close(got, expected, self.tolerance, f"item {i} in a batch of {company}, and alone")

    def test_what_stands_in_the_padding_does_not_matter(self, checkpoint: str) -> None:
        """Noise a thousand times as loud, where `collate` padded."""
        tower, preprocessor = self.build(checkpoint)
        rows = [row for item in self.items() for row in preprocessor(item)]
        inputs = preprocessor.collate(rows)
        spoiled = _spoiled(inputs, [preprocessor.collate([row]) for row in rows])
        with torch.no_grad():
            expected, got = tower(**inputs).features, tower(**spoiled).features
        _check_close(got, expected, self.tolerance, "with garbage in the padding, and without")

    def test_a_frozen_tower_is_the_same_twice_and_builds_no_graph(self, checkpoint: str) -> None:
        """Also in train mode: no dropout, no layer left out, no augmentation. Give a checkpoint that has them."""
        tower, preprocessor = self.build(checkpoint)
        tower.requires_grad_(False)
        tower.train()
        inputs = preprocessor.collate([row for item in self.items() for row in preprocessor(item)])
        first, second = tower(**inputs).features, tower(**inputs).features
        assert torch.equal(first, second), "frozen, in train mode: the same input gives other features"
        assert not first.requires_grad, "frozen, in train mode: the features require grad"

    def test_half_precision_is_finite_and_close(self, checkpoint: str) -> None:
        """The inputs stay float32, as preprocessors make them: the tower casts."""
        for dtype, tolerance in self.half_tolerances.items():
            tower, preprocessor = self.build(checkpoint)
            expected = _encode(tower, preprocessor, self.items()).features
            got = _encode(tower.to(dtype), preprocessor, self.items()).features
            assert got.dtype == dtype, f"a tower in {dtype} gives features in {got.dtype}"
            assert got.isfinite().all(), f"{dtype}: features are not finite"
            _check_close(got.float(), expected, tolerance, f"{dtype}, and float32")

    def test_forward_reads_nothing_back(self, checkpoint: str) -> None:
        """No host sync: no `.item()`, no indexing with a boolean mask."""
        tower, preprocessor = self.build(checkpoint)
        inputs = preprocessor.collate([row for item in self.items() for row in preprocessor(item)])
        with torch.no_grad(), _NoSync():
            tower(**inputs)

    def test_forward_is_one_graph(self, checkpoint: str) -> None:
        """``torch.compile(fullgraph=True)``, and what it gives."""
        tower, preprocessor = self.build(checkpoint)
        inputs = preprocessor.collate([row for item in self.items() for row in preprocessor(item)])
        torch.compiler.reset()
        with torch.no_grad():
            got = torch.compile(tower, fullgraph=True, backend="aot_eager")(**inputs)
            _check_close(got.features, tower(**inputs).features, self.tolerance, "compiled, and not")

    def test_a_tower_inside_a_model_is_saved_and_loaded_whole(self, checkpoint: str, tmp_path: Path) -> None:
        """Without its checkpoint; ``from_pretrained`` would destroy buffers that are not saved."""
        tower, preprocessor = self.build(checkpoint)
        model_class = type("Model", (_Model,), {"tower_class": type(tower)})
        model = model_class(PreTrainedConfig(tower=_through_json(tower.config)))
        model.towers["it"].load_state_dict(tower.state_dict())
        model.save_pretrained(tmp_path)
        again = model_class.from_pretrained(tmp_path, trust_remote_code=False).eval().towers["it"]
        expected, got = (_encode(each, preprocessor, self.items()).features for each in (tower, again))
        assert torch.equal(got, expected), "loaded from a file, the tower gives other features"

    def test_settings_make_an_equal_preprocessor(self, checkpoint: str) -> None:
        """Plain JSON, and nothing but it."""
        _, preprocessor = self.build(checkpoint)
        again = type(preprocessor).from_settings(_through_json(preprocessor.settings()))
        assert again.settings() == preprocessor.settings(), "the settings are others when made again"
        for item in self.items():
            assert again.num_features(item) == preprocessor.num_features(item), "made again, it counts otherwise"
            expected, got = (each.collate(each(item)) for each in (preprocessor, again))
            same = expected.keys() == got.keys() and all(torch.equal(got[name], expected[name]) for name in expected)
            assert same, "made again, it gives other inputs"


class AudioTowerContract(TowerContract):
    """What holds for a tower of the modality `audio`: lengths, windows, and sounds that are not as they should be.

    An author gives, besides a tower and a checkpoint, the arithmetic of its lengths. It is compared with the
    preprocessor and with the network.
    """

    # Of the tower's input.
    rate_hz: ClassVar[int] = 16_000
    # The shortest sound that is taken; how far features, and the windows of a long sound, start from one another.
    min_samples: ClassVar[int]
    hop_samples: ClassVar[int]
    window_samples: ClassVar[int]
    # How far features in the middle third of a window may be from those of the sound in one piece (relative, L2);
    # None for a tower that states that its windows have features of their own.
    window_tolerance: ClassVar[float | None]

    def count(self, num_samples: int) -> int:
        """How many features a whole sound of so many samples has, however many windows it takes."""
        raise NotImplementedError(f"{type(self).__name__} must give count()")

    def without_windows(self, preprocessor: Preprocessor) -> Preprocessor:
        """The same preprocessor with one window for any sound. Not asked for without a `window_tolerance`."""
        raise NotImplementedError(f"{type(self).__name__} must give without_windows(), or window_tolerance = None")

    def items(self) -> list[Waveform]:
        """A sound of nine features or so, one of two windows, the shortest one, and silence."""
        least, hop = self.min_samples, self.hop_samples
        sounds = [self.sound(n) for n in (least + 8 * hop + 17, self.window_samples + least + 5 * hop + 3, least)]
        return [*sounds, self.silence(least + 3 * hop)]

    def sound(self, num_samples: int, *, steady: bool = False) -> Waveform:
        """Noise; louder and louder if not `steady`, so that statistics over padding or over time show."""
        noise = np.random.default_rng(num_samples).standard_normal(num_samples)
        samples = 0.2 * noise * np.linspace(1.0 if steady else 0.2, 1.0, num_samples)
        return Waveform(samples.clip(-1, 1).astype(np.float32), self.rate_hz, "sound.wav")

    def silence(self, num_samples: int) -> Waveform:
        """No memory, of any length."""
        return Waveform(np.broadcast_to(np.float32(0), (num_samples,)), self.rate_hz, "silence.wav")

    def lengths(self) -> list[int]:
        """About two hundred: each side of every edge of a feature and of a window, and others."""
        least, hop, window = self.min_samples, self.hop_samples, self.window_samples
        starts = (least, hop, 2 * hop, least + hop, least + 2 * hop, window, window + least, 2 * window + least)
        edges = [start + near for start in starts for near in (-hop, -1, 0, 1, hop - 1, hop, least - 1)]
        chance = np.random.default_rng(0)
        others = [*chance.integers(least, least + 9 * hop, 120), *chance.integers(least, 2 * window, 40)]
        return sorted({int(length) for length in (*edges, *others) if length >= least})

    def test_the_count_of_two_hundred_lengths_is_that_of_the_network(self, checkpoint: str) -> None:
        """The arithmetic of the contract, that of the preprocessor, and the shape of the last window, run alone."""
        tower, preprocessor = self.build(checkpoint)
        for length in self.lengths():
            item = self.sound(length)
            counts, rows = preprocessor.num_features(item), preprocessor(item)
            assert len(rows) == len(counts), f"{length} samples: {len(rows)} windows, {len(counts)} are counted"
            assert sum(counts) == self.count(length), f"{length} samples: counts {counts}, not {self.count(length)}"
            with torch.no_grad():
                made = tower(**preprocessor.collate(rows[-1:])).features.shape[1]
            assert made == counts[-1], f"{length} samples: the network gives {made} features, {counts[-1]} are counted"

    def test_a_hop_more_is_at_most_a_feature_more(self, checkpoint: str) -> None:
        """For every length up to three hops, and around the edge of a window."""
        _, preprocessor = self.build(checkpoint)
        least, hop, window = self.min_samples, self.hop_samples, self.window_samples
        for first in (least, max(least, window - hop), 2 * window - hop):
            totals = [sum(preprocessor.num_features(self.silence(first + n))) for n in range(4 * hop)]
            for start, total in enumerate(totals[: 3 * hop]):
                one, hop_more = totals[start + 1] - total, totals[start + hop] - total
                assert one >= 0, f"{first + start + 1} samples give fewer features than one sample less"
                assert hop_more <= 1, f"from {first + start} samples, a hop more gives {hop_more} features more"

    def test_an_outline_counts_what_its_sound_counts(self, checkpoint: str) -> None:
        """At the tower's rate and at others; batches are packed by it before a sound is decoded."""
        _, preprocessor = self.build(checkpoint)
        modality = AudioModality()
        for rate_hz in (self.rate_hz, self.rate_hz // 2, 3 * self.rate_hz, 11_025):
            for item in self.items():
                sound = _read(item.samples, rate_hz)
                expected, got = _counts(preprocessor, sound), _counts(preprocessor, modality.probe(sound))
                assert got == expected, f"an outline at {rate_hz} Hz counts {got}, its sound {expected}"

    def test_a_sound_below_the_shortest_is_refused(self, checkpoint: str) -> None:
        """By the count and by the call, before the network could fail."""
        _, preprocessor = self.build(checkpoint)
        for length in range(max(1, self.min_samples - 2), self.min_samples):
            for ask in (preprocessor.num_features, preprocessor):
                message = _refusal(ask, self.silence(length))
                assert message, f"a sound of {length} samples is not refused"
                assert "silence.wav" in message, f"does not name the sound: {message}"

    def test_the_windows_of_a_sound_count_what_the_whole_counts(self, checkpoint: str) -> None:
        """For every remainder behind one, two and three windows: nothing is lost at a border, nothing comes twice."""
        _, preprocessor = self.build(checkpoint)
        for number in (1, 2, 3):
            for rest in range(-self.hop_samples, self.min_samples + 2 * self.hop_samples):
                length = number * self.window_samples + rest
                counts = preprocessor.num_features(self.silence(length))
                assert len(counts) >= number, f"{length} samples are {len(counts)} windows"
                assert sum(counts) == self.count(length), f"{length} samples: {counts}, not {self.count(length)}"

    def test_the_middle_of_a_window_is_that_of_the_whole(self, checkpoint: str) -> None:
        """For a tower that says so: a window's borders cost context, its middle is where it was."""
        if self.window_tolerance is None:
            return
        tower, preprocessor = self.build(checkpoint)
        item = self.sound(3 * self.window_samples + self.min_samples, steady=True)
        whole = _encode(tower, self.without_windows(preprocessor), [item]).features[0]  # (P, E)
        got, counts = _encode(tower, preprocessor, [item]).features, preprocessor.num_features(item)
        spread = _distance(whole[1:], whole[:-1])
        assert self.window_tolerance < spread, (
            f"window_tolerance is no less than what neighbours differ by, {spread:.2g}"
        )
        for number, count in enumerate(counts[:3]):
            middle = slice(count // 3, count - count // 3)
            expected = whole[number * count :][middle]
            _check_close(got[number][middle], expected, self.window_tolerance, f"middle of window {number}, and whole")

    def test_a_strange_sound_is_taken_as_it_is_meant(self, checkpoint: str, tmp_path: Path) -> None:
        """Other types, rates and shapes than floats at the tower's rate; silence, an offset, clipping, a whisper."""
        tower, preprocessor = self.build(checkpoint)
        quantized = (self.items()[0].samples * 32768).astype(np.int16)
        expected = _encode(tower, preprocessor, [_read(quantized / 32768, self.rate_hz)]).features
        for case, source in self._equal_sources(quantized, tmp_path):
            got = _encode(tower, preprocessor, [AudioModality().read(source)]).features
            _check_close(got, expected, self.tolerance, f"{case}, and floats")
        for case, samples, rate_hz in self._strange_samples(quantized):
            item = _read(samples, rate_hz)
            count = self.count(-(-len(samples) * self.rate_hz // rate_hz))
            assert sum(preprocessor.num_features(item)) == count, f"{case}: not {count} features"
            features = _encode(tower, preprocessor, [item]).features
            assert features.isfinite().all(), f"{case}: features are not finite"

    def test_a_bad_sound_is_refused_in_one_line_that_names_it(self, checkpoint: str, tmp_path: Path) -> None:
        """Empty, not finite, sideways, cut off, not there, not a sound."""
        _, preprocessor = self.build(checkpoint)
        for case, source, name in self._bad_sources(tmp_path):
            message = _refusal(lambda source=source: preprocessor(AudioModality().read(source)))
            assert message, f"{case}: not refused"
            assert name in message, f"{case}: does not name the sound: {message}"
            assert "\n" not in message, f"{case}: more than one line: {message}"

    def _equal_sources(self, samples: np.ndarray, folder: Path) -> Iterator[tuple[str, Any]]:
        """The same sound, (n,) int16, in other words."""
        floats = samples / 32768
        yield "int16", (samples, self.rate_hz)
        yield "float64", (floats, self.rate_hz)
        yield "float32", (floats.astype(np.float32), self.rate_hz)
        yield "(n, 2)", (np.stack([floats, floats], axis=1), self.rate_hz)
        yield "a row of datasets", {"array": floats, "sampling_rate": self.rate_hz}
        yield "a wav file", _write_wav(folder / "sound.wav", samples, self.rate_hz)

    def _strange_samples(self, samples: np.ndarray) -> Iterator[tuple[str, np.ndarray, int]]:
        floats = samples / 32768
        yield "half the rate", floats, self.rate_hz // 2
        yield "three times the rate", np.repeat(floats, 3), 3 * self.rate_hz
        yield "silence", np.zeros(len(floats)), self.rate_hz
        yield "an offset alone", np.full(len(floats), 0.5), self.rate_hz
        yield "clipped", np.sign(floats), self.rate_hz
        yield "a whisper", 1e-6 * floats, self.rate_hz

    def _bad_sources(self, folder: Path) -> Iterator[tuple[str, Any, str]]:
        """(case, source, what its refusal must name)."""
        array = "audio array"
        samples = self.items()[0].samples
        yield "empty", (samples[:0], self.rate_hz), array
        yield "(2, n)", (np.stack([samples, samples]), self.rate_hz), array
        for value in (np.nan, np.inf):
            yield str(value), (np.where(np.arange(len(samples)) == 3, value, samples), self.rate_hz), array
        cut = Path(_write_wav(folder / "cut.wav", (samples * 32767).astype(np.int16), self.rate_hz))
        whole = cut.read_bytes()
        for size in (len(whole) // 2, 44, 30, 0):
            cut.write_bytes(whole[:size])
            yield f"cut off after {size} bytes", str(cut), str(cut)
        yield "missing", str(folder / "gone.wav"), str(folder / "gone.wav")


class TokenDecoderContract:
    """What holds for a decoder that turns ids into items: its arithmetic, its order, and an LLM that learns it.

    With streams, too: the ids beside the main ones stand where they are said to, are learned and generated.

    An author gives `decoder_class`, `modality_class`, `items` and a fixture `checkpoint`, empty where it takes none.
    The LLM is a toy: two layers, a vocabulary of a few ids, in front of the decoder's own.

    A codec that was never trained gives one id for everything: fill its codebooks from what its encoder makes of the
    items before anything is tested with it. `min_used` sees to it.
    """

    decoder_class: ClassVar[type[TokenDecoder]]
    modality_class: ClassVar[type[Modality]]
    # Keyword arguments of `Decoder.read_config`.
    options: ClassVar[Mapping[str, Any]] = {}
    # How many different ids of a range the items use together, as a share of the range or of all that they have there.
    min_used: ClassVar[float] = 0.25
    # Steps in which the toy learns four items at most.
    max_steps: ClassVar[int] = 400

    def items(self) -> Sequence[Any]:
        """At least four items, as the modality reads them, that differ; some of different lengths. A second is long."""
        raise NotImplementedError(f"{type(self).__name__} must give items()")

    def build(self, checkpoint: str) -> TokenDecoder:
        """The decoder with its weights, in eval."""
        decoder = self.decoder_class(self.decoder_class.read_config(checkpoint, **self.options))
        decoder.load_weights(checkpoint)
        return decoder.eval()

    def test_the_count_is_that_of_the_ids(self, checkpoint: str) -> None:
        """By arithmetic, also of what was decoded; and ids are in the ranges, in the order that is stated."""
        decoder = self.build(checkpoint)
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

    def test_ids_are_the_same_alone_and_behind_others(self, checkpoint: str) -> None:
        """No state is left from one item to the next, neither coding nor decoding; ids survive JSON."""
        decoder = self.build(checkpoint)
        items = list(self.items())
        alone = [self.build(checkpoint).encode(item) for item in items]
        for number in (*range(len(items)), *reversed(range(len(items)))):
            ids = decoder.encode(items[number])
            assert torch.equal(ids, alone[number]), f"item {number} has other ids behind others than alone"
            first, again = (decoder.decode(torch.tensor(_through_json(ids.tolist()))) for _ in range(2))
            assert _same(first, again), f"item {number}: the same ids give another item the second time"

    def test_pieces_joined_are_what_is_decoded_at_once(self, checkpoint: str) -> None:
        """However many steps are pushed at a time."""
        decoder, modality = self.build(checkpoint), self.modality_class()
        grammar = _grammar(decoder)
        for number, item in enumerate(self.items()):
            ids = decoder.encode(item)
            whole = decoder.decode(ids)
            whole_row = grammar.enclosed("it", ids, f"item {number}")
            ends = [n for n, each in enumerate(whole_row[1:-1], 1) if grammar.may_break(each, n)]
            assert ends[-1] == len(ids), f"item {number}: it cannot be cut behind its last id"
            for step in (1, 2, 5, len(ends)):
                stream, at, pieces = decoder.stream(), 0, []
                for end in dict.fromkeys([*ends[step - 1 :: step], ends[-1]]):
                    pieces.append(stream.push(ids[at:end]))
                    at = end
                pieces = [piece for piece in (*pieces, stream.finish()) if piece is not None]
                assert _same(modality.join(pieces), whole), f"item {number}, {step} steps at a time: not the whole"

    def test_the_items_use_many_ids(self, checkpoint: str) -> None:
        """Of every range with more than one: a codec that gives one id for everything proves nothing."""
        decoder = self.build(checkpoint)
        ids = torch.cat([decoder.encode(item) for item in self.items()])
        main, *beside = ids[:, None].T if ids.ndim == 1 else ids.T
        first, found = 0, []
        for name, size in decoder.ranges.items():
            found.append((name, size, main[(main >= first) & (main < first + size)]))
            first += size
        for (name, stream), column in zip(decoder.parallel.items(), beside, strict=True):
            found.append((name, stream.size, column[column != NO_ID]))
        for name, size, mine in found:
            possible = min(size, len(mine))
            wanted = max(min(2, size), self.min_used * possible)
            used = len(mine.unique())
            assert used >= wanted, f"range {name!r}: {used} ids of {possible}"

    def test_generated_items_are_whole(self, checkpoint: str) -> None:
        """Greedy, sampled, with beams where it has no streams; one that is cut off keeps its whole steps; a
        forbidden one never begins."""
        model = self._toy(checkpoint)
        grammar = model.extension.grammar
        prompt = torch.tensor([[1, 3], [1, 4]])
        speak = {"force": ["it"], "eos_token_id": list(range(_TOY_IDS)), "max_new_tokens": 50, "pad_token_id": 0}
        beams = [] if grammar.parallel else [{"do_sample": False, "num_beams": 2}]
        for how in ({"do_sample": False}, {"do_sample": True}, *beams):
            torch.manual_seed(0)
            for piece in (pieces[0] for pieces in _generated(model, prompt, **speak, **how)):
                assert piece.modality == "it", f"{how}: the item that is forced does not begin"
                ids = torch.tensor(piece.ids, dtype=torch.int64)
                if piece.closed:
                    grammar.enclosed("it", ids, f"what is generated with {how}")
                model.decoders["it"].decode(ids)
        silent = model.generate(prompt, forbid=["it"], max_new_tokens=20, do_sample=True, pad_token_id=0)
        assert int(silent.max()) < grammar.first, "a forbidden item begins"

    def test_the_llm_is_as_it_was(self, checkpoint: str) -> None:
        """Its logits are bit-equal with the decoder and without; one step changes the rows and nothing else."""
        model = self._toy(checkpoint)
        ids = torch.tensor([[1, 3, 2, 5]])
        with torch.no_grad():
            own, extended = model.language_model(input_ids=ids).logits, model(ids).logits
        assert torch.equal(extended[..., : own.shape[-1]], own), "the LLM's own logits are others with the decoder"
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self._learn(model, [([1, 3], model.ids_of("it", self.items()[0]))], steps=1, rows_alone=True)
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        expected = {"decoders.it.rows.embedding", "decoders.it.rows.head"}
        assert changed == expected, f"one step changed {sorted(changed)}"

    def test_a_small_model_learns_four_items_exactly(self, checkpoint: str) -> None:
        """Each by its own prompt: ids and items are equal, and the prompts do not give one another's."""
        model = self._toy(checkpoint)
        answers = [model.ids_of("it", item) for item in self.items()[:4]]
        prompts = [[1, 3 + number] for number in range(4)]
        assert len(set(map(str, answers))) == 4, "four items have fewer than four sequences of ids"
        self._learn(model, list(zip(prompts, answers, strict=True)), steps=self.max_steps)
        grammar, decoder, items = model.extension.grammar, model.decoders["it"], self.items()
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            how = {"do_sample": False, "max_new_tokens": len(answer.ids) + 1, "pad_token_id": 0}
            (got,) = _generated(model, torch.tensor([prompt]), **how)
            wanted = grammar.pieces([*answer.ids, _TOY_END], answer.parallel)
            right = sum(a == b for a, b in zip(got[0].ids, wanted[0].ids, strict=False))
            assert got == wanted, f"item {number} is not learned: {right} ids of {len(wanted[0].ids)} are right"
            decoded = decoder.decode(torch.tensor(got[0].ids))
            expected = decoder.decode(decoder.encode(items[number]))
            assert _same(decoded, expected), f"item {number}: equal ids give another item"

    def _toy(self, checkpoint: str) -> TinyLlavaForConditionalGeneration:
        decoder = self.decoder_class(self.decoder_class.read_config(checkpoint, **self.options))
        ids = {"it": dict(decoder.ranges)}, {"it": decoder.parallel}
        model = _toy_with(decoder, "tokens", token_ranges=allot(ids[0], _TOY_IDS), parallel_streams=sizes_of(ids[1]))
        model.decoders["it"].load_weights(checkpoint)
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
        end = TextSpan([_TOY_END], [_TOY_END])
        layout = plan([[TextSpan(prompt), answer, end] for prompt, answer in samples])
        targets = targets_of(layout, model.extension.grammar, {})
        model.requires_grad_(False)
        model.decoders["it"].requires_grad_(True)
        model.language_model.requires_grad_(not rows_alone)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
        model.train()
        for _ in range(steps):
            out = model(layout.input_ids, layout.attention_mask, labels=layout.labels, plan=layout, targets=targets)
            if float(out.target_losses.max()) < 0.1:
                break
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
        model.eval()


class HiddenDecoderContract:
    """What holds for a decoder that makes items of what the LLM holds of its words: its arithmetic, and its learning.

    An author gives `decoder_class`, `modality_class`, `items` and a fixture `checkpoint`, as for
    `TokenDecoderContract`.
    The LLM is a toy of two layers that is never trained.
    """

    decoder_class: ClassVar[type[HiddenDecoder]]
    modality_class: ClassVar[type[Modality]]
    # Keyword arguments of `Decoder.read_config`; sizes that learn four items in a minute.
    options: ClassVar[Mapping[str, Any]] = {}
    # Steps in which four items are learned at most.
    max_steps: ClassVar[int] = 400

    def items(self) -> Sequence[Any]:
        """See `TokenDecoderContract.items`."""
        raise NotImplementedError(f"{type(self).__name__} must give items()")

    def test_the_count_is_that_of_the_ids(self, checkpoint: str) -> None:
        """By arithmetic, also of what was decoded; ids survive JSON, and none is left from one item to the next."""
        decoder = self._toy(checkpoint).decoders["it"]
        alone = [self._toy(checkpoint).decoders["it"].encode(item) for item in self.items()]
        for number, item in reversed(list(enumerate(self.items()))):
            ids = decoder.encode(item)
            assert ids.dtype == torch.int64, f"item {number}: ids are {ids.dtype}"
            assert decoder.num_ids(item) == len(ids), f"item {number}: {decoder.num_ids(item)} counted, {len(ids)} ids"
            assert torch.equal(ids, alone[number]), f"item {number} has other ids behind others than alone"
            decoded = decoder.decode(torch.tensor(_through_json(ids.tolist())))
            again = decoder.num_ids(decoded)
            assert again == len(ids), f"item {number}: {len(ids)} ids become an item of {again}"

    def test_every_target_has_a_loss(self, checkpoint: str) -> None:
        """Also where one word stands for a long item: a target that cannot be learned is refused, and not free."""
        model = self._toy(checkpoint)
        decoder, item = model.decoders["it"], max(self.items(), key=model.decoders["it"].num_ids)
        layout, targets = self._layout(model, [([1, 3], [4], item)])
        assert list(targets) == ["text", *(f"it.{name}" for name in decoder.loss_weights)], "groups without a weight"
        try:
            found = model(layout.input_ids, layout.attention_mask, labels=layout.labels, plan=layout, targets=targets)
        except KitError:
            return
        made = {group: each for group, each in found.target_groups.items() if group != "text"}
        for group, (losses, hits) in made.items():
            assert losses.shape == hits.shape == targets[group].shape, f"{group}: not as many losses as targets"
            assert bool(losses.isfinite().all()), f"{group}: a target has no finite loss"
        counted, cost = (sum(f(losses) for losses, _ in made.values()) for f in (len, lambda each: float(each.sum())))
        assert counted >= len(decoder.encode(item)) - 1, f"{counted} targets are less than the ids of the item"
        assert cost > 0, "an item costs a new decoder nothing"

    def test_a_batch_changes_nothing(self, checkpoint: str) -> None:
        """Losses and gradients of items together are those of each alone."""
        model = self._toy(checkpoint)
        samples = [([1, 3], [5, 4, 6, 4][: 1 + number], item) for number, item in enumerate(self.items()[:4])]
        totals = torch.stack([torch.tensor([len(t) for t in self._layout(model, [s])[1].values()]) for s in samples])
        alone, gradients = self._losses(model, [[sample] for sample in samples], totals.sum(0))
        together, others = self._losses(model, [samples], totals.sum(0))
        assert alone.keys() == together.keys()
        for group, losses in alone.items():
            assert torch.allclose(together[group], losses, atol=1e-4), f"{group}: other losses in a batch"
        for name, gradient in gradients.items():
            _check_close(others[name], gradient, 1e-3, f"the gradient of {name}") if gradient.any() else None

    def test_a_batch_without_items_reaches_all_that_is_trained(self, checkpoint: str) -> None:
        """With a gradient of zero: every rank of a distributed step has the same ones to reduce."""
        model = self._toy(checkpoint).train()
        model.requires_grad_(False)
        decoder = model.decoders["it"].requires_grad_(True)
        layout, targets = self._layout(model, [([1, 3], [4], None)])
        out = model(layout.input_ids, layout.attention_mask, labels=layout.labels, plan=layout, targets=targets)
        out.loss.backward()
        for name, parameter in decoder.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{name}: no gradient, expected one of zero"
                assert not parameter.grad.any(), f"{name}: expected a gradient of zero"

    def test_the_llm_is_as_it_was(self, checkpoint: str) -> None:
        """One step changes the decoder and nothing else, and of it what is trained."""
        model = self._toy(checkpoint)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self._learn(model, [([1, 3], [4, 5], self.items()[0])], steps=1)
        trained = {id(p) for module in model.decoders["it"].trained_modules() for p in module.parameters()}
        wanted = {name for name, parameter in model.named_parameters() if id(parameter) in trained}
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed <= wanted, f"one step changed {sorted(changed - wanted)}"
        assert changed, "one step changed nothing"

    def test_four_items_are_learned_exactly(self, checkpoint: str) -> None:
        """Each of its own words: items are equal, made piece by piece, and no words give another's."""
        model, modality = self._toy(checkpoint), self.modality_class()
        items = self.items()[:4]
        samples = [([1, 3], [4 + number, 9][: 1 + number % 2], item) for number, item in enumerate(items)]
        self._learn(model, samples, steps=self.max_steps)
        decoder = model.decoders["it"]
        for number, (prompt, words, item) in enumerate(samples):
            layout = plan([[TextSpan(prompt), TextSpan(words, words), GeneratedSpan("it")]])
            made = list(decoder.make(model.words("it", layout.input_ids, layout), token_sampler(False, None)))
            assert made[-1].closed, f"item {number} is not ended"
            got = modality.join([piece.item for piece in made if piece.item is not None])
            assert _same(got, decoder.decode(decoder.encode(item))), f"item {number} is not learned"

    def _toy(self, checkpoint: str) -> TinyLlavaForConditionalGeneration:
        config = self.decoder_class.read_config(checkpoint, **self.options)
        model = _toy_with(self.decoder_class(config, _toy_llm().hidden_size), "hidden")
        model.decoders["it"].load_weights(checkpoint)
        return model.eval()

    def _layout(
        self, model: TinyLlavaForConditionalGeneration, samples: Sequence[tuple[list[int], list[int], Any]]
    ) -> tuple[Plan, dict[str, Tensor]]:
        """Prompts, words and items, as a processor lays them out."""
        decoder = model.decoders["it"]
        rows: list[list[TextSpan | GeneratedSpan]] = []
        for prompt, words, item in samples:
            rows.append([TextSpan(prompt), TextSpan(words, words)])
            if item is not None:
                rows[-1].append(GeneratedSpan("it", decoder.encode(item).tolist()))
            rows[-1].append(TextSpan([_TOY_END], [_TOY_END]))
        layout = plan(rows)
        return layout, targets_of(layout, None, {"it": decoder})

    def _losses(
        self, model: TinyLlavaForConditionalGeneration, batches: Sequence[Any], total: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The losses of each group, in order, and the gradient of their mean by the parameter's name."""
        model.requires_grad_(False)
        decoder = model.decoders["it"].requires_grad_(True)
        model.zero_grad()
        losses: dict[str, list[Tensor]] = {}
        for batch in batches:
            layout, targets = self._layout(model, batch)
            inputs = {"labels": layout.labels, "plan": layout, "targets": targets, "num_items_in_batch": total}
            out = model(layout.input_ids, layout.attention_mask, **inputs)
            out.loss.backward()
            for group, (each, _) in out.target_groups.items():
                losses.setdefault(group, []).append(each)
        gradients = {}
        for name, parameter in decoder.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{name}: no gradient; what is trained must be in every loss"
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
        layout, targets = self._layout(model, samples)
        model.requires_grad_(False)
        decoder = model.decoders["it"].requires_grad_(True)
        optimizer = torch.optim.Adam([p for p in decoder.parameters() if p.requires_grad], lr=3e-3)
        model.train()
        for _ in range(steps):
            out = model(layout.input_ids, layout.attention_mask, labels=layout.labels, plan=layout, targets=targets)
            if max(float(e.max()) for g, (e, _) in out.target_groups.items() if g != "text" and len(e)) < 0.1:
                break
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
        model.eval()


class _NoSync(TorchDispatchMode):
    """Fails where a value would be read back from the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not any(name in func.name() for name in _SYNCS), f"forward reads back from the device: {func.name()}"
        return func(*args, **(kwargs or {}))


class _Model(TinyLlavaPreTrainedModel):
    """A model around a tower, as the kit's own is."""

    config_class = PreTrainedConfig
    tower_class: ClassVar[type[Tower]]

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.towers = nn.ModuleDict({"it": self.tower_class(config.tower)})
        self.post_init()


def _encode(tower: Tower, preprocessor: Preprocessor, items: Sequence[Any]) -> Features:
    with torch.no_grad():
        return tower(**preprocessor.collate([row for item in items for row in preprocessor(item)]))


def _distance(got: Tensor, expected: Tensor) -> float:
    """Relative, L2."""
    return float((got - expected).norm() / expected.norm())


def _check_close(got: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    assert got.shape == expected.shape, f"{what}: shapes {tuple(got.shape)} and {tuple(expected.shape)}"
    distance = _distance(got, expected)
    assert distance < tolerance, f"{what}: features differ by {distance:.2g}, expected less than {tolerance:g}"


def _check_lengths(got: Features, counts: Sequence[int]) -> None:
    """The lengths of the rows are what is counted, and behind them stand zeros."""
    lengths = [got.features.shape[1]] * len(counts) if got.lengths is None else got.lengths.tolist()
    assert lengths == list(counts), f"counted {list(counts)}, the lengths of the features are {lengths}"
    for row, count in zip(got.features, counts, strict=True):
        assert not row[count:].any(), "features behind the length of a row are not zero"


def _spoiled(inputs: Mapping[str, Tensor], alone: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The inputs of a batch with noise where a row, collated alone, has nothing."""
    noise = torch.Generator().manual_seed(0)
    spoiled = {name: value.clone() for name, value in inputs.items()}
    for name, value in spoiled.items():
        if value.is_floating_point():
            for row, single in zip(value, alone, strict=True):
                garbage = 1e3 * torch.randn(row.shape, generator=noise)
                real = tuple(slice(size) for size in single[name].shape[1:])
                garbage[real] = row[real]
                row.copy_(garbage)
    return spoiled


_TOY_IDS, _TOY_END = 11, 2


def _toy_with(decoder: Decoder, reads: str, **config: Any) -> TinyLlavaForConditionalGeneration:
    """A toy LLM with a new decoder of the same class and configuration, for items of `it`."""
    target = f"{type(decoder).__module__}:{type(decoder).__qualname__}"
    specs = (
        LanguageModelSpec(name="toy", target="tinyllava_kit.core.interfaces:LanguageModel"),
        DecoderSpec(name="it", target=target, modality="it", reads=reads),
    )
    offers = tuple(Offer(spec=spec, plugin="tests", distribution="tests", version="0") for spec in specs)
    torch.manual_seed(0)
    return TinyLlavaForConditionalGeneration(
        TinyLlavaConfig(
            text_config=_toy_llm(),
            llm={"name": "toy", "distribution": "tests"},
            decoders={"it": {"name": "it", "distribution": "tests", "config": decoder.config}},
            **config,
        ),
        catalog=Catalog(offers=offers),
    )


def _toy_llm() -> PreTrainedConfig:
    return LlamaConfig(
        vocab_size=_TOY_IDS,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=_TOY_END,
        pad_token_id=0,
    )


def _grammar(decoder: TokenDecoder) -> Grammar:
    ranges, parallel, break_points = (
        allot({"it": dict(decoder.ranges)}, _TOY_IDS),
        {"it": decoder.parallel},
        {"it": decoder.break_points},
    )
    return Grammar(ranges, {"it": decoder.follows}, _TOY_IDS, parallel=parallel, break_points=break_points)


def _generated(model: TinyLlavaForConditionalGeneration, prompt: Tensor, **how: Any) -> list[list[Segment]]:
    """What the model writes behind each prompt, in pieces."""
    grammar, chosen = model.extension.grammar, []
    new = model.generate(prompt, parallel=chosen, **how)[:, prompt.shape[1] :]  # (B, new)
    beside = grammar.written(new, chosen).tolist() if chosen else [None] * len(new)
    return [grammar.pieces(row, parallel) for row, parallel in zip(new.tolist(), beside, strict=True)]


def _same(one: Any, other: Any) -> bool:
    """Whether two items are equal, arrays and tensors to the bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if is_dataclass(one):
        return all(_same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _through_json(value: Any) -> Any:
    again = json.loads(json.dumps(value))
    assert again == value, f"not plain JSON: {value} comes back as {again}"
    return again


def _refusal(ask: Any, *args: Any) -> str:
    """The text of the KitError that asking gives; empty where it gives none."""
    try:
        ask(*args)
    except KitError as error:
        return str(error)
    return ""


def _counts(preprocessor: Preprocessor, item: Any) -> list[int] | str:
    """How many features each row gives, or how the item is refused."""
    try:
        return preprocessor.num_features(item)
    except KitError as error:
        return str(error)


def _read(samples: np.ndarray, rate_hz: int) -> Waveform:
    return AudioModality().read((samples, rate_hz))


def _write_wav(path: Path, samples: np.ndarray, rate_hz: int) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return str(path)


def check_packing(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Any],
    *,
    tolerance: float = 1e-4,
) -> None:
    """Samples that share a row of the batch learn what they learn alone: the same losses, the same gradients.

    Args:
        model: in float32, without dropout, with some parameters that are trained.
        conversations: several, with answers; messages, rows or `Conversation`.

    Raises:
        AssertionError: says what differs, and by how much.
    """
    encoded = [processor.encode(processor.conversation(each)) for each in conversations]
    model.train()
    expected = _losses_and_gradients(model, [processor.collate([each], labels=True) for each in encoded])
    for packs in ([len(encoded)], [1, len(encoded) - 1]):
        batch = processor.collate(encoded, labels=True, packs=packs)
        got = _losses_and_gradients(model, [batch])
        largest = max(float(wanted.norm()) for wanted in expected.values())
        for name, wanted in expected.items():
            distance = float((got[name] - wanted).norm()) / max(float(wanted.norm()), 1e-3 * largest)
            assert distance < tolerance, f"{name} in packs of {packs}, and alone: differ by {distance:.2g}"


def _losses_and_gradients(model: TinyLlavaForConditionalGeneration, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """The loss of each target token, in order, and the gradient of their mean by the parameter's name."""
    model.zero_grad()
    total: Any = sum(len(batch["plan"].target_positions) for batch in batches)
    if "targets" in batches[0]:  # of each group of ids, as in training
        total = torch.tensor([[len(rows) for rows in batch["targets"].values()] for batch in batches]).sum(0)
    losses = []
    for batch in batches:
        output = model(**batch, num_items_in_batch=total)
        output.loss.backward()
        losses.append(output.target_losses)  # (n,)
    gradients = {f"the gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {"the losses": torch.cat(losses), **gradients}
