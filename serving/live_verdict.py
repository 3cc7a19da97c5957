"""The verdict on a shadow: what users would have done with its lists, and how it serves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from contracts.database import Database
from contracts.errors import BadInput
from contracts.experiments import INTERLEAVED
from contracts.platform import ResponseRow, ShadowRow
from contracts.serving_rows import FeedbackRow
from contracts.verdict import LiveVerdict, Rule
from serving.analysis.experiment import Traffic, measure_service
from serving.analysis.off_policy import (
    OffPolicyValue,
    Served,
    doubly_robust,
    lift_over_served,
    predicted_rewards,
    snips,
)
from serving.analysis.outcomes import OUTCOMES, Impressions
from serving.analysis.sequences import Interval, normal_sequence
from serving.analysis.verdict import decide

__all__ = ["OffPolicy", "shadow_findings", "shadow_verdict"]

_LEAST_SUPPORT = 0.8
"""Mean weight below which too much of what the shadow would show was never tried."""

_CHUNK_ROWS = 2_000


class OffPolicy(BaseModel):
    """What a shadow would have earned per impression, in two ways; bounds are for one look, at 95 %."""

    model_config = ConfigDict(frozen=True)

    objective: str
    places: int
    """Impressions with a propensity."""
    served: float
    """What the champion earned by them."""
    snips: tuple[float, float, float]
    """Value and bounds, by weights alone."""
    doubly_robust: tuple[float, float, float]
    """Likewise, by weights and what items earned from other users."""
    effective_size: float
    """Impressions of the shadow itself that would say as much."""
    mean_weight: float
    """About 1 where all that the shadow would show was tried; less is what is missing."""


def shadow_verdict(
    database: Database, surface: str, champion: str, shadow: str, rule: Rule | None = None
) -> LiveVerdict:
    """The verdict of :func:`shadow_findings`."""
    return shadow_findings(database, surface, champion, shadow, rule)[0]


def shadow_findings(
    database: Database, surface: str, champion: str, shadow: str, rule: Rule | None = None
) -> tuple[LiveVerdict, OffPolicy | None]:
    """Judge a shadow by all requests that it and the champion were asked.

    Nobody saw its lists. Its objective is the off-policy lift over the champion, from the feedback on lists that were
    served with propensities; its guardrails are its own errors and latency. What cannot be measured yet holds the
    decision, and the sentence says what is missing.

    Args:
        database: The platform's tables.
        surface: The registered model both belong to.
        champion: Version that served.
        shadow: Version that answered aside.
        rule: Set before the first look; the default one if None.

    Returns:
        The verdict, and the off-policy values behind it; None where there are none.
    """
    rule = rule or Rule()
    with database.session() as session:
        served, aside = _traffic(session, surface, champion, shadow)
        measured = measure_service(rule, served, aside)
        objective, values = _objective(session, surface, champion, shadow, rule)
    if isinstance(objective, Interval):
        measured[rule.objective] = objective
        return decide(rule, measured, aside.requests), values
    verdict = decide(rule, measured, aside.requests)
    return verdict.model_copy(update={"sentence": f"Hold: {rule.objective} not measured: {objective}."}), values


def _asked(surface: str, champion: str, shadow: str, *columns: Any) -> Select[Any]:
    return (
        select(*columns)
        .join(ShadowRow, ShadowRow.response_id == ResponseRow.id)
        .where(ResponseRow.surface == surface, ResponseRow.version == champion, ShadowRow.version == shadow)
        # Of an interleaved list half is somebody else's, and its latency is that of two versions.
        .where(ResponseRow.arm.is_distinct_from(INTERLEAVED))
    )


def _traffic(session: Session, surface: str, champion: str, shadow: str) -> tuple[Traffic, Traffic]:
    """How both served: requests that the champion fails leave no list, so that it has no errors here."""
    columns = (ResponseRow.latency_ms, ShadowRow.latency_ms, ShadowRow.error.is_not(None))
    rows = session.execute(_asked(surface, champion, shadow, *columns)).all()
    mine, theirs = (np.array([row[side] for row in rows], dtype=np.float64) for side in (0, 1))
    failed = np.array([row[2] for row in rows], dtype=np.bool_)
    return Traffic(len(rows), 0, mine), Traffic(len(rows), int(failed.sum()), theirs[~failed])


def _objective(
    session: Session, surface: str, champion: str, shadow: str, rule: Rule
) -> tuple[Interval | str, OffPolicy | None]:
    """The lift of the objective, or what is missing; and the values."""
    columns = (FeedbackRow, ResponseRow.user_id, ResponseRow.items, ResponseRow.propensities, ShadowRow.items)
    joined = (
        _asked(surface, champion, shadow, *columns)
        .join(FeedbackRow, FeedbackRow.response_id == ResponseRow.id)
        .where(ShadowRow.error.is_(None))
        .execution_options(yield_per=_CHUNK_ROWS)
    )
    places = _Places()
    for feedback, user, items, propensities, theirs in session.execute(joined):
        places.add(feedback, user, items, propensities, theirs)
    if not places.events:
        return "there is no feedback on these requests; send events to POST /feedback", None
    if not places.shown:
        return (
            f"none of the {places.events:,} events is on a list with propensities; a champion that always shows the "
            "same cannot say what another list would have earned"
        ), None
    return places.lift(rule)


class _Places:
    """Places of served lists that users have seen, with what they did there and what the shadow would have shown."""

    def __init__(self) -> None:
        self.events = 0
        self.shown: dict[tuple[str, str], dict[str, Any]] = {}
        self._users: dict[str, int] = {}
        self._items: dict[str, int] = {}

    def add(
        self,
        feedback: FeedbackRow,
        user: str,
        items: Sequence[dict[str, Any]],
        propensities: Sequence[float] | None,
        theirs: Sequence[dict[str, Any]],
    ) -> None:
        """Join one event; whoever reacts to an item has seen it, whether or not the impression was sent."""
        self.events += 1
        if propensities is None:
            return
        key = (feedback.response_id, feedback.item_id)
        if key not in self.shown:
            place = [item["item_id"] for item in items].index(feedback.item_id)
            other = theirs[place]["item_id"] if place < len(theirs) else None
            self.shown[key] = {
                "user": self._users.setdefault(user, len(self._users)),
                "propensity": propensities[place],
                "target": float(other == feedback.item_id),
                "item": self._items.setdefault(feedback.item_id, len(self._items)),
                "other": -1 if other is None else self._items.setdefault(other, len(self._items)),
            }
        done = self.shown[key]
        if feedback.kind == "watch":
            done["watch"] = max(done.get("watch", 0.0), feedback.seconds)  # players report how far they are
        else:
            done[feedback.kind] = True

    def lift(self, rule: Rule) -> tuple[Interval | str, OffPolicy | None]:
        """The off-policy lift of the objective, or why there is none; and the values."""
        values = None
        reward = OUTCOMES[rule.objective](self._impressions()).astype(np.float64)
        try:
            served = Served(
                reward=reward,
                propensity=self._column("propensity", np.float64),
                target=self._column("target", np.float64),
                user=self._column("user", np.int64),
            )
            value = snips(served)
            values = self._values(rule.objective, served, value)
            if value.mean_weight < _LEAST_SUPPORT:
                said = f"only {value.mean_weight:.0%} of what the shadow would show was ever tried; explore more"
                return said, values
            return normal_sequence(lift_over_served(served, value), rule.minimum_effect, rule.alpha), values
        except BadInput as error:
            return f"{error.found} where {error.expected} are needed; {error.next_step}", values

    def _values(self, objective: str, served: Served, value: OffPolicyValue) -> OffPolicy:
        items, others = self._column("item", np.int64), self._column("other", np.int64)
        robust = doubly_robust(served, *predicted_rewards(served.reward, items, others, served.user))
        return OffPolicy(
            objective=objective,
            places=len(served.reward),
            served=float(served.reward.mean()),
            snips=(value.value, value.low, value.high),
            doubly_robust=(robust.value, robust.low, robust.high),
            effective_size=value.effective_size,
            mean_weight=value.mean_weight,
        )

    def _impressions(self) -> Impressions:
        count = len(self.shown)
        return Impressions(
            arm=np.zeros(count, dtype=np.int64),
            user=self._column("user", np.int64),
            clicked=self._column("click", np.bool_),
            liked=self._column("like", np.bool_),
            followed=self._column("follow", np.bool_),
            watched_s=self._column("watch", np.float64),
            cold=np.zeros(count, dtype=np.bool_),
        )

    def _column(self, name: str, kind: type[np.generic]) -> Any:
        return np.array([each.get(name, 0) for each in self.shown.values()], dtype=kind)
