"""What an experiment's requests left behind: who was served by which arm, what was seen, and what users did with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from contracts.experiments import CHALLENGER, Experiment
from contracts.platform import ResponseRow
from contracts.serving_rows import FeedbackRow
from serving.analysis.interleaving import NOBODY
from serving.analysis.outcomes import OUTCOMES, Impressions

__all__ = ["Exposures", "outcomes_before", "read_exposures", "seen_before"]

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

_BEFORE = timedelta(days=14)
"""How far back a user's earlier behaviour is looked for."""

_CHUNK_ROWS = 5_000

_EVENTS = (FeedbackRow.response_id, FeedbackRow.item_id, FeedbackRow.kind, FeedbackRow.seconds)


@dataclass(frozen=True, eq=False)
class Exposures:
    """Requests, ``[R]`` in the order of time, and the items of them that were seen, ``[N]``."""

    users: int
    items: tuple[str, ...]
    """Ids of the items by their numbers."""
    at_s: Values
    """When each request was answered, ``[R]``."""
    user: Rows
    """Number of the user of each, ``[R]``."""
    arm: Rows
    """Number of the arm, in the order of the experiment's weights, ``[R]``."""
    failed: Flags
    """Whether the champion answered in place of the version on trial, ``[R]``."""
    latency_ms: Values
    """``[R]``."""
    request: Rows
    """Request of each item seen, ``[N]``, as the next."""
    item: Rows
    """Number of the item."""
    team: Rows
    """Whose it is in an interleaved list; :data:`serving.analysis.interleaving.NOBODY` elsewhere."""
    clicked: Flags
    liked: Flags
    followed: Flags
    watched_s: Values

    def first(self, requests: int) -> Self:
        """The same of the first requests alone; numbers of users and items stay."""
        seen = self.request < requests
        of_request = {"at_s", "user", "arm", "failed", "latency_ms"}
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        cut: dict[str, Any] = {
            name: column[:requests] if name in of_request else column[seen]
            for name, column in columns.items()
            if isinstance(column, np.ndarray)
        }
        return replace(self, **cut)

    def impressions(self, cold: Flags | None = None) -> Impressions:
        """What was seen, by arm and user.

        Args:
            cold: Whether each item was cold when it was seen, ``[N]``; none of them if None.
        """
        return Impressions(
            arm=self.arm[self.request],
            user=self.user[self.request],
            clicked=self.clicked,
            liked=self.liked,
            followed=self.followed,
            watched_s=self.watched_s,
            cold=np.zeros(len(self.request), np.bool_) if cold is None else cold,
        )


