"""Drawings: where features stand is checked by numbers, that something is drawn by the pixels of the PNG."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.components.modalities.audio import AudioModality, Waveform
from tinyllava_kit.components.modalities.image import ImageModality, as_seen
from tinyllava_kit.core.interfaces import Modality
from tinyllava_kit.explanation.drawings import attention_png, feature_weights, words_png
from tinyllava_kit.explanation.explaining import Explanation, Rows, Word

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("figures") / "llm")


def axes():
    return Figure().subplots()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def rows_of(modality, part, *, sources, num_rows, num_features=6, grid=None, preprocessor=None):
    weights = torch.arange(2 * num_rows, dtype=torch.float32).reshape(2, num_rows) / 100
    return Rows(
        modality=modality,
        source="a.file",
        part=part,
        preprocessor=preprocessor,
        num_features=num_features,
        grid=grid,
        sources=sources,
        attention=weights,
        nearest=tuple((("word", 0.5),) for _ in range(num_rows)),
    )


def explanation_of(*rows):
    shares = (*(0.25 for _ in rows), 0.5, 0.1, 0.1)
    words = tuple(Word(text=text, first=n, last=n + 1, shares=shares) for n, text in enumerate(("$two", "words$")))
    return Explanation(question="q", answer="$two words$", choices=(), words=words, between=None, items=rows)


def test_what_the_tower_sees_is_the_picture_that_it_is_given(pair):
    preprocessor = pair[1].preprocessors["image"]
    side = preprocessor.size[0]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
    np.testing.assert_allclose(as_seen(picture, preprocessor), np.asarray(picture) / 255, atol=1e-5)


def test_a_pictures_features_stand_at_their_patches(pair):
    preprocessor = pair[1].preprocessors["image"]
    height, width = preprocessor.size
    places = ImageModality().draw(axes(), Image.new("RGB", (70, 40)), preprocessor, 6, (2, 3))
    for feature, (left, top, right, bottom) in enumerate(places):
        row, column = feature // 3, feature % 3
        assert (left, right) == pytest.approx((column * width / 3, (column + 1) * width / 3))
        assert (top, bottom) == pytest.approx((row * height / 2, (row + 1) * height / 2))


@pytest.mark.parametrize("grid", [None, (2, 2)])
def test_features_that_are_no_raster_have_no_place_in_a_picture(pair, grid):
    assert ImageModality().draw(axes(), Image.new("RGB", (9, 9)), pair[1].preprocessors["image"], 6, grid) is None


def test_a_picture_of_a_strange_preprocessor_is_drawn_without_places():
    axis = axes()
    assert ImageModality().draw(axis, Image.new("RGB", (9, 9)), object(), 6, (2, 3)) is None
    assert axis.has_data()


def test_a_sounds_features_share_its_seconds():
    sound = Waveform(np.sin(np.arange(24_000) / 9).astype(np.float32), 8_000, "tone")
    axis = axes()
    places = AudioModality().draw(axis, sound, None, 6, None)
    np.testing.assert_allclose(places[:, 0], np.arange(6) / 2)
    np.testing.assert_allclose(places[:, 2], np.arange(1, 7) / 2)
    assert axis.get_xlim() == (0, 3)


def test_silence_is_drawn():
    assert len(AudioModality().draw(axes(), Waveform(np.zeros(3, np.float32), 8_000, "silence"), None, 2, None)) == 2


def test_a_features_weight_is_its_part_of_each_row_that_was_made_of_it():
    rows = rows_of("image", None, sources=[[0, 1], [1, 2, 3], [5]], num_rows=3)
    found = feature_weights(np.array([0.4, 0.3, 0.2]), rows)
    np.testing.assert_allclose(found, [0.2, 0.2 + 0.1, 0.1, 0.1, 0, 0.2])


def test_the_patch_with_the_attention_is_the_bright_one(pair):
    """A black picture with one weight: the heat is brightest in the right quarter of the panel."""
    rows = rows_of(
        "image",
        Image.new("RGB", (40, 40)),
        sources=[[n] for n in range(4)],
        num_rows=4,
        num_features=4,
        grid=(2, 2),
        preprocessor=pair[1].preprocessors["image"],
    )
    weights = torch.zeros(2, 4)
    weights[:, 1] = 0.7  # upper right
    rows = Rows(**{**vars(rows), "attention": weights})
    drawn = pixels(attention_png(explanation_of(rows), rows, ImageModality(), 0))
    panel = drawn[40:, drawn.shape[1] // 3 : 2 * drawn.shape[1] // 3].sum(-1)  # the second of three, without its title
    inside = panel[10:-10, 10:-10]
    half, middle = inside.shape[0] // 2, inside.shape[1] // 2
    quarters = [inside[:half, :middle], inside[:half, middle:], inside[half:, :middle], inside[half:, middle:]]
    assert np.argmax([np.median(quarter) for quarter in quarters]) == 1


class Stranger(Modality):
    """A modality that says nothing of drawing."""

    def read(self, source):
        return source


def test_a_strangers_modality_is_a_strip_of_rows():
    rows = rows_of("sensor", object(), sources=[[n] for n in range(5)], num_rows=5)
    drawn = pixels(attention_png(explanation_of(rows), rows, Stranger(), 0))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 5  # five cells of different colours
    assert words_png(rows, Stranger()) is None


def test_rows_of_which_nobody_knows_the_features_are_a_strip_also_of_a_picture(pair):
    preprocessor = pair[1].preprocessors["image"]
    rows = rows_of("image", Image.new("RGB", (9, 9)), sources=None, num_rows=3, grid=(2, 3), preprocessor=preprocessor)
    assert attention_png(explanation_of(rows), rows, ImageModality(), 0)
    assert words_png(rows, ImageModality()) is None


def test_more_rows_than_can_be_read_are_not_written_over_the_item(pair):
    rows = rows_of(
        "image",
        Image.new("RGB", (9, 9)),
        sources=[[n] for n in range(121)],
        num_rows=121,
        num_features=121,
        grid=(11, 11),
        preprocessor=pair[1].preprocessors["image"],
    )
    assert words_png(rows, ImageModality()) is None


def test_words_that_the_font_lacks_are_drawn_without_a_warning(pair):
    rows = rows_of(
        "image",
        Image.new("RGB", (9, 9)),
        sources=[[0]],
        num_rows=1,
        num_features=1,
        grid=(1, 1),
        preprocessor=pair[1].preprocessors["image"],
    )
    assert words_png(Rows(**{**vars(rows), "nearest": ((("红$x$", 0.1),),)}), ImageModality())


def test_an_llm_that_tells_no_attention_has_no_drawing_of_it():
    rows = Rows(**{**vars(rows_of("sensor", object(), sources=None, num_rows=2)), "attention": None})
    assert attention_png(explanation_of(rows), rows, Stranger(), 0) is None


def test_without_matplotlib_the_advice_is_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    rows = rows_of("sensor", object(), sources=None, num_rows=2)
    with pytest.raises(KitError, match=r"a drawing needs matplotlib.*; pip install 'tinyllava-kit\[show\]'"):
        attention_png(explanation_of(rows), rows, Stranger(), 0)
