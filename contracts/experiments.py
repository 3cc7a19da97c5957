"""Experiments on live traffic: what runs, what ran, and what was found. The service, the registry and the UI read
them."""

import re
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session

from contracts.database import Database
from contracts.errors import unknown_name
from contracts.experiment_rows import ExperimentReportRow, ExperimentRow
from contracts.verdict import Guardrail, LiveVerdict, Rule

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "INTERLEAVED",
    "MEASURED",
    "SHUFFLED",
    "ArmReport",
    "Experiment",
    "Mode",
    "Point",
    "Preferred",
    "Report",
    "Split",
    "default_rule",
    "experiment_of_name",
    "latest_report",
    "list_experiments",
    "running_experiment",
]

Mode = Literal["ab", "interleaving", "exploration"]

CHAMPION: Final = "champion"
"""The arm of the champion's own lists, in an A/B test and in an exploration."""
CHALLENGER: Final = "challenger"
"""The other arm of an A/B test."""
INTERLEAVED: Final = "interleaved"
"""The one arm of an interleaving."""
SHUFFLED: Final = "shuffled"
"""The other arm of an exploration."""

_SERVICE = ("errors", "latency_p99")
_OF_USERS = ("ctr", "like", "follow", "watch_time")

MEASURED: Final = MappingProxyType[Mode, tuple[str, ...]](
    {
        "ab": (*_OF_USERS, "coverage", *_SERVICE),
        "interleaving": ("preference", "errors"),
        "exploration": (*_OF_USERS, *_SERVICE),
    }
)
"""Mode → what its rule may name. Who is to answer for a slow interleaved list cannot be told; the rule of an
exploration is for the shadows that answer beside it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class Experiment(BaseModel):
    """One experiment. All that is drawn in it is a hash of its name, which is why a name is used once."""

    model_config = ConfigDict(frozen=True)

    name: str
    surface: str
    mode: Mode
    champion: str
    """Version."""
    challenger: str | None = None
    """Version; None in an exploration."""
    weight: float | None = Field(default=None, gt=0, lt=1)
    """Share of the users who get the challenger; only in an A/B test."""
    epsilon: float | None = Field(default=None, gt=0, le=1)
    """Chance that the champion's list is shuffled; only in an exploration, as the next."""
    top: int | None = Field(default=None, ge=2, le=500)
    """Items that are shuffled."""
    rule: Rule
    started_at: datetime
    started_by: str
    reason: str
    ended_at: datetime | None = None
    ended_by: str | None = None
    end_reason: str | None = None

    @model_validator(mode="after")
    def _has_what_its_mode_needs(self) -> Self:
        if not _NAME.fullmatch(self.name):
            raise ValueError("a name of 1 to 32 letters, digits or . _ -, with a letter or digit first")
        given = {
            "challenger": self.challenger is not None,
            "weight": self.weight is not None,
            "epsilon": self.epsilon is not None,
            "top": self.top is not None,
        }
        needed = {"ab": {"challenger", "weight"}, "interleaving": {"challenger"}, "exploration": {"epsilon", "top"}}
        for name, there in given.items():
            if there != (name in needed[self.mode]):
                raise ValueError(f"{'no' if there else 'a'} {name} in mode {self.mode}")
        if self.challenger == self.champion:
            raise ValueError(f"another version than the champion, {self.champion}, as challenger")
        for metric in (self.rule.objective, *(guardrail.metric for guardrail in self.rule.guardrails)):
            if metric not in MEASURED[self.mode]:
                raise ValueError(f"a rule about {', '.join(MEASURED[self.mode])} in mode {self.mode}, not {metric}")
        return self

    @property
    def running(self) -> bool:
        """Whether it has not been ended."""
        return self.ended_at is None

    @property
    def weights(self) -> dict[str, float]:
        """Arm → share: of the users in an A/B test, else of the lists."""
        if self.weight is not None:
            return {CHAMPION: 1 - self.weight, CHALLENGER: self.weight}
        if self.epsilon is not None:
            return {CHAMPION: 1 - self.epsilon, SHUFFLED: self.epsilon}
        return {INTERLEAVED: 1.0}

    @property
    def versions(self) -> dict[str, list[str]]:
        """Arm → the versions whose items it shows."""
        of = {CHAMPION: [self.champion], SHUFFLED: [self.champion], CHALLENGER: [str(self.challenger)]}
        return {arm: of.get(arm, [self.champion, str(self.challenger)]) for arm in self.weights}

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, with what follows from it."""
        return self.model_dump(mode="json") | {"running": self.running, "weights": self.weights}

    @classmethod
    def of_row(cls, row: ExperimentRow) -> Self:
        """As it was stored."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class ArmReport(BaseModel):
    """What is known of an arm; means are per impression, None where there is none."""

    model_config = ConfigDict(frozen=True)

    arm: str
    version: str
    users: int
    requests: int
    errors: int
    """Requests of the arm that the champion had to answer, since the arm's own version failed."""
    impressions: int
    ctr: float | None
    like: float | None
    follow: float | None
    watch_time: float | None
    """Seconds."""
    coverage: float | None
    """Share of cold videos in what was seen; None where the catalogue does not say when videos came out."""
    climbing: dict[int, int]
    """k → videos that climbed from 0 to k impressions within two days."""
    p50_ms: float | None
    p99_ms: float | None


