"""One picture per embedding table: norms, spectrum and a map of the items, coloured by what became of them."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from validation.naming import file_name
from validation.statistics.paired import within_noise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from validation.judge import Judged
    from validation.material import Baseline
    from validation.statistics.paired import Paired
    from validation.statistics.profile import Profile

__all__ = ["ItemChange", "changes", "draw_picture", "draw_pictures"]

Floats = npt.NDArray[np.float64]

_PAPER, _INK, _FAINT, _BEFORE, _NOW = "#ffffff", "#1f2328", "#6e7781", "#b6bcc4", "#0072b2"
_FEW = 3
"""Items below which neither a spectrum nor a map says anything."""
_MOST_DOTS = 1500
"""Of one kind: more only cover each other and make the file larger."""


class ItemChange:
    """What became of an item since the accepted snapshot: codes of :func:`changes`."""

    UNCHANGED, NEW, CHANGED, MOVED = range(4)


# Colours of Okabe and Ito (2008), told apart by all kinds of colour vision; the shapes differ too.
_LOOKS: dict[int, tuple[str, dict[str, Any]]] = {
    ItemChange.UNCHANGED: ("unchanged", {"color": "#8c959f", "marker": "o", "s": 7, "alpha": 0.5, "linewidths": 0}),
    ItemChange.NEW: ("new item", {"color": "#009e73", "marker": "^", "s": 14, "alpha": 0.8, "linewidths": 0}),
    ItemChange.CHANGED: ("another vector than before", {"color": "#e69f00", "marker": "s", "s": 13, "linewidths": 0}),
    ItemChange.MOVED: ("another item's vector", {"color": "#a1175c", "marker": "x", "s": 24, "linewidths": 1.3}),
}


def changes(now: "Profile", before: "Profile", paired: "Paired | None") -> npt.NDArray[np.int8]:
    """What became of each sampled item, as codes ``[m]`` of :class:`ItemChange`.

    Vectors that differ by no more than encoding noise count as unchanged where both samples hold the item.
    """
    ids = now.ids.take(now.sample_rows)
    former = pc.index_in(ids, value_set=before.ids).fill_null(-1).to_numpy().astype(np.int64)
    codes = np.full(len(ids), ItemChange.NEW, np.int8)
    known = former >= 0
    if not known.any():
        return codes
    mine = now.fingerprints[now.sample_rows]
    # What several items had before is a placeholder: to have it now is no swap.
    theirs, times = np.unique(before.fingerprints, return_counts=True)
    moved = np.isin(mine, theirs[times == 1])
    if paired is not None:
        moved |= np.isin(ids.to_numpy(zero_copy_only=False), [one for one, _ in paired.moved])
    codes[known] = ItemChange.CHANGED
    codes[known & moved] = ItemChange.MOVED
    codes[known & (mine == before.fingerprints[former])] = ItemChange.UNCHANGED
    if now.width == before.width:
        codes[(codes == ItemChange.CHANGED) & _only_noise(now, before, former)] = ItemChange.UNCHANGED
    return codes


def _only_noise(now: "Profile", before: "Profile", former: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    place = np.full(len(before.ids), -1)
    place[before.sample_rows] = np.arange(len(before.sample_rows))
    at = np.where(former >= 0, place[former], -1)
    near = np.zeros(len(former), bool)
    both = np.flatnonzero(at >= 0)
    near[both] = within_noise(before.sample[at[both]], now.sample[both])
    return near


def draw_pictures(directory: Path, snapshot: Snapshot, judged: "Judged", baseline: "Baseline | None") -> dict[str, str]:
    """One PNG for each embedding table that was measured.

    Args:
        directory: An existing directory.
        snapshot: What was judged.
        judged: Its measurements and comparisons.
        baseline: What it was compared with.

    Returns:
        Table → file name.
    """
    pictures = {}
    for name, spec in sorted(snapshot.embeddings.items()):
        now = judged.profiles.get(spec.digest)
        if now is None:
            continue
        table = EMBEDDING_PREFIX + name
        before = baseline.profiles.get(spec.digest) if baseline is not None else None
        comparison = judged.comparisons.get(table)
        what = f"compared with snapshot {baseline.snapshot.id}" if before and baseline else "nothing to compare with"
        pictures[table] = file_name(table, ".png")
        draw_picture(
            directory / pictures[table],
            f"{name.replace('_', ' ')} vectors of snapshot {snapshot.id}, {what}",
            now,
            before,
            comparison.paired if comparison is not None else None,
        )
    return pictures


def draw_picture(
    path: Path, title: str, now: "Profile", before: "Profile | None" = None, paired: "Paired | None" = None
) -> None:
    """Draw one embedding table into a PNG of 1,500 x 576 pixels, at most 300 kB, with a background of its own.

    Args:
        path: The file to write.
        title: What the table holds, in words.
        now: What was measured of it.
        before: The same of the accepted snapshot it is compared with.
        paired: The comparison of the two.
    """
    # Takes half a second to import: only when there is something to draw.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    figure = Figure(figsize=(12.5, 4.8), dpi=120, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    # A fixed layout: to let the library find one takes as long as the drawing.
    edges = {"left": 0.05, "right": 0.785, "top": 0.845, "bottom": 0.115, "wspace": 0.27}
    norms, spectrum, items = figure.subplots(1, 3, width_ratios=(1, 1, 1.1), gridspec_kw=edges)
    figure.suptitle(title, color=_INK, fontsize=12.5, x=0.012, y=0.98, ha="left", weight="bold", parse_math=False)
    if before is not None and before.width != now.width:
        before, paired = None, None
    _draw_norms(norms, now, before)
    _draw_spectrum(spectrum, now, before)
    _draw_items(items, now, before, paired)
    with warnings.catch_warnings():
        # A name may hold letters that the bundled font lacks; a box in their place will do.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path, facecolor=_PAPER, metadata={"Software": None}, pil_kwargs={"optimize": True})


def _frame(axes: "Axes", title: str, across: str, up: str) -> None:
    axes.set_title(title, color=_INK, fontsize=11, loc="left", pad=9)
    axes.set_xlabel(across, color=_INK, fontsize=10)
    axes.set_ylabel(up, color=_INK, fontsize=10)
    axes.set_facecolor(_PAPER)
    axes.tick_params(which="both", colors=_FAINT, labelsize=9)
    axes.locator_params(nbins=6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)


def _say(axes: "Axes", text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_FAINT, fontsize=11)


def _legend(axes: "Axes", **options: Any) -> None:
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none", facecolor=_PAPER, fontsize=9, **options)


def _draw_norms(axes: "Axes", now: "Profile", before: "Profile | None") -> None:
    _frame(axes, "How long the vectors are", "length (norm) of a vector", "share of the items, in %")
    if not len(now.norms):
        _say(axes, "no sound vector")
        return
    series = [("before", before.norms)] if before is not None and len(before.norms) else []
    series.append(("now", now.norms))
    low, high = _range(np.concatenate([norms for _, norms in series]))
    edges = np.linspace(low, high, 61)
    beyond = int(((now.norms < low) | (now.norms > high)).sum())
    for name, norms in series:
        counts, _ = np.histogram(norms.astype(np.float64), edges)
        share = 100 * counts / len(norms)
        if name == "before":
            axes.stairs(share, edges, fill=True, color=_BEFORE, label="before", zorder=1)
        else:
            axes.stairs(share, edges, color=_NOW, linewidth=1.8, label="now", zorder=2)
    axes.set_xlim(low, high)
    axes.set_ylim(0, None)
    if beyond:
        axes.set_xlabel(f"length (norm) of a vector; {beyond:,} now lie outside", color=_INK, fontsize=10)
    _legend(axes, loc="upper right")


def _range(values: npt.NDArray[Any], least: float = 1e-12) -> tuple[float, float]:
    """Limits that show nearly all values, at least ``least`` wide where all are equal."""
    lowest, low, middle, high, highest = np.quantile(values.astype(np.float64), (0, 0.005, 0.5, 0.995, 1))
    spread = max(high - low, 0.02 * abs(middle), least)
    # A few outliers must not squeeze all others into one bar.
    return max(lowest, low - 0.5 * spread) - 0.05 * spread, min(highest, high + 0.5 * spread) + 0.05 * spread


def _draw_spectrum(axes: "Axes", now: "Profile", before: "Profile | None") -> None:
    _frame(
        axes, "In how many directions they vary", "direction, strongest first", "variance along it (eigenvalue, log)"
    )
    if not len(_positive(now.spectrum)):
        few = len(now.ids) < _FEW
        _say(axes, "too few vectors to tell" if few else "all vectors are equal:\nthey vary in no direction")
        return
    for name, one, colour, width in (("before", before, _BEFORE, 4.5), ("now", now, _NOW, 1.8)):
        values = _positive(one.spectrum) if one is not None else np.zeros(0)
        if one is not None and len(values):
            rank = one.statistics.get("effective_rank")
            label = f"{name}: {rank:,.3g} in use" if rank is not None else name
            marker = "o" if len(values) == 1 else None
            axes.plot(np.arange(1, len(values) + 1), values, color=colour, linewidth=width, label=label, marker=marker)
    axes.set_yscale("log")
    axes.set_xlim(0.5, now.width + 0.5)
    _legend(axes, loc="best")


def _positive(spectrum: Floats) -> Floats:
    finite: Floats = spectrum[np.isfinite(spectrum)]
    # What rounding leaves of directions without any variance would stretch the axis over ten decades.
    above: npt.NDArray[np.bool_] = finite > 1e-9 * finite.max(initial=0)
    return finite[above]


def _draw_items(axes: "Axes", now: "Profile", before: "Profile | None", paired: "Paired | None") -> None:
    of = "" if len(now.sample) == len(now.ids) else f" of {len(now.ids):,}"
    _frame(axes, f"Map of {len(now.sample):,}{of} items", "", "")
    reference = now if before is None or len(before.sample) < _FEW else before
    axes_of_map = _plane(reference.sample)
    if len(now.sample) < _FEW or axes_of_map is None:
        _say(axes, "too few vectors for a map" if len(now.sample) < _FEW else "all vectors are equal:\none point")
        return
    centre, directions, shares = axes_of_map
    whose = "now" if reference is now else "before"
    axes.set_xlabel(f"strongest direction of {whose} ({shares[0]:.0%} of the variance)", color=_INK, fontsize=10)
    axes.set_ylabel(f"second direction ({shares[1]:.0%})", color=_INK, fontsize=10)
    points = (now.sample.astype(np.float64) - centre) @ directions
    former = (reference.sample.astype(np.float64) - centre) @ directions
    least = 0.05 * float(np.ptp(former[:, 0]))
    limits = [_range(np.concatenate([points[:, axis], former[:, axis]]), least) for axis in (0, 1)]
    # Outliers stay visible, at the border.
    shown = np.column_stack([np.clip(points[:, axis], *limits[axis]) for axis in (0, 1)])
    if before is None:
        look = _LOOKS[ItemChange.UNCHANGED][1] | {"color": _NOW}
        axes.scatter(shown[:_MOST_DOTS, 0], shown[:_MOST_DOTS, 1], label="item (nothing to\ncompare with)", **look)
    else:
        codes = changes(now, before, paired)
        if reference is before and (codes != ItemChange.UNCHANGED).any():
            axes.scatter(
                former[:_MOST_DOTS, 0],
                former[:_MOST_DOTS, 1],
                s=16,
                color=_BEFORE,
                alpha=0.35,
                linewidths=0,
                label="before",
            )
        for code, (label, look) in _LOOKS.items():
            chosen = shown[codes == code]
            if len(chosen):
                axes.scatter(chosen[:_MOST_DOTS, 0], chosen[:_MOST_DOTS, 1], label=f"{label}: {len(chosen):,}", **look)
    for axis, bound in ((axes.set_xlim, limits[0]), (axes.set_ylim, limits[1])):
        margin = 0.03 * (bound[1] - bound[0])
        axis(bound[0] - margin, bound[1] + margin)
    _legend(axes, loc="upper left", bbox_to_anchor=(1.02, 1.0), markerscale=1.6, borderaxespad=0)


def _plane(sample: npt.NDArray[np.float32]) -> tuple[Floats, Floats, Floats] | None:
    """Centre ``[width]``, two directions ``[width, 2]``, their shares of the variance; None where nothing differs."""
    if len(sample) < _FEW:
        return None
    wide = sample.astype(np.float64)
    centre = wide.mean(axis=0)
    values, vectors = np.linalg.eigh((wide - centre).T @ (wide - centre))
    if not values[-1] > 1e-12 * np.square(wide).sum():
        return None
    if len(values) == 1:
        vectors, values = np.column_stack([np.zeros(1), vectors]), np.array([0.0, values[0]])
    directions = vectors[:, :-3:-1]
    # An eigenvector's sign is arbitrary; without a rule the map would flip between runs.
    strongest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
    directions = directions * np.where(strongest < 0, -1, 1)
    return centre, directions, values[:-3:-1] / max(values.sum(), 1e-300)
