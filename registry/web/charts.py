"""Charts as SVG made on the server: they need no script, follow light and dark, and can be read aloud.

Marks have CSS classes and no colours of their own. Each chart has a title, a description and its figures as a table;
series differ by colour, dash and a label at their end. What is not finite is left out of the drawing and said below it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from registry.web.words import figure

__all__ = ["Bar", "Interval", "Series", "bars", "curves", "intervals", "sparkline", "ticks"]

WIDTH: Final = 560
COLOURS: Final = 8
"""Series of one chart; those beyond begin again with the first colour."""

_LETTER: Final = 6.6
"""Width of a letter of a label, in units of the drawing."""


@dataclass(frozen=True)
class Series:
    """A line: points in the order of their first coordinate."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Interval:
    """A value with the interval it lies in."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    series: int = 0
    """Which colour, from 0; rows of equal meaning have the same."""
    hollow: bool = False
    """Drawn open: the one that others are compared with."""


@dataclass(frozen=True)
class Bar:
    """A value from zero, and the floor or ceiling that it has to keep to."""

    label: str
    value: float
    limit: float | None = None


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values from at most ``low`` to at least ``high``, about as many as wanted."""
    if not high - low > 1e-9 * max(abs(low), abs(high), 1e-99):  # one value, as far as a drawing can tell
        room = max(abs(low), abs(high)) * 0.5
        low, high = low - (room if room > 1e-99 else 0.5), high + (room if room > 1e-99 else 0.5)
    raw = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 3 - math.floor(math.log10(step))
    return [round(number * step, digits) for number in range(first, last + 1)]


def curves(title: str, about: str, series: Sequence[Series], *, x: str, y: str, height: int = 260) -> Markup:
    """Lines over a common axis, each with its name at its end.

    Args:
        title: What is shown.
        about: What it says, in a sentence; read aloud.
        series: At most :data:`COLOURS`, or colours repeat; their dashes then tell them apart.
        x: What the first coordinate is.
        y: What the second is.
        height: Of the drawing, in units of which it is :data:`WIDTH` wide.
    """
    kept = [Series(line.name, [point for point in line.points if _finite(*point)]) for line in series]
    kept = [line for line in kept if line.points]
    dropped = sum(len(line.points) for line in series) - sum(len(line.points) for line in kept)
    rows = [
        (line.name, figure(at, 0 if float(at).is_integer() else 4), figure(value))
        for line in kept
        for at, value in line.points
    ]
    if not kept:
        return _figure(title, about, "", 0, ("Series", x, y), rows, dropped)
    across = ticks(min(p[0] for s in kept for p in s.points), max(p[0] for s in kept for p in s.points))
    up = ticks(min(p[1] for s in kept for p in s.points), max(p[1] for s in kept for p in s.points))
    right = 16 + min(max(len(line.name) for line in kept), 22) * _LETTER
    left = 14 + max(len(_short(value)) for value in up) * _LETTER
    box = _Box(left, 24.0, WIDTH - left - right, height - 70.0, (across[0], across[-1]), (up[0], up[-1]))
    parts = [_axes(box, across, up, x, y)]
    ends = _apart([box.y(line.points[-1][1]) for line in kept], 14.0, box.top, box.top + box.high)
    for number, (line, end) in enumerate(zip(kept, ends, strict=True)):
        path = "".join(f"{'L' if at else 'M'}{box.x(a):.1f} {box.y(b):.1f}" for at, (a, b) in enumerate(line.points))
        last = box.x(line.points[-1][0])
        marks = Markup('<g class="s{0}"><path class="line d{0}" d="{1}"/>').format(_colour(number), path)
        if len(line.points) <= 12:
            marks += Markup("").join(_dot(box.x(a), box.y(b)) for a, b in line.points)
        marks += Markup('<text class="label" x="{:.1f}" y="{:.1f}" dy="4">{}</text></g>').format(
            last + 8, end, _cut(line.name, 22)
        )
        parts.append(marks)
    return _figure(title, about, Markup("").join(parts), height, ("Series", x, y), rows, dropped)