class Split(BaseModel):
    """Users by arm against the weights."""

    model_config = ConfigDict(frozen=True)

    users: dict[str, int]
    expected: dict[str, float]
    always_valid_p: float
    broken: bool
    """Whether the weights are refuted, so that no outcome can be trusted."""


class Preferred(BaseModel):
    """How the clicks of interleaved lists were shared."""

    model_config = ConfigDict(frozen=True)

    requests: int
    """With feedback."""
    champion_wins: int
    challenger_wins: int
    value: float
    """Challenger's wins less the champion's, per request."""
    low: float
    high: float


class Point(BaseModel):
    """A metric's change as it was known at an earlier time, with bounds that hold at all of them together."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    requests: int
    """Of all arms until then."""
    metric: str
    value: float
    low: float | None
    high: float | None


class Report(BaseModel):
    """What an experiment has shown."""

    model_config = ConfigDict(frozen=True)

    experiment: str
    mode: Mode
    surface: str
    champion: str
    challenger: str | None
    requests: int
    users: int
    arms: list[ArmReport]
    split: Split | None
    """Only in an A/B test."""
    preference: Preferred | None
    """Only where lists were interleaved and clicked."""
    adjusted: dict[str, float]
    """Metric → variance that is left once what was known of users before the experiment is taken into account."""
    history: list[Point]
    verdict: LiveVerdict | None
    """On the challenger; None in an exploration, which has none."""
    shadows: dict[str, LiveVerdict]
    """Only in an exploration: version that answered beside it → the verdict on it."""


def default_rule(mode: Mode) -> Rule:
    """What an experiment of a mode has to show where nobody says otherwise."""
    if mode != "interleaving":
        return Rule()
    errors = Guardrail(metric="errors", margin=0.005, harm="higher")
    return Rule(objective="preference", minimum_effect=0.02, guardrails=(errors,))


def running_experiment(database: Database, surface: str) -> Experiment | None:
    """The experiment that runs on a surface; None where none does.

    Args:
        database: The platform's tables.
        surface: Registered model.
    """
    with database.session() as session:
        row = session.scalars(select(ExperimentRow).filter_by(running_on=surface)).first()
        return None if row is None else Experiment.of_row(row)


def experiment_of_name(session: Session, name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        NotFound: There is none of that name.
    """
    row = session.get(ExperimentRow, name)
    if row is None:
        known = session.scalars(select(ExperimentRow.name).order_by(ExperimentRow.started_at.desc()).limit(20))
        raise unknown_name(
            "experiment", name, known, next_step="see `backbeat ab list`, or start it: `backbeat ab start`"
        )
    return Experiment.of_row(row)


def list_experiments(session: Session, limit: int | None = None) -> list[Experiment]:
    """All experiments, those that run first, then by their start, the newest first.

    Args:
        session: A transaction on the platform's tables.
        limit: At most so many.
    """
    newest = select(ExperimentRow).order_by(ExperimentRow.running_on.is_(None), ExperimentRow.started_at.desc())
    return [Experiment.of_row(row) for row in session.scalars(newest.limit(limit))]


def latest_report(session: Session, **wanted: Any) -> tuple[datetime, dict[str, Any]] | None:
    """When the newest report was stored, and its body; None where there is none.

    Args:
        session: A transaction on the platform's tables.
        **wanted: Columns of :class:`ExperimentReportRow` and what they are.
    """
    newest = select(ExperimentReportRow).filter_by(**wanted).order_by(ExperimentReportRow.at.desc()).limit(1)
    row = session.scalars(newest).first()
    return None if row is None else (row.at, row.body)
