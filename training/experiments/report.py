"""A table as text for a terminal and as Markdown: the paper's figures beside ours, best in bold, and its orderings."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from training.experiments.results import Figure, RowResult, TableResult
from training.experiments.tables import Table

__all__ = ["Ordering", "by_metric", "list_tables", "markdown_of", "orderings_of", "panels_of", "text_of"]

_WIDEST = 4
"""Columns that stand side by side; more are cut into one part for each metric."""

_NOTHING = "–"


def panels_of(result: TableResult) -> list[list[str]]:
    """Labels of the columns that stand side by side: all, or those of one metric where there are many."""
    return [list(result.columns)] if len(result.columns) <= _WIDEST else by_metric(result)


def by_metric(result: TableResult) -> list[list[str]]:
    """Labels of the columns of each metric."""
    metrics = dict.fromkeys(label.partition("@")[0] for label in result.columns)
    return [[label for label in result.columns if label.partition("@")[0] == metric] for metric in metrics]


class Ordering:
    """Whether one claim of a table, that a row is above another one, is what was measured.

    Args:
        column: In which it is compared.
        better: The row that is claimed to be above.
        worse: The other one.
    """

    def __init__(self, column: str, better: RowResult, worse: RowResult) -> None:
        self.better, self.worse = better, worse
        printed = [row.paper.get(column) for row in (better, worse)]
        self.paper = None if None in printed else printed[0] - printed[1]  # type: ignore[operator]
        self.measured = better.difference(worse, column)
        figures = better.figure(column), worse.figure(column)
        self.ratio = figures[0].mean / figures[1].mean if figures[0] and figures[1] and figures[1].mean else None

    @property
    def holds(self) -> bool | None:
        """None where one of the two has no figures."""
        return None if self.measured is None else self.measured.mean > 0


def orderings_of(result: TableResult) -> Iterator[Ordering]:
    """Every claim of the table, in every group that has both rows."""
    for group in result.groups:
        rows = {row.label: row for row in result.of_group(group)}
        for better, worse in result.orderings:
            if better in rows and worse in rows:
                yield Ordering(result.columns[0], rows[better], rows[worse])


def list_tables(tables: Iterable[Table]) -> str:
    """One line for each table."""
    return _aligned(
        [(table.name, f"{table.data} ({_kind(table.real)})", table.title) for table in tables], figures=False
    )


def text_of(result: TableResult) -> str:
    """The table for a terminal."""
    lines = [f"{result.name}: {result.title}{f' ({result.source})' if result.source else ''}", f"on {_where(result)}"]
    for panel in panels_of(result):
        lines += ["", _aligned(list(_grid(result, panel, str)), figures=True)]
    if remarks := list(_remarks(result)):
        lines += ["", *remarks]
    claims = [_claim(result, ordering) for ordering in orderings_of(result)]
    if claims:
        lines += ["", f"Orderings, in {result.columns[0]}:"]
        lines += [f"  {title}: {measured}{f' (paper: {paper})' if paper else ''}" for title, paper, measured in claims]
    return "\n".join(lines)


def markdown_of(result: TableResult, picture: str) -> str:
    """The table as a section of a page.

    Args:
        result: The table.
        picture: Address of its picture, relative to the page.
    """
    source = f" {result.source}." if result.source else ""
    parts = [
        f"## {result.name}\n\n**{result.title}.**{source} Data: {_where(result)}.",
        *([result.note] if result.note else []),
        *(_markdown(list(_grid(result, panel, _bold)), figures=True) for panel in panels_of(result)),
        "\n".join(f"- {remark}" for remark in _remarks(result)),
        f"![{result.title}]({picture})",
    ]
    claims = [_claim(result, ordering) for ordering in orderings_of(result)]
    if claims:
        parts.append(_markdown([(f"in {result.columns[0]}", "paper", "measured"), *claims]))
    parts.append(_markdown(list(_details(result))))
    parts.append("\n".join(f"- Protocol `{digest}`: {words}." for digest, words in sorted(result.protocols.items())))
    prepare = "\n".join(result.prepare)
    parts.append(f"```console\n{prepare}\n{result.command}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _where(result: TableResult) -> str:
    return f"{result.data} ({_kind(result.real)}), snapshot {result.snapshot}"


def _kind(real: bool) -> str:
    return "real" if real else "simulated"


def _aligned(grid: Sequence[Sequence[str]], *, figures: bool) -> str:
    """Cells in columns, two spaces apart; figures, behind their label, to the right."""
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    right = [figures and place > 0 for place in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in grid
    )


def _grid(result: TableResult, panel: Sequence[str], bold: Callable[[str], str]) -> Iterator[tuple[str, ...]]:
    """Lines of cells, the titles first."""
    printed = result.has_paper
    yield ("", *(cell for label in panel for cell in ((f"{label} paper", "measured") if printed else (label,))))
    for group in result.groups:
        rows = result.of_group(group)
        if group:
            yield (bold(group), *([""] * (len(panel) * (2 if printed else 1))))
        best = {label: _best(row.paper.get(label) for row in rows) for label in panel}
        highest = {label: _best(_mean(row.figure(label)) for row in rows) for label in panel}
        for row in rows:
            cells = [row.label]
            for label in panel:
                if printed:
                    value = row.paper.get(label)
                    shown = _NOTHING if value is None else f"{value:.{result.digits}f}"
                    cells.append(bold(shown) if value is not None and value == best[label] else shown)
                figure = row.figure(label)
                shown = _shown(row, figure, result.digits)
                cells.append(bold(shown) if figure is not None and figure.mean == highest[label] else shown)
            yield tuple(cells)


def _best(values: Iterator[float | None]) -> float | None:
    """The highest; none where there is nothing to compare it with."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) > 1 else None


