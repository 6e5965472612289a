"""The benchmarks run, count what they say they count, and compare ways that give the same. Nothing here is timed."""

from __future__ import annotations

import asyncio
import dataclasses
from itertools import count

import pytest
import torch
from click.testing import CliRunner
from tinyllava_kit_audio_wav2vec2.tower import Wav2Vec2Tower

from benchmarks import (
    audio,
    clock,
    data_loading,
    factory,
    fuse,
    loading,
    memory,
    process,
    qwen2_audio,
    serving,
    soak,
    speaking,
    training,
)
from benchmarks.__main__ import main
from benchmarks.figure import Figure, verdict
from tinyllava_kit import KitError, TinyLlavaProcessor
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.inference.replies import reply

pytestmark = pytest.mark.slow

TOY_SOUNDS = qwen2_audio.Sizes(width=8, vocab=53, features=(7, 2, 5), text=5)
TOY_ENCODER = {
    "hidden_size": 22,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 29,
    "conv_dim": [13] * 7,
    "num_conv_pos_embedding_groups": 11,
}
TOY = fuse.Sizes(width=8, vocab=53, rows=7, text=(3, 5), batches=(2, 3))


def made(dtype: torch.dtype, sizes: fuse.Sizes = TOY) -> fuse.Batch:
    return fuse.Batch.of(fuse.make_samples(sizes, 3), sizes, dtype)


def test_a_figure_is_short_of_its_goal_only_if_it_has_one():
    figures = [
        Figure(name="a", value=1.0, goal=1.0),
        Figure(name="b", value=1.25, goal=1.0),
        Figure(name="c", value=9.0),
    ]
    assert [figure.line().split() for figure in figures] == [
        ["a", "1.000", "1", "ok"],
        ["b", "1.250", "1", "short"],
        ["c", "9.000", "-", "-"],
    ]
    assert verdict(figures) == "verdict short: b"
    assert verdict(figures[:1]) == "verdict ok"


def test_a_ratio_is_the_median_of_the_rounds_after_the_first():
    ticks = count()  # each reading of the clock is one later than the one before
    delays = iter([90, 2, 40, 1, 3, 2])

    def slow() -> None:
        for _ in range(next(delays)):
            next(ticks)

    found = clock.ratios(lambda: None, {"slow": slow, "same": lambda: None}, rounds=5, clock=lambda: next(ticks))
    assert found == {"slow": 3.0, "same": 1.0}


