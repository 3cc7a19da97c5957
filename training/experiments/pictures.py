"""A table as a picture: the paper's figures and ours, as bars or as lines."""

from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from contracts.drawing import COLOURS, FAINT, INK, blank_figure, dress, write_figure
from contracts.files import write_bytes_whole
from training.experiments.report import by_metric
from training.experiments.results import Figure, RowResult, TableResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

__all__ = ["draw_table"]

_PRINTED, _OURS, _GRID = "#b6bcc4", "#0072b2", "#e6e8eb"

_TITLE, _LINE = 0.4, 0.23
"""Height of a title of one line, and of each further one, in inches."""

_LETTERS = 9.2
"""Of a title, to the inch."""

_ACROSS = 4
"""Most panels of bars side by side."""

_MARKERS = "osD^vP*XhpH"
"""Of lines. Coprime in number with the colours, so that many lines differ in one of the two."""


def draw_table(path: Path, result: TableResult) -> None:
    """Draw a table into a PNG with a background of its own.

    Args:
        path: The file to write, whole or not at all.
        result: The table.

    Raises:
        StorageFull: The disk ran out of space.
    """
    kind = "real data" if result.real else "simulated data"
    source = f"{result.source}: " if result.source else ""
    title = f"{source}{result.title} ({kind})"
    picture = _draw_bars(title, result) if result.picture == "bars" else _draw_lines(title, result)
    with TemporaryDirectory() as scratch:
        drawn = Path(scratch) / path.name
        write_figure(picture, drawn)
        write_bytes_whole(path, drawn.read_bytes())


def _draw_bars(title: str, result: TableResult) -> "Picture":
    """A panel for each column; the rows from top to bottom, the paper's bar above ours."""
    from matplotlib.patches import Patch

    columns = list(result.columns)
    rows = [row for row in result.rows if row.paper or row.seeds]
    several = result.groups != [""]
    across = min(len(columns), _ACROSS)
    down = -(-len(columns) // across)
    picture = _blank(title, 2.6 + 3.1 * across, _TITLE + down * (1.4 + 0.42 * max(len(rows), 2)))
    panels = list(picture.subplots(down, across, sharey=True, squeeze=False).flat)
    for axes in panels[len(columns) :]:
        axes.remove()
    for axes, column in zip(panels, columns, strict=False):
        dress(axes, column, "", "")
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=_GRID, linewidth=0.8)
        for place, row in enumerate(rows):
            printed, figure = row.paper.get(column), row.figure(column)
            # Side by side where there are two, in the middle where there is one.
            both = printed is not None and figure is not None
            if printed is not None:
                axes.barh(place - 0.19 * both, printed, 0.36, color=_PRINTED)
            if figure is not None:
                error = {} if figure.deviation is None else {"xerr": figure.deviation, "ecolor": INK, "capsize": 2.5}
                axes.barh(place + 0.19 * both, figure.mean, 0.36, color=_OURS, **error)
        axes.set_yticks(range(len(rows)), [row.key if several else row.label for row in rows], color=INK, fontsize=9.5)
        axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
        axes.locator_params(axis="x", nbins=5)
    named = {"paper": _PRINTED, "measured": _OURS} if result.has_paper else {"measured": _OURS}
    handles = [Patch(color=colour, label=name) for name, colour in named.items()]
    picture.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9.5)
    return picture


def _draw_lines(title: str, result: TableResult) -> "Picture":
    """A panel for each column over the groups, or for each metric over its cut-offs; a colour for each label."""
    over_groups = result.groups != [""]
    panels = [[column] for column in result.columns] if over_groups else by_metric(result)
    picture = _blank(title, 2.6 + 3.8 * len(panels), 4.6)
    labels = list(dict.fromkeys(row.label for row in result.rows if row.paper or row.seeds))
    for axes, panel in zip(picture.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        name = panel[0] if over_groups else panel[0].partition("@")[0]
        dress(axes, name, "" if over_groups else "length of the list", "")
        axes.grid(color=_GRID, linewidth=0.8)
        points = _over_groups(result, panel[0]) if over_groups else _over_cutoffs(result, panel)
        for number, label in enumerate(labels):
            style: dict[str, Any] = {
                "color": COLOURS[number % len(COLOURS)],
                "marker": _MARKERS[number % len(_MARKERS)],
            }
            own = [point for point in points if point[1].label == label]
            printed = [(x, row.paper[column]) for x, row, column in own if column in row.paper]
            if printed:
                axes.plot(*zip(*printed, strict=True), linestyle="--", linewidth=1, markersize=3.5, alpha=0.7, **style)
            measured = [(x, figure) for x, row, column in own if (figure := row.figure(column)) is not None]
            if measured:
                _line(axes, measured, style)
        if over_groups:
            _name_groups(axes, result.groups)
        else:
            axes.set_xticks(sorted({x for x, _, _ in points}))
    _name_lines(picture, labels, result.has_paper)
    return picture


def _line(axes: "Axes", measured: list[tuple[float, Figure]], style: dict[str, Any]) -> None:
    axes.errorbar(
        [x for x, _ in measured],
        [figure.mean for _, figure in measured],
        yerr=[figure.deviation or 0 for _, figure in measured],
        linewidth=1.8,
        markersize=5,
        capsize=2.5,
        **style,
    )


def _name_groups(axes: "Axes", groups: list[str]) -> None:
    """Write them below a panel; of ``threshold = 5`` and the like the number alone, and once what it is."""
    names, signs, values = zip(*(group.partition(" = ") for group in groups), strict=True)
    if len(set(names)) == 1 and all(signs):
        axes.set_xlabel(names[0], color=INK, fontsize=10)
        axes.set_xticks(range(len(groups)), values)
    else:
        axes.set_xticks(range(len(groups)), groups, rotation=20, ha="right")


def _over_groups(result: TableResult, column: str) -> list[tuple[float, RowResult, str]]:
    return [(place, row, column) for place, group in enumerate(result.groups) for row in result.of_group(group)]


def _over_cutoffs(result: TableResult, panel: list[str]) -> list[tuple[float, RowResult, str]]:
    """In order of the cut-offs, which are what stands behind the ``@``."""
    ordered = sorted((float(column.rpartition("@")[2]), column) for column in panel)
    return [(cutoff, row, column) for row in result.rows for cutoff, column in ordered]


def _name_lines(picture: "Picture", labels: list[str], has_paper: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[number % len(COLOURS)], marker=_MARKERS[number % len(_MARKERS)], label=label)
        for number, label in enumerate(labels)
    ]
    if has_paper:
        handles.append(Line2D([], [], color=FAINT, linewidth=1.8, label="measured"))
        handles.append(Line2D([], [], color=FAINT, linewidth=1, linestyle="--", label="paper"))
    picture.legend(handles=handles, loc="outside right center", frameon=False, fontsize=9.5)


def _blank(title: str, width: float, height: float) -> "Picture":
    """A picture that finds room for a title and labels of any length by itself."""
    lines = wrap(title, int(_LETTERS * width))
    further = _LINE * (len(lines) - 1)
    height += further
    picture = blank_figure("\n".join(lines), width, height)
    picture.texts[0].set_y(1 - 0.1 / height)
    picture.set_layout_engine("constrained", rect=(0, 0, 1, 1 - (_TITLE + further) / height))
    return picture
