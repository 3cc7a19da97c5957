"""What is wrong with a team's files: every problem found, not the first one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.errors import BadInput

__all__ = ["Place", "Problem", "Problems", "TablesRefused", "shown"]

_CHECK_AGAIN = "mend the files, and see with `backbeat ingest tables DIR --check` whether anything is left"
_EXAMPLES = 5
_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one column, or with a whole file."""

    file: str
    table: str | None
    column: str | None
    problem: str
    """What is wrong, in words."""
    count: int
    """How many rows have it; 1 where it is the file or the column that has it."""
    rows: list[int]
    """Numbers of the first of those rows; the first row after a header is 1."""
    values: list[str]
    """What stands there."""
    allowed: str
    hint: str
    """What to do about it."""

    def line(self) -> str:
        """The problem in one line of text, with what is allowed and what to do."""
        return f"{self.brief()}; allowed: {self.allowed}. {self.hint}"

    def brief(self) -> str:
        """Where it is, what it is, and examples."""
        where = f"{self.file}, column {self.column}" if self.column else self.file
        number = f" in {self.count:,} row{'s' * (self.count > 1)}" if self.rows else ""
        pairs = [f"row {row}: {value}" for row, value in zip(self.rows, self.values, strict=True)] if self.rows else []
        examples = f" ({', '.join(pairs or self.values)})" if self.values else ""
        return f"{where}: {self.problem}{number}{examples}"


@dataclass
class Problems:
    """The problems of all files, in the order in which they were found."""

    found: list[Problem] = field(default_factory=list)

    def at(self, file: str, table: str | None = None, numbers: npt.NDArray[np.int64] | None = None) -> "Place":
        """Where problems of one file go.

        Args:
            file: Its name.
            table: The table it holds, where that is known.
            numbers: Number in the file of each row that could be read, ``[n]``; 1 … n if None.
        """
        return Place(self, file, table, numbers)

    def require_none(self, path: Path) -> None:
        """Refuse the files if anything is wrong with them.

        Raises:
            TablesRefused: Something is.
        """
        if self.found:
            raise TablesRefused(path, self.found)


@dataclass(frozen=True)
class Place:
    """One file, to which problems are added."""

    problems: Problems
    file: str
    table: str | None
    numbers: npt.NDArray[np.int64] | None = None

    def add(
        self, problem: str, *, allowed: str, hint: str, column: str | None = None, values: Sequence[object] = ()
    ) -> None:
        """Something is wrong with the file, or with a whole column."""
        texts = [shown(value) for value in values][:_EXAMPLES]
        self.problems.found.append(Problem(self.file, self.table, column, problem, 1, [], texts, allowed, hint))

    def add_rows(
        self,
        bad: npt.NDArray[np.bool_],
        problem: str,
        *,
        allowed: str,
        hint: str,
        column: str,
        values: pa.ChunkedArray | pa.Array | npt.NDArray[Any],
    ) -> bool:
        """Something is wrong with the rows where ``bad`` (``[n]``) is true; ``values`` (``[n]``) stand there.

        Returns:
            Whether there is any.
        """
        count = int(np.count_nonzero(bad))
        if count:
            first = np.flatnonzero(bad)[:_EXAMPLES]
            rows = first + 1 if self.numbers is None else self.numbers[first]
            texts = [shown(values[int(row)]) for row in first]
            known = Problem(self.file, self.table, column, problem, count, rows.tolist(), texts, allowed, hint)
            self.problems.found.append(known)
        return count > 0


class TablesRefused(BadInput):
    """A team's files break the contract of the tables; nothing was written.

    Args:
        subject: What they are: a directory, or rows that were pushed.
        problems: All that is wrong with them, at least one.
        next_step: What to do about it.
    """

    def __init__(self, subject: object, problems: Sequence[Problem], next_step: str = _CHECK_AGAIN) -> None:
        files = len({problem.file for problem in problems})
        super().__init__(
            subject,
            found=f"{len(problems)} problem{'s' * (len(problems) > 1)} in {files} file{'s' * (files > 1)}; "
            f"{'the first: ' if len(problems) > 1 else ''}{problems[0].brief()}",
            expected="files that hold the tables as their contract says",
            next_step=next_step,
        )
        self.problems = list(problems)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, with every problem."""
        return {**super().as_dict(), "problems": [asdict(problem) for problem in self.problems]}


def shown(value: object) -> str:
    """A value as a report shows it: one line, not too long."""
    plain = _plain(value) if isinstance(value, pa.Scalar) else value
    if isinstance(plain, np.generic):
        plain = plain.item()
    text = "null" if plain is None else plain.isoformat() if hasattr(plain, "isoformat") else repr(plain)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _plain(value: Any) -> object:
    try:
        return value.as_py()
    except OverflowError:  # a moment that Python's calendar does not have
        return f"{value.cast(pa.int64()).as_py():,} {value.type.unit} after 1970"