# Rows of 8 numbers are copied sixteen bytes at a time, rows of 5 one by one.
@pytest.mark.parametrize("width", [8, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ways_of_fusing_give_the_same_rows_and_gradients(dtype, width):
    batch = made(dtype, fuse.Sizes(width=width, vocab=53, rows=7, text=(3, 5)))
    real = batch.plan.attention_mask.bool()
    batch.grad[~real] = 0
    results = []
    for way in (batch.fused, batch.scattered):
        out = way(batch.table, batch.features)
        results.append((out[real], torch.autograd.grad(out, batch.features, batch.grad)[0]))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_allocations_count_new_storages_and_no_views():
    source = torch.rand(3, 5)
    assert fuse.allocated(lambda: source.view(5, 3).t()) == 0
    assert fuse.allocated(lambda: (source + 1).add_(1) * 2) == 2 * source.nbytes


def test_the_figures_of_fuse_and_plan_are_all_there():
    names = [figure.name for figure in fuse.figures(TOY, seconds=0, rounds=1) if figure.goal is not None]
    parts = ("forward", "backward", "allocated")
    cases = [f"{dtype}_batch{batch}" for batch in TOY.batches for dtype in ("fp32", "bf16")]
    assert sorted(names) == sorted(
        [f"fuse_{case}_{part}" for case in cases for part in parts] + ["plan_in_fuse_batch3"]
    )


def test_the_model_that_is_loaded_has_the_size_it_claims():
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        model = LlavaForConditionalGeneration(loading.llava_config())
    vision = sum(p.numel() for p in model.model.vision_tower.parameters())
    assert round(vision / 1e9, 1) == 0.4
    assert round((sum(p.numel() for p in model.parameters()) - vision) / 1e9, 1) == 1.1


def test_both_sides_load_the_same_weights(tmp_path, monkeypatch):
    """At toy size, through the way that the benchmark goes."""
    from transformers import LlavaForConditionalGeneration

    from tinyllava_kit import load_pretrained

    small = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    monkeypatch.setattr(loading, "LLM", {**loading.LLM, **small, "num_key_value_heads": 2})
    monkeypatch.setattr(loading, "VISION", {**loading.VISION, **small, "image_size": 28})
    try:
        loading.save_llava(tmp_path / "llava")
    finally:
        torch.set_default_dtype(torch.float32)
    loading.convert_llava(tmp_path / "llava", tmp_path / "ours")
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava")
    ours, _ = load_pretrained(tmp_path / "ours")
    assert ours.dtype == theirs.dtype == torch.bfloat16
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits)


SPLICE = """
import nothing_of_this_name

class Model(nothing_of_this_name.Base):
    def prepare_inputs_labels_for_multimodal(self, ids, positions, mask, cache, labels, images, sizes=None):
        rows = []
        for row, keep, features in zip(ids, mask, self.encode_images(images)):
            place = int((row == IMAGE_TOKEN_INDEX).nonzero())
            embed = self.language_model.get_input_embeddings()
            rows.append(torch.cat([embed(row[:place]), features, embed(row[place + 1 :][keep[place + 1 :]])]))
        return None, None, None, None, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), labels
"""


def test_the_splice_of_a_checkout_is_run_without_its_package_on_the_same_batch(tmp_path):
    (tmp_path / factory.SOURCE).parent.mkdir(parents=True)
    (tmp_path / factory.SOURCE).write_text(SPLICE)
    batch = made(torch.float32)
    way = factory.make_way(factory.read_splice(tmp_path), fuse.make_samples(TOY, 3))
    assert torch.equal(way(batch.table, batch.features), batch.fused(batch.table, batch.features))
    names = [figure.name for figure in factory.figures(tmp_path, TOY, rounds=1)]
    assert names[:3] == ["factory_fp32_batch2_forward", "factory_fp32_batch2_backward", "factory_fp32_batch2_allocated"]
    assert len(names) == 12


def test_a_directory_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(KitError, match="is no checkout of TinyLLaVA_Factory: it has no tinyllava/model/modeling"):
        factory.read_splice(tmp_path)
    (tmp_path / factory.SOURCE).parent.mkdir(parents=True)
    (tmp_path / factory.SOURCE).write_text("x = 1\n")
    with pytest.raises(KitError, match="has no method prepare_inputs_labels_for_multimodal; commit 53f12c7 has it"):
        factory.read_splice(tmp_path)


def test_without_a_checkout_one_line_says_so(monkeypatch):
    monkeypatch.setattr(memory, "take", lambda way: None)  # it would be for the rest of this process
    result = CliRunner().invoke(main, ["factory"])
    assert result.output.splitlines() == [
        "factory absent - give --factory PATH, a checkout of TinyLLaVA_Factory",
        "verdict ok",
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_qwen2_audio_puts_the_same_rows_in_the_same_places_in_both_of_its_ways(dtype):
    batch = qwen2_audio.Batch.of(TOY_SOUNDS, dtype)
    real = batch.plan.attention_mask.bool()
    assert real.sum(1).tolist() == [12, 7, 10]
    expected, gradient = batch.ours()[real], batch.backward(batch.ours)()[0]
    assert not gradient[1, 2:].any()
    for way in (batch.expanded, batch.spread):
        assert torch.equal(way()[real], expected)
        assert torch.equal(batch.backward(way)()[0], gradient)


def test_the_figures_of_qwen2_audio_are_all_there_and_its_warning_is_not(caplog):
    found = list(qwen2_audio.figures(TOY_SOUNDS, rounds=1))
    cases = [f"audio_fuse_{dtype}_{part}_in" for dtype in ("fp32", "bf16") for part in ("forward", "backward")]
    assert [figure.name for figure in found if figure.goal] == [f"{case}_qwen2_audio" for case in cases]
    assert [figure.name for figure in found if not figure.goal] == [f"{case}_its_legacy" for case in cases]
    assert not caplog.records


def test_the_encoders_whose_memory_is_compared_give_the_same():
    samples, made = torch.randn(1, 40_000), {}
    for way in (audio.kit, audio.transformers, audio.windows):
        torch.manual_seed(0)
        with torch.no_grad():
            made[way] = way(TOY_ENCODER)(samples)
    assert made[audio.kit].shape == made[audio.windows].shape == (1, 124, 22)
    torch.testing.assert_close(made[audio.kit], made[audio.transformers], rtol=1e-4, atol=1e-5)


def test_a_long_sound_is_encoded_in_windows_of_which_two_are_run_at_a_time(monkeypatch):
    calls = []
    forward = Wav2Vec2Tower.forward
    monkeypatch.setattr(
        Wav2Vec2Tower, "forward", lambda self, *a, **kw: calls.append(len(kw["lengths"])) or forward(self, *a, **kw)
    )
    with torch.no_grad():
        features = audio.windows(TOY_ENCODER)(torch.randn(1, 2 * 480_000 + 9_999))
    assert calls == [2, 1]
    assert features.shape == (1, 3_030, 22)


def test_the_figures_of_audio_compare_what_they_say(monkeypatch):
    sizes = {(audio.kit, 3): 12, (audio.kit, 6): 27, (audio.transformers, 3): 10, (audio.transformers, 6): 30}
    sizes |= {(audio.windows, 99): 77, (audio.windows, 60): 70}
    monkeypatch.setattr(process, "call", lambda function, way, config, seconds: sizes[way, seconds] * 2**20)
    found = {figure.name: (figure.value, figure.goal) for figure in audio.figures(seconds=3, long=99)}
    assert found == {
        "audio_peak_3s_in_transformers": (1.2, 1.1),
        "audio_peak_6s_in_transformers": (0.9, 1.1),
        "audio_peak_6s_in_twice_3s": (1.125, 1.1),
        "audio_peak_mib_per_second": (4.5, None),
        "audio_windows_peak_99s_in_60s": (1.1, 1.25),
    }


def test_the_peak_is_what_was_alive_at_once_with_the_input(monkeypatch):
    monkeypatch.setattr(memory, "take", lambda way: None)
    way = lambda config: lambda samples: (samples + 1) * 2  # noqa: E731
    megabytes = audio.peak(way, {}, 2_000) / 1e6  # samples of 128 MB, three times
    assert 380 < megabytes < 400


@pytest.mark.parametrize("pictures", [True, False])
def test_both_ways_of_loading_data_give_the_same_batches(tmp_path, pictures):
    sizes = data_loading.Sizes(rows=5, batch=3, side=56, pictures=((64, 48), (48, 64)))
    rows = data_loading.write_rows(tmp_path, sizes, pictures=pictures)
    ours, plain = (make(tmp_path, rows, sizes) for make in (data_loading.make_ours, data_loading.make_plain))
    assert ours.indices == [[0, 1, 2], [3, 4]]
    for indices in ours.indices:
        mine, theirs = ours.make(indices), plain.make(indices)
        assert torch.equal(mine["labels"], theirs["labels"])
        assert torch.equal(mine["attention_mask"].bool(), theirs["attention_mask"])
        if pictures:
            assert torch.equal(mine["items"]["image"]["pixel_values"], theirs["pixel_values"])
        else:
            assert torch.equal(mine["input_ids"], theirs["input_ids"])


TOY_TRAINING = training.Sizes(
    width=32, layers=2, vision=16, vision_layers=2, heads=2, image=56, words=60, longest=400, rows=6
)


@pytest.mark.parametrize("task", training.TASKS)
def test_both_sides_learn_the_same_sequences(tmp_path, task):
    training.prepare(tmp_path, task, TOY_TRAINING)
    processor = TinyLlavaProcessor.from_pretrained(tmp_path / "model")
    dataset = ConversationDataset.from_file(tmp_path / f"{task}.json", processor)
    ours = Collator(processor)([dataset[index] for index in range(len(dataset))])
    rows = list(training._sequences(tmp_path, task))
    theirs = training.pad_sequences(rows)
    real, pictures = theirs["attention_mask"].bool(), theirs["input_ids"] == training.IMAGE
    assert torch.equal(ours["attention_mask"].bool(), real)
    assert torch.equal(ours["labels"], theirs["labels"])
    assert torch.equal(ours["input_ids"][real & ~pictures], theirs["input_ids"][real & ~pictures])
    assert (
        pictures.sum()
        == sum(item.num_tokens for item in ours["plan"].items)
        == TOY_TRAINING.patches * len(theirs["pixel_values"])
    )
    assert torch.equal(ours["items"]["image"]["pixel_values"], theirs["pixel_values"])


def test_rows_are_spread_like_those_of_the_mixture():
    sizes = dataclasses.replace(training.TASKS["instruct"].sizes, rows=400)
    rows = list(training.make_rows("instruct", sizes))
    turns = [len(row["conversations"]) // 2 for row in rows]
    words = [sum(len(said["value"].split()) for said in row["conversations"]) for row in rows]
    assert 0.03 < sum("image" not in row for row in rows) / len(rows) < 0.1
    assert min(turns) == 1
    assert max(turns) > 8
    assert max(words) > 20 * sorted(words)[len(words) // 4]


TOY_MIMI = {
    "hidden_size": 24,
    "num_filters": 2,
    "codebook_size": 16,
    "codebook_dim": 12,
    "vector_quantization_hidden_dimension": 12,
    "num_quantizers": 8,
    "num_hidden_layers": 1,
    "intermediate_size": 40,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "upsample_groups": 24,
}
TOY_SPEAKING = speaking.Sizes(
    words=50,
    llm={
        "hidden_size": 24,
        "intermediate_size": 44,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    mimi=TOY_MIMI,
    talker={"layers": 1, "width": 16, "heads": 2},
    seconds=0.6,
)


def test_a_talker_says_what_is_prescribed(tmp_path, monkeypatch):
    speaking.save_parts(tmp_path, TOY_SPEAKING)
    for talker in speaking.TALKERS:
        talked = speaking.Talked.of(talker, tmp_path, TOY_SPEAKING)
        heard = []
        monkeypatch.setattr(speaking, "reply", lambda *a, heard=heard, **k: heard.append(reply(*a, **k)))
        first, whole = talked.streamed()
        assert 0 < first < whole
        assert len(heard[0].text.split()) == speaking.WORDS
        (item,) = heard[0].items("audio")
        assert item.closed
        prescribed = talked.model.decoders["audio"].decode(talked.ids).samples
        torch.testing.assert_close(torch.from_numpy(item.item.samples), torch.from_numpy(prescribed))


def test_what_is_said_is_what_was_prescribed_and_the_bare_side_makes_as_many_steps(tmp_path, monkeypatch):
    speaking.save_parts(tmp_path, TOY_SPEAKING)
    steps = []
    for layout in speaking.LAYOUTS:
        said = speaking.Said.of(layout, tmp_path, TOY_SPEAKING)
        for model in (said.model, said.enlarged):
            count = []
            model.register_forward_hook(lambda *_, count=count: count.append(1))
            steps.append(count)
        heard = []
        monkeypatch.setattr(speaking, "reply", lambda *a, heard=heard, **k: heard.append(reply(*a, **k)))
        said.streamed()
        said.bare()
        (item,) = heard[0].items("audio")
        assert item.closed
        decoder = said.model.decoders["audio"]
        prescribed = decoder.decode(said.sound).samples
        assert len(item.item.samples) == len(prescribed)
        if not decoder.parallel:  # these are the model's own
            torch.testing.assert_close(torch.from_numpy(item.item.samples), torch.from_numpy(prescribed))
        assert len(steps[-2]) == len(steps[-1]) == len(said.ids) + 1


TOY_LOAD = serving.Load(words=50, llm=TOY_SPEAKING.llm, requests=3, gap=0.01, prompt_words=6, new_tokens=4)


def test_the_three_ways_to_serve_answer_alike(tmp_path):
    pair = serving.assembled(tmp_path, TOY_LOAD)
    found = asyncio.run(serving._timed(pair, TOY_LOAD, 1))
    assert {name: [len(each.first) for each in timings] for name, timings in found.items()} == {
        "together": [3],
        "one_by_one": [3],
        "static": [3],
    }
    assert all(timing.whole > 0.02 for timings in found.values() for timing in timings)


def test_a_soak_leaves_nothing(tmp_path):
    load = soak.Load(requests=24, at_once=4, new_tokens=8)
    found = soak.soak(soak.assembled(tmp_path), load)
    assert found.whole + found.left == 24
    assert found.left > 2
    assert set(found.held.values()) == {0}
