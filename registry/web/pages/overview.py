"""The first page: what is in use, what is wanted, what is under way, and what is not as it should be."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from contracts.current import current_snapshot_id
from contracts.jobs import list_jobs, state_of
from contracts.platform import OnlineViewRow
from contracts.promotion_rows import RequestRow
from contracts.reports import past_reports
from contracts.surfaces import DATA_SURFACE, PRIMARY_METRICS, SURFACES
from registry.catalogue.query import ListedVersion
from registry.web.page import Pages
from registry.web.pages.catalogued import DriftedAlias, Freshness, catalogue_of, drifted, freshness_of
from registry.web.site import Here, Visit

__all__ = ["OverviewPage", "pages"]

pages = Pages("overview")

_JOBS = 200


class SurfaceCard(BaseModel):
    """One surface and who serves it."""

    model_config = ConfigDict(frozen=True)

    surface: str
    question: str
    """What it answers."""
    metric: str
    """Its primary metric."""
    versions: int
    champion: ListedVersion | None
    challenger: ListedVersion | None
    shadow: ListedVersion | None


class OpenRequest(BaseModel):
    """Somebody's wish that waits for an answer."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    surface: str
    version: str
    target: str
    author: str
    reason: str
    state: str


class RunningJob(BaseModel):
    """Work that is going on or waiting."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    state: str
    done: int
    total: int | None
    subjects: list[str]
    created_at: datetime


class FeatureFacts(BaseModel):
    """How far the current data are online."""

    model_config = ConfigDict(frozen=True)

    snapshot: str | None
    """None where nothing was ingested."""
    views: int
    """Feature views that are online."""
    oldest: datetime | None
    """Everything known up to this instant is online, in every view."""
    rows: int


class LastReport(BaseModel):
    """The newest validation report."""

    model_config = ConfigDict(frozen=True)

    id: str
    snapshot: str
    dataset: str
    created_at: datetime
    verdict: str
    failed: list[str]


class OverviewPage(BaseModel):
    """Everything of the first page."""

    model_config = ConfigDict(frozen=True)

    surfaces: list[SurfaceCard]
    drift: list[DriftedAlias]
    """Aliases that somebody has moved in MLflow itself."""
    requests: list[OpenRequest]
    jobs: list[RunningJob]
    features: FeatureFacts
    validation: LastReport | None
    mlflow: Freshness


@pages.page("/", "pages/overview.html", api="/api/overview")
def overview(here: Here) -> OverviewPage:
    """Surfaces with their champions, freshness of features, last validation, open requests and running jobs."""
    catalogue = catalogue_of(here)
    holders, counts = catalogue.holders(), catalogue.counts()
    with here.database.session() as session:
        drift = drifted(session, holders)
        waiting = session.query(RequestRow).filter(RequestRow.state.in_(("open", "approved")))
        requests = [
            OpenRequest.model_validate(row, from_attributes=True) for row in waiting.order_by(RequestRow.at.desc())
        ]
    return OverviewPage(
        surfaces=[
            SurfaceCard(
                surface=surface,
                question=question,
                metric=PRIMARY_METRICS[surface],
                versions=counts[surface],
                champion=holders[surface].get("champion"),
                challenger=holders[surface].get("challenger"),
                shadow=holders[surface].get("shadow"),
            )
            for surface, question in SURFACES.items()
        ],
        drift=drift,
        requests=requests,
        jobs=_running(here),
        features=_features(here),
        validation=_validation(here),
        mlflow=freshness_of(here),
    )


def _running(here: Visit) -> list[RunningJob]:
    found = []
    for row in list_jobs(here.database, limit=_JOBS):
        state = str(state_of(row))
        if state in ("queued", "running", "paused", "interrupted"):
            subjects = [str(each) for each in row.subjects] or ([row.snapshot] if row.snapshot != DATA_SURFACE else [])
            found.append(
                RunningJob(
                    id=row.id,
                    kind=row.kind,
                    state=state,
                    done=row.done,
                    total=row.total,
                    subjects=subjects,
                    created_at=row.created_at,
                )
            )
    return found


def _features(here: Visit) -> FeatureFacts:
    snapshot = current_snapshot_id(here.home)
    with here.database.session() as session:
        online = session.query(OnlineViewRow.watermark, OnlineViewRow.rows).filter_by(snapshot=snapshot or "").all()
    marks = [mark for mark, _ in online if mark is not None]
    return FeatureFacts(
        snapshot=snapshot,
        views=len(online),
        oldest=min(marks) if marks and len(marks) == len(online) else None,
        rows=sum(rows for _, rows in online),
    )


def _validation(here: Visit) -> LastReport | None:
    newest = next(iter(past_reports(here.database, limit=1)), None)
    if newest is None:
        return None
    return LastReport(
        id=newest.id,
        snapshot=newest.snapshot,
        dataset=newest.dataset,
        created_at=newest.created_at,
        verdict=newest.verdict,
        failed=list(newest.failed),
    )
