"""Tables of experiments on live traffic and of what was found."""

from datetime import datetime
from typing import Any

from sqlalchemy import Float, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from contracts.platform import PlatformBase

__all__ = ["ExperimentReportRow", "ExperimentRow"]


class ExperimentRow(PlatformBase):
    """An experiment on the traffic of a surface. See :class:`contracts.experiments.Experiment`."""

    __tablename__ = "experiments"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Salt of all that is drawn."""
    surface: Mapped[str] = mapped_column(String(64))
    mode: Mapped[str] = mapped_column(String(16))
    champion: Mapped[str] = mapped_column(String(32))
    """Version; it was champion when the experiment began."""
    challenger: Mapped[str | None] = mapped_column(String(32))
    """Version; None where only the champion's lists are shown."""
    weight: Mapped[float | None] = mapped_column(Float)
    """Share of the users who get the challenger; None where lists are not split by user."""
    epsilon: Mapped[float | None] = mapped_column(Float)
    """Chance that a list is shuffled; None but in exploration, as the next."""
    top: Mapped[int | None] = mapped_column(Integer)
    """Items that are shuffled."""
    rule: Mapped[dict[str, Any]]
    """A :class:`contracts.verdict.Rule`."""
    started_at: Mapped[datetime]
    started_by: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(String(128))
    end_reason: Mapped[str | None]
    running_on: Mapped[str | None] = mapped_column(String(64), unique=True)
    """The surface while it runs, of which there is one at a time; None afterwards."""

    __table_args__ = (Index("experiments_by_start", "started_at"),)


class ExperimentReportRow(PlatformBase):
    """What an experiment had shown at one time."""

    __tablename__ = "experiment_reports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    experiment: Mapped[str] = mapped_column(String(64))
    surface: Mapped[str] = mapped_column(String(64))
    champion: Mapped[str] = mapped_column(String(32))
    challenger: Mapped[str | None] = mapped_column(String(32))
    body: Mapped[dict[str, Any]]
    """A :class:`contracts.experiments.Report`, as JSON."""

    __table_args__ = (
        Index("experiment_reports_by_experiment", "experiment", "at"),
        Index("experiment_reports_by_pair", "surface", "champion", "challenger", "at"),
    )
