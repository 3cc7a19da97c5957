"""What a table of a paper is: rows that are trained here, columns, and the figures that the paper prints.

The tables themselves are in ``training/experiments/catalogue.py``, which lists them in ``TABLES``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from training.studies import Study

__all__ = ["CHANCE", "Column", "Row", "Table"]

CHANCE: Final = "chance"
"""In place of a model's name: what a random order of the candidates earns in expectation. Nothing is trained."""


@dataclass(frozen=True)
class Column:
    """One metric."""

    label: str
    """As the paper prints it, e.g. ``HR@10``. Columns that share what stands before the ``@`` are one panel of a
    picture of lines, whose x is the number after it."""
    metric: str
    """Key of a run's metrics, e.g. ``test_hr_at_10`` or ``test_cold_users_hr_at_10``."""


@dataclass(frozen=True)
class Row:
    """One model with its options, or a paper's figures alone."""

    label: str
    """As the paper prints it; may stand once in every group."""
    model: str | None
    """A name in ``training.models.MODELS``, :data:`CHANCE`, or None: the paper's figures are shown, nothing is built.

    A model that is not in ``MODELS`` yet is reported as not run; nothing else depends on its being there.
    """
    overrides: Mapping[str, object] = field(default_factory=dict)
    """Options that differ from the model's defaults; ``variant`` labels the version. Those chosen for a data set stand
    here and nowhere else."""
    service: str | None = None
    """Feature service, where it is not the table's."""
    study: Study | None = None
    """Where it is not the table's. Rows of one group must share the fingerprint, else the table says which does not."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """Column label → the figure that the paper prints."""
    group: str = ""
    """Heading inside the table, e.g. a threshold of density. Rows of a group stand together."""
    tuned: str = ""
    """What was tuned, on what; for readers."""

    @property
    def key(self) -> str:
        """What names the row within its table: ``label``, or ``group/label``."""
        return f"{self.group}/{self.label}" if self.group else self.label


@dataclass(frozen=True)
class Table:
    """One table or figure of a paper, or one of our own in the same form."""

    name: str
    """Of the command: ``backbeat experiment NAME``."""
    title: str
    """One line, for the heading of the page and of the picture."""
    source: str
    """E.g. ``M3CSR, Table 2``; empty for a table that no paper has."""
    data: str
    """Name of the data set that the snapshot must have."""
    real: bool
    """Whether people made those data; False for the simulator's."""
    prepare: tuple[str, ...]
    """Commands that make the snapshot, in order, for the page and for whoever has another snapshot."""
    columns: tuple[Column, ...]
    """The first decides the orderings and is what a picture of lines over groups shows."""
    rows: tuple[Row, ...]
    service: str | None = None
    """Feature service of all rows; each model's own if None."""
    study: Study | None = None
    """What is held out and how it is ranked; as the surface asks if None."""
    draws: Callable[[int], Study] | None = None
    """Seed → the study with a draw of its own of what is held out, of which ``study`` is that of seed 0; so that means
    and deviations are over draws too. None: one study for all seeds."""
    orderings: tuple[tuple[str, str], ...] = ()
    """(better, worse): labels of rows that should stand in that order, as the paper or whoever made the table claims.
    Compared in the first column, in every group that has both."""
    picture: Literal["bars", "lines"] = "bars"
    """``bars``: a panel for each column, paper and measured side by side; ``lines``: over the groups, a panel for each
    column, or, where there are none, over the cut-offs of the columns."""
    digits: int = 4
    """Decimals that are printed, as in the paper."""
    note: str = ""
    """What a reader must know to compare: how the data or the protocol differ from the paper's."""
