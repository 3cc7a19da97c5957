"""How a shadow differs from the champion, from the rows both left."""

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import NotFound
from contracts.platform import ResponseRow, ShadowReportRow, ShadowRow

__all__ = ["Comparison", "Latency", "compare", "latest_comparison", "overlap_at_k", "store_comparison"]


class Latency(BaseModel):
    """Milliseconds in the service, from the parsed request to the list, reading the user's features included."""

    model_config = ConfigDict(frozen=True)

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> "Latency":
        """Median and 99th percentile."""
        p50, p99 = np.percentile(milliseconds, [50, 99])
        return cls(p50_ms=round(float(p50), 3), p99_ms=round(float(p99), 3))


class Comparison(BaseModel):
    """Champion against shadow over the requests that both were asked."""

    model_config = ConfigDict(frozen=True)

    surface: str
    champion: str
    shadow: str
    k: int
    requests: int
    """Served responses that the shadow was asked for too."""
    errors: int
    """Of these, how many the shadow failed on."""
    overlap: float | None
    """Mean overlap@k over the requests without an error; None where there is none."""
    ranked: int
    """Requests without an error in which the champion's model ranked at least one item."""
    ranked_overlap: float | None
    """Mean overlap@k over these: two versions that both fall back to what is popular agree without merit."""
    champion_latency: Latency
    shadow_latency: Latency

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON document."""
        document = self.model_dump(exclude={"overlap", "ranked_overlap"})
        return document | {f"overlap@{self.k}": self.overlap, f"ranked_overlap@{self.k}": self.ranked_overlap}


def overlap_at_k(mine: Sequence[str], theirs: Sequence[str], k: int) -> float:
    """Share of videos that two lists have in common in their first ``k``, whatever the order.

    The share is of ``k``, or of the longer list where both are shorter; two empty lists agree (1).
    """
    first, second = set(mine[:k]), set(theirs[:k])
    longest = max(len(first), len(second))
    return len(first & second) / longest if longest else 1.0


def compare(
    database: Database, surface: str, champion: str, shadow: str, k: int = 10, window: int = 20_000
) -> Comparison:
    """Compare two versions over the latest requests that both were asked.

    Args:
        database: The platform's tables.
        surface: The registered model both belong to.
        champion: Version that served.
        shadow: Version that answered aside.
        k: Depth of the overlap.
        window: How many of the latest requests to read at most.

    Raises:
        NotFound: The two have no request in common.
    """
    pairs = (
        select(ResponseRow.items, ResponseRow.latency_ms, ShadowRow.items, ShadowRow.latency_ms, ShadowRow.error)
        .join(ShadowRow, ShadowRow.response_id == ResponseRow.id)
        .where(ResponseRow.surface == surface, ResponseRow.version == champion, ShadowRow.version == shadow)
        .order_by(ResponseRow.at.desc())
        .limit(window)
    )
    with database.session() as session:
        rows = session.execute(pairs).all()
    if not rows:
        raise NotFound(
            f"comparison of champion {champion} and shadow {shadow} of {surface}",
            found="no request that both were asked",
            expected="responses recorded while both were served",
            next_step="run `backbeat shadow replay`, then this command again",
        )
    overlaps, ranked = [], []
    for served, _, answered, _, error in rows:
        if error is not None:
            continue
        mine, theirs = ([item["video_id"] for item in items] for items in (served, answered))
        overlaps.append(overlap_at_k(mine, theirs, k))
        if any(item["step"] == "ranked" for item in served):
            ranked.append(overlaps[-1])
    return Comparison(
        surface=surface,
        champion=champion,
        shadow=shadow,
        k=k,
        requests=len(rows),
        errors=len(rows) - len(overlaps),
        overlap=_mean(overlaps),
        ranked=len(ranked),
        ranked_overlap=_mean(ranked),
        champion_latency=Latency.of([row[1] for row in rows]),
        shadow_latency=Latency.of([row[3] for row in rows]),
    )


def store_comparison(database: Database, comparison: Comparison) -> str:
    """Keep a comparison as a row of the platform's tables; returns its id."""
    report_id = uuid.uuid4().hex
    with database.session() as session:
        session.add(
            ShadowReportRow(
                id=report_id,
                at=utc_now(),
                surface=comparison.surface,
                champion=comparison.champion,
                shadow=comparison.shadow,
                body=comparison.as_dict(),
            )
        )
    return report_id


def latest_comparison(database: Database, surface: str) -> dict[str, Any] | None:
    """The newest stored comparison of a surface, with its id and time; None where there is none."""
    newest = select(ShadowReportRow).filter_by(surface=surface).order_by(ShadowReportRow.at.desc()).limit(1)
    with database.session() as session:
        row = session.scalars(newest).first()
        return {"id": row.id, "at": row.at.isoformat(), **row.body} if row else None


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 6) if values else None
