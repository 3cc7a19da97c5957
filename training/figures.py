"""Pictures of a run, each with its numbers beside it: what a table of metrics does not show."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.drawing import COLOURS, FAINT, INK, blank_figure, dress, legend, write_figure
from training.figure_arrays import embedding_map, intensity_table, learning_curves, recall_curves
from training.ranking import Standing
from training.recommender import EpochReport, Recommender

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from feature_repo.frame import TrainingFrame

__all__ = ["CURVE", "draw_figures"]

CURVE = 100
"""Longest list of the Recall@N curve."""

_WIDTH, _HEIGHT = 9.5, 3.9
_EDGES = {"left": 0.075, "right": 0.985, "top": 0.81, "bottom": 0.14, "wspace": 0.2}
"""A fixed layout: to let the library find one takes as long as the drawing."""

_PARTS = {"all": "all items", "popular_items": "popular items", "tail_items": "the others", "cold_items": "cold items"}


def draw_figures(
    directory: Path,
    title: str,
    model: Recommender,
    frame: "TrainingFrame",
    standing: Standing,
    epochs: Sequence[EpochReport],
    seed: int,
) -> list[str]:
    """Draw what there is to show of a finished training.

    - ``curves``: losses and validation metrics by epoch, where there were two;
    - ``recall_at_n``: Recall@N of the held-out events, whole and by how popular items are;
    - ``intensity``: weight of content and of each modality by how popular items are, of a model with such weights;
    - ``embeddings``: t-SNE of ID and of content embeddings, of a model with both and at least 100 items.

    Args:
        directory: An existing one; each picture is ``<name>.png`` there, its numbers ``<name>.json`` or ``.parquet``.
        title: What was trained, in words.
        model: The fitted model.
        frame: What it was fitted on.
        standing: Where the held-out events stand, exact down to :data:`CURVE`.
        epochs: In order.
        seed: Of the maps.

    Returns:
        Names of the pictures.
    """
    drawn = []
    if (curves := learning_curves(epochs)) is not None:
        _write(directory, "curves", curves)
        _draw_curves(directory / "curves.png", title, curves)
        drawn.append("curves")
    recalls = recall_curves(standing, frame, CURVE)
    _write(directory, "recall_at_n", recalls)
    _draw_recalls(directory / "recall_at_n.png", title, recalls)
    drawn.append("recall_at_n")
    if (weights := intensity_table(model, frame, standing)) is not None:
        _write(directory, "intensity", weights)
        _draw_intensity(directory / "intensity.png", title, weights)
        drawn.append("intensity")
    if (points := embedding_map(model, frame, seed)) is not None:
        pq.write_table(points, directory / "embeddings.parquet")
        _draw_map(directory / "embeddings.png", title, points)
        drawn.append("embeddings")
    return drawn


def _write(directory: Path, name: str, document: Mapping[str, Any]) -> None:
    (directory / f"{name}.json").write_text(json.dumps(document) + "\n", encoding="utf-8")


def _draw_curves(path: Path, title: str, curves: Mapping[str, Any]) -> None:
    figure = blank_figure(title, _WIDTH, _HEIGHT)
    losses, validation = figure.subplots(1, 2, gridspec_kw=_EDGES)
    dress(losses, "Losses", "epoch", "mean over the batches, weighted")
    dress(validation, "Validation", "epoch", "mean over the lists")
    total = np.sum(list(curves["losses"].values()), axis=0)
    _lines(losses, curves["epoch"], curves["losses"] | ({"sum": total} if len(curves["losses"]) > 1 else {}))
    _lines(validation, curves["epoch"], curves["validation"])
    validation.set_ylim(0, None)
    write_figure(figure, path)


def _draw_recalls(path: Path, title: str, recalls: Mapping[str, Any]) -> None:
    figure = blank_figure(title, 0.6 * _WIDTH, _HEIGHT)
    axes = figure.subplots(1, 1, gridspec_kw=_EDGES | {"left": 0.125, "right": 0.97})
    dress(axes, "Recall@N of the test events", "N, length of the lists", "mean over the lists")
    named = {f"{_PARTS[part]} ({recalls['lists'][part]:,} lists)": values for part, values in recalls["recall"].items()}
    _lines(axes, recalls["n"], named)
    axes.set_xlim(0, None)
    axes.set_ylim(0, None)
    write_figure(figure, path)


def _draw_intensity(path: Path, title: str, weights: Mapping[str, Any]) -> None:
    both = "content_weight" in weights and "intensity" in weights
    figure = blank_figure(title, _WIDTH, _HEIGHT)
    panels = np.ravel(figure.subplots(1, 1 + both, gridspec_kw=_EDGES | {"bottom": 0.2}))
    across = "training events of the item"
    if "content_weight" in weights:
        dress(panels[0], "Content against ID, of items", across, "weight of the content")
        labels = [f"{name}\n{count:,}" for name, count in zip(weights["bucket"], weights["items"], strict=True)]
        _boxes(panels[0], labels, {"content": weights["content_weight"]})
        panels[0].set_xlabel(f"{across}; number of items", color=INK, fontsize=10)
    if "intensity" in weights:
        dress(panels[-1], "Modalities, of users who chose such items", across, "interest intensity")
        labels = [f"{name}\n{count:,}" for name, count in zip(weights["bucket"], weights["events"], strict=True)]
        _boxes(panels[-1], labels, weights["intensity"])
        panels[-1].set_xlabel(f"{across}; number of test events", color=INK, fontsize=10)
        legend(panels[-1], loc="best")
    write_figure(figure, path)


def _draw_map(path: Path, title: str, points: pa.Table) -> None:
    figure = blank_figure(title, _WIDTH, 0.53 * _WIDTH)
    panels = figure.subplots(1, 2, gridspec_kw=_EDGES | {"left": 0.02, "bottom": 0.05, "top": 0.84, "wspace": 0.06})
    clusters = points["cluster"].to_numpy()
    for axes, name, what in zip(panels, ("content", "id"), ("Content", "ID"), strict=True):
        dress(axes, f"{what} embeddings of {len(points):,} items, by t-SNE", "", "")
        axes.set_xticks([])
        axes.set_yticks([])
        for cluster in np.unique(clusters):
            chosen = clusters == cluster
            x, y = (points[f"{name}_{axis}"].to_numpy()[chosen] for axis in "xy")
            axes.scatter(x, y, s=6, color=COLOURS[cluster], alpha=0.7, linewidths=0)
    panels[0].set_xlabel("coloured by cluster of the content, on both sides", color=FAINT, fontsize=9)
    write_figure(figure, path)


def _lines(axes: "Axes", across: Sequence[float], lines: Mapping[str, Sequence[float]]) -> None:
    for place, (name, values) in enumerate(lines.items()):
        style = "-" if place < len(COLOURS) else "--"
        axes.plot(across, values, style, color=COLOURS[place % len(COLOURS)], linewidth=1.8, label=name)
    axes.locator_params(nbins=6)
    legend(axes, loc="best")


def _boxes(axes: "Axes", labels: Sequence[str], groups: Mapping[str, Sequence[Sequence[float] | None]]) -> None:
    """Boxes from the quartiles, whiskers to the 5th and the 95th percentile."""
    width = 0.8 / len(groups)
    for place, (name, boxes) in enumerate(groups.items()):
        colour = COLOURS[place % len(COLOURS)]
        shift = (place - (len(groups) - 1) / 2) * width
        there = [(at, box) for at, box in enumerate(boxes) if box is not None]
        keys = ("whislo", "q1", "med", "q3", "whishi")
        axes.bxp(
            [dict(zip(keys, box, strict=True)) for _, box in there],
            positions=[at + shift for at, _ in there],
            widths=0.8 * width,
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour},
            medianprops={"color": colour, "linewidth": 2},
            whiskerprops={"color": colour},
            capprops={"color": colour},
        )
        axes.plot([], [], color=colour, linewidth=6, alpha=0.5, label=name)
    axes.set_xticks(range(len(labels)), labels, fontsize=7.5)
    axes.set_xlim(-0.6, len(labels) - 0.4)
