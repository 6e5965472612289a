"""Videos that PyAV writes here, read as the modality reads them, through towers for pictures, and asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tinyllava_kit_video.video import Clip, VideoModality

from tests import toys
from tinyllava_kit import Assembly, KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble

av = pytest.importorskip("av")
COUNT, FPS, SIZE = 23, 5, (48, 32)  # frames, a second, width and height


def level(number: int) -> int:
    """How bright a frame is: by its brightness a decoded frame tells its number."""
    return 10 * number + 5


def write_video(path: Path, count: int = COUNT, codec: str = "mpeg4") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(count):
            pixels = np.full((SIZE[1], SIZE[0], 3), level(number), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4")


def numbers(clip: Clip) -> list[int]:
    """Which frames these are, by their brightness."""
    return [round((float(np.asarray(frame).mean()) - 5) / 10) for frame in clip.frames]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"frames": 1}, [11]),
        ({"frames": 4}, [2, 8, 14, 20]),
        ({"frames": 99}, list(range(COUNT))),
        ({"rate": 1.0}, [2, 6, 11, 16, 20]),  # of 4.6 seconds
        ({"rate": 0.01}, [11]),
        ({"rate": 30.0}, list(range(COUNT))),
    ],
)
def test_frames_are_taken_at_even_distances_by_number_or_by_rate(film, options, expected):
    video = VideoModality(**options)
    clip, probed = video.read(film), video.probe(film)
    assert numbers(clip) == expected
    assert clip.times == tuple(number / FPS for number in expected) == probed.times
    assert [frame.size for frame in clip.frames] == [frame.size for frame in probed.frames] == [SIZE] * len(expected)
    assert video.measure(film) == video.measure(clip) == len(expected)
    assert video.read(clip) is clip


def test_a_file_whose_header_does_not_count_is_counted_without_decoding(tmp_path, monkeypatch):
    film = write_video(tmp_path / "film.mkv")
    with av.open(str(film)) as container:
        assert container.streams.video[0].frames == 0
    assert len(VideoModality(frames=99).probe(film).frames) == COUNT
    assert numbers(VideoModality(frames=2).read(film)) == [5, 17]


def test_the_time_of_each_frame_stands_before_it(film):
    video = VideoModality(frames=2)
    clip = video.read(film)
    assert video.expand(clip, None) == ["[0:01]", clip.frames[0], "[0:03]", clip.frames[1]]
    assert VideoModality(frames=2, times=False).expand(clip, None) == list(clip.frames)
    assert video.blank(clip).times == clip.times
    assert {np.asarray(frame).std() for frame in video.blank(clip).frames} == {0.0}


def test_frames_of_a_list_and_of_a_folder_are_a_video(tmp_path):
    pictures = [np.full((8, 9, 3), level(number), np.uint8) for number in range(5)]
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    video = VideoModality(frames=3, fps=2.0)
    for source in (pictures, [tmp_path / f"{number:02}.png" for number in range(5)], tmp_path):
        assert numbers(video.read(source)) == [0, 2, 4]
        assert video.read(source).times == video.probe(source).times == (0.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.mp4", r"video '.*none\.mp4' does not exist"),
        (lambda folder: folder, "a video needs at least one frame"),
        (lambda folder: [], "video: a video needs at least one frame"),
        (lambda folder: 7, "cannot read a video from int; give a path or a list of frames"),
        (lambda folder: _written(folder / "bad.mp4", b"no video"), r"cannot read video '.*bad\.mp4': "),
        (lambda folder: ["gone.png"], "image 'gone.png' does not exist"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path, make, message):
    with pytest.raises(KitError, match=message):
        VideoModality().read(make(tmp_path))


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_video_that_was_cut_off_is_refused(film, tmp_path):
    moov_first = tmp_path / "cut.mkv"
    write_video(moov_first)
    moov_first.write_bytes(moov_first.read_bytes()[: moov_first.stat().st_size // 2])
    video = VideoModality(frames=99)
    assert len(video.probe(moov_first).frames) == len(video.read(moov_first).frames) < COUNT  # what is there


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model that reads videos through a tower for pictures, and its processor."""
    llm = toys.save_llama(tmp_path_factory.mktemp("llm"))
    torch.manual_seed(0)
    return assemble(
        Assembly.from_flags(
            llm=f"llama:{llm}",
            towers=[f"video=clip:{toys.CLIP}"],
            connectors=["video=linear"],
            settings=["modality.video.frames=3"],
        )
    )


def asked(film: Path) -> list[dict]:
    return [{"role": "user", "content": [{"type": "video", "video": str(film)}, "What happens?"]}]


def test_a_tower_for_pictures_takes_its_frames_and_the_counts_are_exact(made, film):
    model, processor = made
    batch = processor([asked(film)])
    per_frame = model.towers["video"].grid[0] ** 2
    assert [item.num_tokens for item in batch["plan"].items] == [per_frame] * 3
    text = processor.tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True)
    assert [text.find(time) >= 0 for time in ("[0:00]", "[0:02]", "[0:03]")] == [True] * 3
    with torch.no_grad():
        assert model(**batch).logits.isfinite().all()


def test_a_model_is_saved_loaded_and_asked(made, film, tmp_path):
    model, processor = made
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    again = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "model")
    batch = TinyLlavaProcessor.from_pretrained(tmp_path / "model")([asked(film)])
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, model(**batch).logits)


def test_a_tower_of_another_modality_is_refused():
    from tinyllava_kit import discover

    parts = {"llm": "llama:x", "connectors": ["video=linear"]}
    with pytest.raises(KitError, match="tower 'wav2vec2' reads 'audio', not 'video'"):
        Assembly.from_flags(towers=["video=wav2vec2:x"], **parts).resolve(discover())
