"""Showing a person what is wrong with the files."""

import sys
from collections.abc import Sequence

from contracts.console import note
from feature_repo.readers.own.problems import Problem

__all__ = ["print_problems"]


def print_problems(problems: Sequence[Problem]) -> None:
    """Show every problem on standard error: a table on a terminal, otherwise a line each."""
    if not sys.stderr.isatty():
        for problem in problems:
            note(f"  {problem.line()}")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, expand=True)
    for title in ("File", "Column", "Problem", "Rows", "First", "Allowed, and what to do"):
        table.add_column(title, overflow="fold", justify="right" if title == "Rows" else "left")
    for problem in problems:
        pairs = zip(problem.rows, problem.values, strict=True) if problem.rows else ()
        first = "\n".join(f"{row}: {value}" for row, value in pairs) or "\n".join(problem.values)
        advice = f"{problem.allowed}. {problem.hint}"
        count = f"{problem.count:,}" if problem.rows else ""
        cells = (problem.file, problem.column or "", problem.problem, count, first, advice)
        table.add_row(*(Text(cell) for cell in cells))  # plain text: a value may look like markup
    Console(stderr=True).print(table)
