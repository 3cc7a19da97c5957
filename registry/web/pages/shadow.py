"""Versions beside each other on live requests: shadows, and experiments."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select

from contracts.experiments import list_experiments
from contracts.platform import ResponseRow, ShadowReportRow, ShadowRow
from contracts.surfaces import SURFACES
from contracts.verdict import LiveVerdict
from registry.catalogue.query import ListedVersion
from registry.live_verdict import read_verdict
from registry.web.page import Pages
from registry.web.pages.catalogued import Freshness, catalogue_of, freshness_of
from registry.web.pages.experiments import ExperimentView, experiment_views
from registry.web.site import Here

__all__ = ["ShadowPage", "pages"]

pages = Pages("shadow")

_PAGE = 50


class ShadowReport(BaseModel):
    """A stored comparison of a champion and a shadow."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    surface: str
    champion: str
    shadow: str
    k: int | None
    """Depth of the overlap."""
    requests: int | None
    errors: int | None
    overlap: float | None
    """Mean share of the first k that both showed."""
    ranked: int | None
    """Requests that the champion ranked for, and did not fill up with popular items alone."""
    ranked_overlap: float | None
    champion_p99_ms: float | None
    shadow_p99_ms: float | None
    verdict: LiveVerdict | None
    """On the shadow, from live feedback; None where none was stored or what was cannot be read."""
    verdict_fault: str | None
    """Why it cannot be read."""
    body: dict[str, Any]
    """Everything that was stored."""


class InShadow(BaseModel):
    """A surface that has a shadow now."""

    model_config = ConfigDict(frozen=True)

    surface: str
    champion: ListedVersion | None
    shadow: ListedVersion
    requests: int
    """Recorded answers of this shadow."""
    errors: int
    last_at: datetime | None


class ShadowPage(BaseModel):
    """Shadows, their reports, and experiments."""

    model_config = ConfigDict(frozen=True)

    shadows: list[InShadow]
    judged: list[ShadowReport]
    """The newest report of each surface that has a shadow now, where it has a verdict on that shadow."""
    reports: list[ShadowReport]
    experiments: list[ExperimentView]
    """Those that run, then the newest of those that ended."""
    page: int
    more: bool
    mlflow: Freshness


@pages.page("/shadow", "pages/shadow.html")
def shadow(here: Here, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> ShadowPage:
    """What shadows answered beside the champions, and experiments."""
    holders = catalogue_of(here).holders()
    shadows, judged = [], []
    with here.database.session() as session:
        rows = session.query(ShadowReportRow).order_by(ShadowReportRow.at.desc())
        reports = [_report(row) for row in rows.offset((page - 1) * _PAGE).limit(_PAGE + 1)]
        for surface in SURFACES:
            if (version := holders[surface].get("shadow")) is None:
                continue
            answered = (
                select(func.count(), func.count(ShadowRow.error), func.max(ShadowRow.at))
                .join(ResponseRow, ResponseRow.id == ShadowRow.response_id)
                .where(ResponseRow.surface == surface, ShadowRow.version == version.version)
            )
            newest = rows.filter_by(surface=surface, shadow=version.version).first()
            if newest is not None and (report := _report(newest)).verdict is not None:
                judged.append(report)
            requests, errors, last = session.execute(answered).one()
            shadows.append(
                InShadow(
                    surface=surface,
                    champion=holders[surface].get("champion"),
                    shadow=version,
                    requests=requests,
                    errors=errors,
                    last_at=last,
                )
            )
        experiments = experiment_views(session, list_experiments(session, _PAGE))
    return ShadowPage(
        shadows=shadows,
        judged=judged,
        reports=reports[:_PAGE],
        experiments=experiments,
        page=page,
        more=len(reports) > _PAGE,
        mlflow=freshness_of(here),
    )


def _report(row: ShadowReportRow) -> ShadowReport:
    body = row.body
    k = body.get("k")
    verdict, fault = read_verdict(body)
    return ShadowReport(
        id=row.id,
        at=row.at,
        surface=row.surface,
        champion=row.champion,
        shadow=row.shadow,
        k=k,
        requests=body.get("requests"),
        errors=body.get("errors"),
        overlap=body.get(f"overlap@{k}"),
        ranked=body.get("ranked"),
        ranked_overlap=body.get(f"ranked_overlap@{k}"),
        champion_p99_ms=(body.get("champion_latency") or {}).get("p99_ms"),
        shadow_p99_ms=(body.get("shadow_latency") or {}).get("p99_ms"),
        verdict=verdict,
        verdict_fault=fault,
        body=body,
    )
