"""One look for all pictures; matplotlib is loaded where the first is drawn."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "FAINT", "INK", "PAPER", "blank_figure", "dress", "legend", "say", "write_figure"]

PAPER: Final = "#ffffff"
INK: Final = "#1f2328"
FAINT: Final = "#6e7781"

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a", "#a1175c")
"""Told apart by all kinds of colour vision (after Okabe and Ito 2008)."""


def blank_figure(title: str, width: float, height: float) -> "Figure":
    """An empty picture with a background of its own, 120 pixels to the inch.

    Args:
        title: What is shown, in words.
        width: In inches.
        height: Likewise.
    """
    # Takes half a second to import: only when there is something to draw.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    figure = Figure(figsize=(width, height), dpi=120, facecolor=PAPER)
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK, fontsize=12.5, x=0.15 / width, y=0.98, ha="left", weight="bold", parse_math=False)
    return figure


def dress(axes: "Axes", title: str, across: str, up: str) -> None:
    """Give axes their titles, and leave out lines that say nothing."""
    axes.set_title(title, color=INK, fontsize=11, loc="left", pad=9, parse_math=False)
    axes.set_xlabel(across, color=INK, fontsize=10)
    axes.set_ylabel(up, color=INK, fontsize=10)
    axes.set_facecolor(PAPER)
    axes.tick_params(which="both", colors=FAINT, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)


def legend(axes: "Axes", **options: Any) -> None:
    """Say what each mark of the axes stands for."""
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none", facecolor=PAPER, fontsize=9, **options)


def say(axes: "Axes", text: str) -> None:
    """Write why there is nothing to see."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT, fontsize=11)


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a picture as PNG; equal pictures are equal bytes."""
    with warnings.catch_warnings():
        # A name may hold letters that the bundled font lacks; a box in their place will do.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path, facecolor=PAPER, metadata={"Software": None}, pil_kwargs={"optimize": True})
