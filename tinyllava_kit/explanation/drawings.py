"""Drawings of an explanation: where the words of an answer attended to in an item, and what its rows are like.

Legend: P features of an item, P' its rows.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.interfaces import Modality
from ..plugin.extras import imported
from .explaining import Explanation, Rows

MAX_WORDS = 23  # of an answer that are drawn, each a panel
MAX_NAMED = 100  # rows whose nearest words are written over the item
COLUMNS = 4
PANEL_INCHES = 2.6
DOTS_PER_INCH = 110


def attention_png(explanation: Explanation, rows: Rows, modality: Modality, index: int) -> bytes | None:
    """The item, and for each word of the answer the item again with the word's attention over it.

    Each panel has a scale of its own, from nothing to its largest; how much of all attention fell on the item stands
    above it. Where rows have no place in the item, they are a strip, in order.

    Args:
        index: of the item among those of the explanation. modality: draws it.

    Returns:
        A PNG file; None where the LLM tells no attention.

    Raises:
        KitError: matplotlib is not installed.
    """
    if rows.attention is None:
        return None
    words = explanation.words[:MAX_WORDS]
    figure, axes = _panels(1 + len(words))
    _blank_panel(axes[0], rows, modality)
    for axis, word, weights in zip(axes[1:], words, rows.attention.numpy(), strict=False):
        places = _places(axis, rows, modality)
        if places is None:
            _strip(axis, weights)
        else:
            _heat(axis, places, feature_weights(weights, rows))
        _title(axis, f"{word.text}  {word.shares[index]:.1%}")
    return _png(figure)


def words_png(rows: Rows, modality: Modality) -> bytes | None:
    """The item with the nearest word of each row written at the row's place.

    Returns:
        A PNG file; None where rows have no place, or are too many to be read.

    Raises:
        KitError: matplotlib is not installed.
    """
    if not 0 < len(rows.nearest) <= MAX_NAMED:
        return None
    figure, (axis,) = _panels(1, inches=3 * PANEL_INCHES)
    places = _places(axis, rows, modality)
    if places is None or rows.sources is None:
        return None
    span = np.ptp(places[:, ::2]), np.ptp(places[:, 1::2])
    box = axis.get_window_extent()
    for sources, nearest in zip(rows.sources, rows.nearest, strict=True):
        mine = places[sources]  # (sources of the row, 4)
        wide = np.ptp(mine[:, ::2]) / span[0] * box.width
        tall = np.ptp(mine[:, 1::2]) / span[1] * box.height
        axis.text(
            (mine[:, 0].min() + mine[:, 2].max()) / 2,
            (mine[:, 1].min() + mine[:, 3].max()) / 2,
            nearest[0][0].strip(),
            rotation=0 if wide >= tall else 90,
            fontsize=max(4, min(9, min(max(wide, tall) / 7, min(wide, tall) / 2))),
            ha="center",
            va="center",
            clip_on=True,
            parse_math=False,
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.6},
        )
    return _png(figure)


def feature_weights(weights: np.ndarray, rows: Rows) -> np.ndarray:
    """What each feature has of the weights (P',) of the rows that were made of it, in equal parts: (P,)."""
    out = np.zeros(rows.num_features)
    for weight, sources in zip(weights, rows.sources or (), strict=True):
        out[sources] += weight / max(len(sources), 1)
    return out


def _blank_panel(axis: Any, rows: Rows, modality: Modality) -> None:
    """The item alone, where its modality draws it."""
    modality.draw(axis, rows.part, rows.preprocessor, rows.num_features, rows.grid)
    if not axis.has_data():
        axis.set_axis_off()
        axis.text(0.5, 0.5, f"{rows.modality}\n{len(rows.nearest)} rows", ha="center", va="center", parse_math=False)
    _title(axis, rows.modality)


def _places(axis: Any, rows: Rows, modality: Modality) -> np.ndarray | None:
    """Draw the item and say where its features stand, (P, 4); None, and nothing drawn, where its rows have no place."""
    if rows.sources is None:
        return None
    places = modality.draw(axis, rows.part, rows.preprocessor, rows.num_features, rows.grid)
    if places is None:
        axis.clear()
    return places


def _heat(axis: Any, places: np.ndarray, weights: np.ndarray) -> None:
    """Each place coloured by its weight, over the drawing."""
    from matplotlib.collections import PolyCollection

    left, top, right, bottom = places.T
    corners = np.stack([np.stack(c, 1) for c in ((left, top), (right, top), (right, bottom), (left, bottom))], 1)
    heat = PolyCollection(list(corners), array=weights, cmap="inferno", alpha=0.6, linewidths=0, antialiaseds=False)
    heat.set_clim(0, max(weights.max(initial=0), 1e-12))
    axis.add_collection(heat, autolim=False)


def _strip(axis: Any, weights: np.ndarray) -> None:
    """Rows without a place: one cell each, in order."""
    axis.imshow(weights[None], aspect="auto", cmap="inferno", vmin=0, extent=(0, len(weights), 0, 1))
    axis.set(yticks=[], xlabel="row (no place)")


def _panels(count: int, inches: float = PANEL_INCHES) -> tuple[Any, Sequence[Any]]:
    make_figure = imported("matplotlib.figure", "a drawing").Figure
    columns = min(count, COLUMNS)
    lines = math.ceil(count / columns)
    figure = make_figure(figsize=(columns * inches, lines * inches), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def _title(axis: Any, text: str) -> None:
    axis.set_title(text, fontsize=9, parse_math=False)


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box; the page has the word
        figure.savefig(out, format="png")
    return out.getvalue()