class _Seen:
    """Items seen, by list; whoever reacts to an item has seen it, whether or not the impression was sent."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, str], dict[str, float]] = {}

    def add(self, response_id: str, item_id: str, kind: str, seconds: float | None) -> None:
        done = self.places.setdefault((response_id, item_id), {})
        # Players report how far they are; everything else has happened or has not.
        done[kind] = max(done.get(kind, 0.0), 1.0 if seconds is None else seconds)

    def column(self, kind: str) -> Values:
        return np.array([done.get(kind, 0.0) for done in self.places.values()], dtype=np.float64)


def read_exposures(session: Session, experiment: Experiment) -> tuple[Exposures, dict[str, int]]:
    """All that was served in an experiment and what became of it, with the number of each user.

    Args:
        session: A transaction on the platform's tables.
        experiment: Which.
    """
    arms = {arm: number for number, arm in enumerate(experiment.weights)}
    interleaved = experiment.mode == "interleaving"
    columns: list[Any] = [ResponseRow.id, ResponseRow.at, ResponseRow.user_id, ResponseRow.arm, ResponseRow.version]
    columns += [ResponseRow.latency_ms, *([ResponseRow.items, ResponseRow.teams] if interleaved else [])]
    asked = select(*columns).where(ResponseRow.experiment == experiment.name).order_by(ResponseRow.at, ResponseRow.id)
    users: dict[str, int] = {}
    rows: dict[str, int] = {}
    table: list[tuple[float, int, int, bool, float]] = []
    teams: dict[tuple[str, str], int] = {}
    for response in _stream(session, asked):
        if response.arm not in arms:
            continue
        failed = response.arm == CHALLENGER and response.version != experiment.challenger
        if interleaved:
            failed = response.teams is None
            of_items = zip(response.items, response.teams or (), strict=False)
            teams |= {(response.id, item["item_id"]): team for item, team in of_items}
        rows[response.id] = len(rows)
        user = users.setdefault(response.user_id, len(users))
        table.append((response.at.timestamp(), user, arms[response.arm], failed, response.latency_ms))
    seen = _Seen()
    joined = select(*_EVENTS).join(ResponseRow, ResponseRow.id == FeedbackRow.response_id)
    for event in _stream(session, joined.where(ResponseRow.experiment == experiment.name)):
        if event.response_id in rows:
            seen.add(*event)
    ids = sorted({item for _, item in seen.places})
    numbers = {item: number for number, item in enumerate(ids)}
    at_s, user_rows, arm_rows, failures, latencies = zip(*table, strict=True) if table else ((),) * 5
    return (
        Exposures(
            users=len(users),
            items=tuple(ids),
            at_s=np.array(at_s, np.float64),
            user=np.array(user_rows, np.int64),
            arm=np.array(arm_rows, np.int64),
            failed=np.array(failures, np.bool_),
            latency_ms=np.array(latencies, np.float64),
            request=np.array([rows[response] for response, _ in seen.places], np.int64),
            item=np.array([numbers[item] for _, item in seen.places], np.int64),
            team=np.array([teams.get(place, NOBODY) for place in seen.places], np.int64),
            clicked=seen.column("click") > 0,
            liked=seen.column("like") > 0,
            followed=seen.column("follow") > 0,
            watched_s=seen.column("watch"),
        ),
        users,
    )


def outcomes_before(session: Session, experiment: Experiment, users: Mapping[str, int]) -> dict[str, Values]:
    """Each user's outcomes per impression in the two weeks before an experiment, NaN for those without, ``[users]``.

    Args:
        session: A transaction on the platform's tables.
        experiment: Which.
        users: Id → number of its users.

    Returns:
        By name of the outcome; nothing where none of the users had been seen before.
    """
    begun = experiment.started_at
    joined = select(*_EVENTS, ResponseRow.user_id).join(ResponseRow, ResponseRow.id == FeedbackRow.response_id)
    seen, whose = _Seen(), {}
    for *event, user_id in _stream(session, _served(joined, experiment, begun - _BEFORE, begun)):
        if user_id in users:
            seen.add(*event)
            whose[event[0]] = users[user_id]
    if not whose:
        return {}
    user = np.array([whose[response] for response, _ in seen.places], np.int64)
    nothing = np.zeros(len(user), np.int64)
    shown = Impressions(
        arm=nothing,
        user=user,
        clicked=seen.column("click") > 0,
        liked=seen.column("like") > 0,
        followed=seen.column("follow") > 0,
        watched_s=seen.column("watch"),
        cold=nothing > 0,
    )
    count = np.bincount(user, minlength=len(users)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = {
            name: np.bincount(user, weights=np.asarray(of(shown), np.float64), minlength=len(users)) / count
            for name, of in OUTCOMES.items()
            if name != "coverage"
        }
    # An outcome that nobody had, or all to the same degree, explains nothing.
    return {name: values for name, values in means.items() if np.nanstd(values) > 0}


def seen_before(session: Session, experiment: Experiment) -> set[str]:
    """Items that somebody had seen on the surface before an experiment."""
    joined = select(FeedbackRow.item_id).distinct().join(ResponseRow, ResponseRow.id == FeedbackRow.response_id)
    return set(session.scalars(_served(joined, experiment, None, experiment.started_at)))


def _served(
    query: Select[*tuple[Any, ...]], experiment: Experiment, since: datetime | None, until: datetime
) -> Select[*tuple[Any, ...]]:
    found = query.where(ResponseRow.surface == experiment.surface, ResponseRow.at < until)
    return found if since is None else found.where(ResponseRow.at >= since)


def _stream(session: Session, query: Select[*tuple[Any, ...]]) -> Iterator[Any]:
    yield from session.execute(query.execution_options(yield_per=_CHUNK_ROWS))