def intervals(title: str, about: str, rows: Sequence[Interval], *, x: str, zero: float | None = None) -> Markup:
    """A dot with its interval a row: metrics of versions, or differences from one of them.

    Args:
        title: What is shown.
        about: What it says, in a sentence; read aloud.
        rows: From the top.
        x: What the values are.
        zero: Where a line shall stand: no difference, or a margin.
    """
    kept = [row for row in rows if _finite(row.value)]
    table = [(row.label, figure(row.value), _span(row)) for row in rows]
    if not kept:
        return _figure(title, about, "", 0, ("", x, "95% interval"), table, len(rows))
    ends = [end for row in kept for end in (row.value, row.low, row.high, zero) if end is not None and _finite(end)]
    across = ticks(min(ends), max(ends))
    left = 12 + min(max(len(row.label) for row in kept), 26) * _LETTER
    height = 26 * len(kept) + 62
    box = _Box(left, 12.0, WIDTH - left - 24, 26.0 * len(kept), (across[0], across[-1]), (0, 1))
    parts = [_axes(box, across, [], x, "")]
    if zero is not None:
        parts.append(_line("zero", box.x(zero), box.top, box.x(zero), box.top + box.high))
    for number, row in enumerate(kept):
        middle = box.top + 26 * number + 13
        mark = Markup('<g class="s{}">').format(_colour(row.series))
        if row.low is not None and row.high is not None and _finite(row.low, row.high):
            mark += _line("line", box.x(row.low), middle, box.x(row.high), middle)
            mark += _line("line", box.x(row.low), middle - 4, box.x(row.low), middle + 4)
            mark += _line("line", box.x(row.high), middle - 4, box.x(row.high), middle + 4)
        mark += _dot(box.x(row.value), middle, 4.5, "hollow" if row.hollow else "dot") + Markup("</g>")
        mark += Markup('<text x="{:.1f}" y="{:.1f}" dy="4" text-anchor="end">{}</text>').format(
            left - 10, middle, _cut(row.label, 26)
        )
        parts.append(mark)
    dropped = len(rows) - len(kept)
    return _figure(title, about, Markup("").join(parts), height, ("", x, "95% interval"), table, dropped)


def bars(title: str, about: str, rows: Sequence[Bar], *, x: str) -> Markup:
    """A bar a row, with its figure at its end and a stroke where its limit is."""
    kept = [row for row in rows if _finite(row.value)]
    table = [(row.label, figure(row.value), figure(row.limit)) for row in rows]
    if not kept:
        return _figure(title, about, "", 0, ("", x, "Limit"), table, len(rows))
    ends = [0.0, *(row.value for row in kept), *(row.limit for row in kept if row.limit is not None)]
    across = ticks(min(ends), max(ends))
    left = 12 + min(max(len(row.label) for row in kept), 26) * _LETTER
    height = 26 * len(kept) + 62
    box = _Box(left, 12.0, WIDTH - left - 70, 26.0 * len(kept), (across[0], across[-1]), (0, 1))
    parts = [_axes(box, across, [], x, "")]
    for number, row in enumerate(kept):
        top = box.top + 26 * number + 5
        start, end = sorted((box.x(0), box.x(row.value)))
        mark = Markup(
            '<g class="s1"><rect class="bar-mark" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="16" rx="2"/></g>'
        )
        parts.append(mark.format(start, top, max(end - start, 1)))
        if row.limit is not None:
            parts.append(_line("axis", box.x(row.limit), top - 3, box.x(row.limit), top + 19))
        words = Markup('<text x="{:.1f}" y="{:.1f}" dy="12" text-anchor="end">{}</text>')
        parts.append(words.format(left - 10, top, _cut(row.label, 26)))
        parts.append(Markup('<text x="{:.1f}" y="{:.1f}" dy="12">{}</text>').format(end + 6, top, _short(row.value)))
    dropped = len(rows) - len(kept)
    return _figure(title, about, Markup("").join(parts), height, ("", x, "Limit"), table, dropped)


def sparkline(title: str, values: Iterable[float]) -> Markup:
    """A line as high as a line of text; the title says first, last, least and most."""
    kept = [value for value in values if _finite(value)]
    if len(kept) < 2:
        return Markup('<span class="quiet">–</span>')
    low, high = min(kept), max(kept)
    said = f"{title}: from {figure(kept[0])} to {figure(kept[-1])}, between {figure(low)} and {figure(high)}"
    step = 92 / (len(kept) - 1)
    path = "".join(
        f"{'L' if n else 'M'}{2 + n * step:.1f} {19 - (value - low) / ((high - low) or 1) * 16:.1f}"
        for n, value in enumerate(kept)
    )
    return Markup(
        '<span class="chart spark s1"><svg viewBox="0 0 96 22" role="img" aria-label="{0}">'
        '<title>{0}</title><path class="line" d="{1}"/></svg></span>'
    ).format(said, path)