def _mean(figure: Figure | None) -> float | None:
    return None if figure is None else figure.mean


def _shown(row: RowResult, figure: Figure | None, digits: int) -> str:
    if figure is None:
        return "not run" if row.measured is not None or row.not_run else _NOTHING
    return f"{figure.mean:.{digits}f}" + ("" if figure.deviation is None else f" ± {figure.deviation:.{digits}f}")


def _remarks(result: TableResult) -> Iterator[str]:
    """Why rows have no figures, each reason once."""
    for reason in dict.fromkeys(row.not_run for row in result.rows if row.not_run):
        yield f"{', '.join(row.key for row in result.rows if row.not_run == reason)}: {reason}"


def _claim(result: TableResult, ordering: Ordering) -> tuple[str, str, str]:
    """The claim, what the paper prints of it, and what was measured."""
    title = f"{ordering.better.key} over {ordering.worse.label}"
    paper = "" if ordering.paper is None else f"by {ordering.paper:.{result.digits}f}"
    if ordering.measured is None:
        return title, paper, "not measured"
    gap, spread = ordering.measured.mean, ordering.measured.deviation
    by = f"{abs(gap):.{result.digits}f}" + ("" if spread is None else f" ± {spread:.{result.digits}f}")
    times = "" if ordering.ratio is None else f", ×{ordering.ratio:.2f}"
    return title, paper, f"holds, by {by}{times}" if ordering.holds else f"does not hold, lower by {by}{times}"


def _details(result: TableResult) -> Iterator[tuple[str, ...]]:
    yield ("row", "model", "options", "tuned", "seeds", "s per training", "versions", "code")
    for row in result.rows:
        if row.measured is None or not row.seeds:
            continue
        options = ", ".join(f"{name}={value}" for name, value in row.measured.options.items() if name != "variant")
        seeds = ", ".join(str(seed.seed) for seed in row.seeds if seed.seed is not None)
        versions = ", ".join(seed.version for seed in row.seeds if seed.version is not None)
        surfaces = {seed.surface for seed in row.seeds if seed.surface is not None}
        yield (
            row.key,
            f"{row.measured.model} ({row.measured.variant})",
            f"`{options}`" if options else "defaults",
            row.tuned or _NOTHING,
            seeds or _NOTHING,
            _NOTHING if row.seconds is None else f"{row.seconds:,.1f}",
            f"{' '.join(sorted(surfaces))} {versions}" if versions else _NOTHING,
            f"`{_short(row.code_revision)}`" if row.code_revision else _NOTHING,
        )


def _short(revision: str) -> str:
    commit, dash, state = revision.partition("-")
    return f"{commit[:12]}{dash}{state}"


def _bold(text: str) -> str:
    return f"**{text}**"


def _markdown(grid: Sequence[Sequence[str]], *, figures: bool = False) -> str:
    """A table of Markdown, figures to the right; nothing where there are only titles."""
    if len(grid) < 2:
        return ""
    lines = [grid[0], ["---", *["--:" if figures else "---"] * (len(grid[0]) - 1)], *grid[1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
