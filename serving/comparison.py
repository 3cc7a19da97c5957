"""How a shadow differs from the champion, from the rows both left."""

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import NotFound
from contracts.experiments import CHAMPION
from contracts.platform import ResponseRow, ShadowReportRow, ShadowRow
from contracts.verdict import LiveVerdict
from serving.analysis.lists import Agreement, agreement, overlap, padded
from serving.live_verdict import OffPolicy, shadow_findings
from serving.shifts import KnownItems

__all__ = ["Comparison", "Latency", "compare", "latest_comparison", "store_comparison"]


_BY_MODEL = ("model", "ranked")
"""Steps that are the model's own; the second in rows of earlier versions."""


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
    rank_biased_overlap: float | None
    """Mean over the requests without an error, as the next two: agreement that counts for more at the top."""
    kendall_tau: float | None
    """Of the order of shared items; None where no two lists share two."""
    score_shift: float | None
    """Of the shadow's scores, in standard deviations of the champion's; None where it cannot be told."""
    shifts: dict[str, float] | None
    """Shadow less champion: coverage, popularity, novelty, share of new items. None without the champion's package."""
    champion_latency: Latency
    shadow_latency: Latency
    verdict: LiveVerdict
    off_policy: OffPolicy | None = None
    """What the shadow would have earned; None where no list was served with propensities."""

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON document."""
        document = self.model_dump(mode="json", exclude={"overlap", "ranked_overlap"})
        return document | {f"overlap@{self.k}": self.overlap, f"ranked_overlap@{self.k}": self.ranked_overlap}


def compare(
    database: Database,
    surface: str,
    champion: str,
    shadow: str,
    k: int = 10,
    window: int = 20_000,
    known: KnownItems | None = None,
) -> Comparison:
    """Compare two versions over the latest requests that both were asked.

    Args:
        database: The platform's tables.
        surface: The registered model both belong to.
        champion: Version that served.
        shadow: Version that answered aside.
        k: Depth of the overlap.
        window: How many of the latest requests to read at most; the verdict is on all there are.
        known: The catalogue of the champion, for what the two show of it.

    Raises:
        NotFound: The two have no request in common.
    """
    pairs = (
        select(ResponseRow.items, ResponseRow.latency_ms, ShadowRow.items, ShadowRow.latency_ms, ShadowRow.error)
        .join(ShadowRow, ShadowRow.response_id == ResponseRow.id)
        .where(ResponseRow.surface == surface, ResponseRow.version == champion, ShadowRow.version == shadow)
        # The champion's own lists: what an experiment has shuffled or interleaved is not as it would rank.
        .where(func.coalesce(ResponseRow.arm, CHAMPION) == CHAMPION)
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
    answered = [row for row in rows if row[4] is None]
    mine, theirs = ([[item["item_id"] for item in row[side]] for row in answered] for side in (0, 2))
    first, second = padded(mine, theirs, depth=k)
    overlaps = overlap(first, second, k).tolist()
    by_model = [any(item["step"] in _BY_MODEL for item in row[0]) for row in answered]
    ranked = [share for share, model in zip(overlaps, by_model, strict=True) if model]
    verdict, values = shadow_findings(database, surface, champion, shadow)
    agreed = _agreement(mine, theirs, [row[0] for row in answered], [row[2] for row in answered], k)
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
        rank_biased_overlap=_rounded(agreed, "rank_biased_overlap"),
        kendall_tau=_rounded(agreed, "kendall_tau"),
        score_shift=_rounded(agreed, "score_shift"),
        shifts=known and known.shift([ids[:k] for ids in mine], [ids[:k] for ids in theirs]),
        champion_latency=Latency.of([row[1] for row in rows]),
        shadow_latency=Latency.of([row[3] for row in rows]),
        verdict=verdict,
        off_policy=values,
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


def _agreement(
    mine: Sequence[Sequence[str]],
    theirs: Sequence[Sequence[str]],
    my_items: Sequence[Sequence[dict[str, Any]]],
    their_items: Sequence[Sequence[dict[str, Any]]],
    k: int,
) -> Agreement | None:
    """Over whole lists; None without one."""
    if not mine:
        return None
    first, second = padded(mine, theirs)
    return agreement(first, second, _scores(my_items), _scores(their_items), k)


def _rounded(agreed: Agreement | None, name: str) -> float | None:
    value = getattr(agreed, name, None)
    return None if value is None else round(value, 6)


def _scores(lists: Sequence[Sequence[dict[str, Any]]]) -> npt.NDArray[np.float64]:
    """Scores in the order of the lists, NaN where they have ended, ``[R, longest]``."""
    scores = np.full((len(lists), max(map(len, lists), default=0)), np.nan)
    for row, items in zip(scores, lists, strict=True):
        row[: len(items)] = [item["score"] for item in items]
    return scores
