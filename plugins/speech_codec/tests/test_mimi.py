"""Beside transformers' own model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tinyllava_kit_speech_codec.contract import sound
from tinyllava_kit_speech_codec.mimi import BLOCK, MimiCodec, reach
from transformers import MimiConfig, MimiModel

from tests import toys
from tinyllava_kit import Assembly, KitError, TinyLlavaForConditionalGeneration, assemble
from tinyllava_kit.components import AudioModality
from tinyllava_kit.interfaces import CACHE

RATE, HOP, CODEBOOK = 8000, 160, 16


def build(checkpoint: str, codebooks: int = 3, pattern: str = "flat") -> MimiCodec:
    decoder = MimiCodec(MimiCodec.read_config(checkpoint, codebooks=codebooks, pattern=pattern))
    decoder.load_weights(checkpoint)
    return decoder.eval()


@torch.no_grad()
def reference(model: MimiModel, samples: np.ndarray, codebooks: int) -> tuple[torch.Tensor, np.ndarray]:
    """Transformers' codes, (K, F), and what it makes of them, (n,)."""
    codes = model.encode(torch.from_numpy(samples)[None, None], num_quantizers=codebooks).audio_codes
    return codes[0], model.decode(codes).audio_values[0, 0].numpy()


@pytest.mark.parametrize("count", [1, 159, 160, 161, 3 * 160, 4 * 160 + 7, 11 * 160, 9000])
@pytest.mark.parametrize("codebooks", [2, 5])
def test_ids_and_samples_are_those_of_transformers(mimi, count, codebooks):
    model, checkpoint = mimi()
    decoder, item = build(checkpoint, codebooks), sound(count, count, RATE)
    codes, samples = reference(model, item.samples, codebooks)
    ids = decoder.encode(item)
    frames = -(-count // HOP)
    assert codes.shape == (codebooks, frames)
    slow = [
        codebook * CODEBOOK + int(codes[codebook, frame]) for frame in range(frames) for codebook in range(codebooks)
    ]
    assert ids.tolist() == slow
    assert decoder.num_ids(item) == decoder.num_ids(AudioModality().probe(item)) == len(slow)
    made = decoder.decode(ids)
    assert (made.rate_hz, made.samples.shape) == (RATE, (frames * HOP,))
    np.testing.assert_allclose(made.samples, samples, rtol=0, atol=2e-6)
    assert 0.005 < np.abs(samples).max() < 1


def test_the_window_of_the_transformer_is_passed_and_matters(mimi):
    """56 frames are 112 latents, the window is 9: a cache that kept too much or too little would be heard."""
    model, checkpoint = mimi()
    item = sound(3, 9000, RATE)
    codes, expected = reference(model, item.samples, 3)
    made = build(checkpoint).decode(build(checkpoint).encode(item)).samples
    wide = MimiModel(MimiConfig(**{**model.config.to_dict(), "sliding_window": 1000})).eval()
    wide.load_state_dict(model.state_dict())
    with torch.no_grad():
        other = wide.decode(codes[None]).audio_values[0, 0].numpy()
    assert np.abs(other - expected).max() > 20 * np.abs(made - expected).max()


def test_what_is_decoded_from_the_cache_of_the_transformer_alone_is_another_sound(mimi):
    """Why blocks are given steps before them: the convolutions reach back."""
    model, checkpoint = mimi()
    item = sound(3, 30 * HOP, RATE)
    codes, expected = reference(model, item.samples, 3)
    pieces, cache = [], None
    with torch.no_grad():
        for block in codes[None].split(BLOCK, -1):
            out = model.decode(block, use_cache=True, **{f"decoder_{CACHE}": cache})
            cache = getattr(out, f"decoder_{CACHE}")
            pieces.append(out.audio_values[0, 0])
    joined = torch.cat(pieces).numpy()
    made = build(checkpoint).decode(build(checkpoint).encode(item)).samples
    wrong, right = (np.linalg.norm(each - expected) / np.linalg.norm(expected) for each in (joined, made))
    assert wrong > 0.05
    assert right < 1e-4


def test_convolutions_reach_as_far_back_as_counted(mimi):
    """The first sample of a step depends on what stands so many steps before it, and on nothing before that."""
    model, _ = mimi()
    for module, width in ((model.decoder.upsample, 24), (model.decoder.decoder_seanet, 24)):
        steps = reach(module)
        given = torch.zeros(1, width, 40, requires_grad=True)
        with torch.enable_grad():
            made = module(given + 0.1)
            per_step = made.shape[-1] // 40
            made[0, :, 30 * per_step].sum().backward()
        touched = given.grad.abs().sum((0, 1)).nonzero()[:, 0]
        assert touched[0] == 30 - steps
        assert touched[-1] <= 30


def test_pieces_come_while_ids_come(mimi):
    decoder = build(mimi()[1])
    ids = decoder.encode(sound(5, 10 * HOP + 3, RATE))
    stream, come = decoder.stream(), []
    for frame in ids.split(decoder.codebooks):
        come.append(stream.push(frame))
    come.append(stream.finish())
    lengths = [0 if piece is None else len(piece.samples) // HOP for piece in come]
    assert lengths == [0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 3]
    assert stream.finish() is None
    joined = AudioModality().join([piece for piece in come if piece is not None])
    assert np.array_equal(joined.samples, decoder.decode(ids).samples)


@pytest.mark.parametrize("count", [1, 3 * 160, 9000])
@pytest.mark.parametrize("codebooks", [2, 5])
def test_with_a_delay_the_codes_and_the_sound_are_the_same_in_fewer_positions(mimi, count, codebooks):
    model, checkpoint = mimi()
    flat, delay = build(checkpoint, codebooks), build(checkpoint, codebooks, "delay")
    item = sound(count, count, RATE)
    codes, _ = reference(model, item.samples, codebooks)
    ids = delay.encode(item)
    frames = codes.shape[1]
    assert ids.shape == (frames + codebooks - 1, codebooks)
    assert delay.num_ids(item) == len(ids)
    slow = [
        [codes[k, n - k].item() if 0 <= n - k < frames else -1 for k in range(1, codebooks)] for n in range(len(ids))
    ]
    assert ids[:, 1:].tolist() == slow
    assert ids[:, 0].tolist() == [*codes[0].tolist(), *range(CODEBOOK, CODEBOOK + codebooks - 1)]
    assert np.array_equal(delay.decode(ids).samples, flat.decode(flat.encode(item)).samples)


def test_with_a_delay_pieces_come_as_early_as_their_last_ids(mimi):
    decoder = build(mimi()[1], pattern="delay")
    ids = decoder.encode(sound(5, 10 * HOP + 3, RATE))
    stream = decoder.stream()
    come = [stream.push(ids[:3]), *(stream.push(row[None]) for row in ids[3:]), stream.finish()]
    lengths = [0 if piece is None else len(piece.samples) // HOP for piece in come]
    assert lengths == [0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 3]
    joined = AudioModality().join([piece for piece in come if piece is not None])
    assert np.array_equal(joined.samples, decoder.decode(ids).samples)
    cut = decoder.decode(ids[:8])  # as `max_new_tokens` may: six frames have all their ids
    assert len(cut.samples) == 6 * HOP
    assert np.abs(cut.samples[: 4 * HOP] - joined.samples[: 4 * HOP]).max() == 0


def test_fewer_books_are_the_first_ones(mimi):
    few, many = build(mimi()[1], 2), build(mimi()[1], 5)
    item = sound(8, 2000, RATE)
    rows = many.pattern.to_codes(many.encode(item))
    assert torch.equal(few.pattern.to_codes(few.encode(item)), rows[:2])
    assert dict(few.ranges) == {"code0": CODEBOOK, "code1": CODEBOOK}
    assert sum(p.numel() for p in few.state_dict().values()) < sum(p.numel() for p in many.state_dict().values())


def test_what_cannot_be_used_is_refused(mimi, tmp_path):
    checkpoint = mimi()[1]
    for codebooks in (1, 6):
        with pytest.raises(KitError, match=f"has 5 codebooks; codebooks must be 2 or more, got {codebooks}"):
            build(checkpoint, codebooks)
    for changes in ({"use_causal_conv": False}, {"trim_right_ratio": 0.5}):
        MimiConfig(**{**mimi()[0].config.to_dict(), **changes}).save_pretrained(tmp_path)
        with pytest.raises(KitError, match="is a Mimi that is not causal"):
            build(str(tmp_path))
    with pytest.raises(KitError, match="is a 'llama' checkpoint; this component takes 'mimi'"):
        build(str(toys.save_llama(tmp_path / "llm")))
    decoder = MimiCodec(MimiCodec.read_config(checkpoint, codebooks=3))
    with pytest.raises(KitError, match="weights: "):
        decoder.load_weights(mimi(hidden_size=32, upsample_groups=32)[1])


@pytest.mark.parametrize("pattern", ["flat", "delay"])
def test_a_saved_model_has_the_codec(pattern, mimi, tmp_path):
    checkpoint = mimi()[1]
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path / 'llm')}",
        decoders=[f"audio=mimi:{checkpoint}"],
        settings=["decoder.audio.codebooks=3", f"decoder.audio.pattern={pattern}"],
    )
    for part in assemble(assembly):
        part.save_pretrained(tmp_path / "model")
    item = sound(4, 3000, RATE)
    before = build(checkpoint, pattern=pattern)
    ids = before.encode(item)
    for dtype in (torch.float32, torch.bfloat16):
        model = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "model", dtype=dtype)
        decoder = model.train().decoders["audio"]
        assert torch.equal(decoder.encode(item), ids)
        assert np.array_equal(decoder.decode(ids).samples, before.decode(ids).samples)
        trained = {name for name, p in decoder.requires_grad_(True).named_parameters() if p.requires_grad}
        assert trained == {"rows.embedding", "rows.head"}