@dataclass(frozen=True)
class _Box:
    """Where values lie in the drawing."""

    left: float
    top: float
    wide: float
    high: float
    across: tuple[float, float]
    up: tuple[float, float]

    def x(self, value: float) -> float:
        return self.left + (value - self.across[0]) / (self.across[1] - self.across[0]) * self.wide

    def y(self, value: float) -> float:
        return self.top + self.high - (value - self.up[0]) / (self.up[1] - self.up[0]) * self.high


def _axes(box: _Box, across: Sequence[float], up: Sequence[float], x: str, y: str) -> Markup:
    bottom = box.top + box.high
    parts = []
    for value in up:
        parts.append(_line("grid", box.left, box.y(value), box.left + box.wide, box.y(value)))
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{:.1f}" dy="4" text-anchor="end">{}</text>').format(
                box.left - 8, box.y(value), _short(value)
            )
        )
    for value in across:
        if not up:
            parts.append(_line("grid", box.x(value), box.top, box.x(value), bottom))
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(
                box.x(value), bottom + 18, _short(value)
            )
        )
    parts.append(_line("axis", box.left, bottom, box.left + box.wide, bottom))
    middle = box.left + box.wide / 2
    parts.append(
        Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(middle, bottom + 38, x)
    )
    if y:
        parts.append(Markup('<text class="tick" x="0" y="12">{}</text>').format(y))
    return Markup("").join(parts)


def _figure(
    title: str,
    about: str,
    drawing: Markup | str,
    height: float,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    dropped: int,
) -> Markup:
    svg = Markup("")
    if drawing:
        svg = Markup(
            '<div class="scroll" role="region" aria-label="{0}" tabindex="0">'
            '<svg viewBox="0 0 {1} {2}" role="img" aria-label="{0}"><title>{0}</title><desc>{3}</desc>{4}</svg></div>'
        ).format(title, WIDTH, height, about, drawing)
    else:
        svg = Markup('<p class="nothing">No finite figure to draw.</p>')
    if dropped:
        svg += Markup('<p class="quiet">{} left out: not finite.</p>').format(
            f"{dropped} figure{'s' if dropped > 1 else ''}"
        )
    columns = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in head)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                (Markup('<th scope="row">{}</th>') if at == 0 else Markup('<td class="number">{}</td>')).format(cell)
                for at, cell in enumerate(row)
            )
        )
        for row in rows
    )
    return Markup(
        '<figure class="chart"><figcaption><strong>{0}</strong>. {1}</figcaption>{2}'
        '<details><summary>Figures</summary><div class="scroll" role="region" aria-label="Figures: {0}" tabindex="0">'
        '<table><caption class="hidden">{0}</caption><thead><tr>{3}</tr></thead><tbody>{4}</tbody></table></div>'
        "</details></figure>"
    ).format(title, about, svg, columns, body)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<path class="{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(kind, x1, y1, x2, y2)


def _dot(x: float, y: float, radius: float = 3.5, kind: str = "dot") -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(kind, x, y, radius)


def _apart(wanted: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Places for labels, near where they are wanted and not over each other."""
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    placed = [min(max(wanted[number], top), bottom) for number in order]
    for number in range(1, len(placed)):
        placed[number] = max(placed[number], placed[number - 1] + gap)
    excess = placed[-1] - bottom
    if excess > 0:
        placed[-1] = bottom
        for number in range(len(placed) - 2, -1, -1):
            placed[number] = min(placed[number], placed[number + 1] - gap)
    result = [0.0] * len(wanted)
    for place, number in zip(placed, order, strict=True):
        result[number] = place
    return result


def _finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def _colour(number: int) -> int:
    return number % COLOURS + 1


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _span(row: Interval) -> str:
    if row.low is None or row.high is None:
        return figure(None)
    return f"{figure(row.low)} to {figure(row.high)}"
