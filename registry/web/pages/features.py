"""Features online: how far each view is, and the jobs that bring it further."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, field_validator

from contracts.clock import parse_instant
from contracts.current import current_snapshot_id
from contracts.errors import NotFound, unknown_name
from contracts.jobs import RESUMABLE, JobState, cancel_job, describe_job, find_job, list_jobs, pause_job, requeue_job
from contracts.materializing import MATERIALIZE, REHEARSE, materialization_parameters, order_materialization
from contracts.platform import JobRow, OnlineViewRow
from contracts.reports import latest_report
from contracts.snapshot import stored_snapshot
from registry.web.page import Done, Pages
from registry.web.site import Here, Visit

__all__ = ["FeaturesPage", "JobPage", "MaterializeForm", "pages"]

pages = Pages("features")

_KINDS = (MATERIALIZE, REHEARSE, "encode")
_PAGE = 25


class ViewLine(BaseModel):
    """One feature view of the current snapshot."""

    model_config = ConfigDict(frozen=True)

    view: str
    state: str
    """``online``, ``writing``, ``unfinished`` (being written for the first time, or anew, and not done) or
    ``not online``."""
    watermark: datetime | None
    """Everything known up to this instant is online."""
    rows: int
    job: str | None
    updated_at: datetime | None


class Job(BaseModel):
    """One job, as ``backbeat features jobs`` has it, and what may be done with it."""

    model_config = ConfigDict(frozen=True)

    job: dict[str, Any]
    pausable: bool
    resumable: bool
    endable: bool


class FeaturesPage(BaseModel):
    """Views of the current snapshot, and jobs."""

    model_config = ConfigDict(frozen=True)

    snapshot: str | None
    dataset: str | None
    validated: str | None
    """Verdict of the snapshot's newest validation report; materialization refuses what did not pass."""
    views: list[ViewLine]
    running: list[Job]
    past: list[Job]
    page: int
    more: bool


class JobPage(BaseModel):
    """One job."""

    model_config = ConfigDict(frozen=True)

    job: Job
    would: dict[str, dict[str, int]] | None
    """Of a dry run: view → rows that would be written, and how many of them would change."""
    live: bool
    """Whether it may still change by itself."""


class MaterializeForm(BaseModel):
    """What is to be brought online."""

    views: list[str] = Field(default_factory=list, max_length=500)
    """Names of views; all of the snapshot's where none is named."""
    until: str = Field(default="", max_length=64)
    """Only what was known up to this instant, in ISO 8601 with its zone; everything where it is empty."""
    force: bool = False
    """Write all rows again, also those that are online already."""
    dry_run: bool = False
    """Only count what would be written."""

    @field_validator("views", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


@pages.page("/features", "pages/features.html")
def features(here: Here, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> FeaturesPage:
    """Feature views with their watermarks, and materialization jobs."""
    snapshot_id = current_snapshot_id(here.home)
    snapshot = None if snapshot_id is None else stored_snapshot(here.home, snapshot_id)
    report = None if snapshot_id is None else latest_report(here.database, snapshot_id)
    jobs = [_job(row) for kind in _KINDS for row in list_jobs(here.database, kind, limit=_PAGE * page + 1)]
    jobs.sort(key=lambda job: str(job.job["created_at"]), reverse=True)
    live = [job for job in jobs if _is_live(job)]
    ended = [job for job in jobs if not _is_live(job)]
    start = (page - 1) * _PAGE
    return FeaturesPage(
        snapshot=snapshot_id,
        dataset=None if snapshot is None else snapshot.dataset,
        validated=None if report is None else report.verdict,
        views=[] if snapshot_id is None else _views(here, snapshot_id, live),
        running=live,
        past=ended[start : start + _PAGE],
        page=page,
        more=len(ended) > start + _PAGE,
    )


@pages.page("/features/jobs/{job}", "pages/feature_job.html")
def job_page(here: Here, job: str) -> JobPage:
    """One job on features: progress, speed, memory, error, what it wrote.

    Raises:
        NotFound: There is none of that id.
    """
    found = _job(_row(here, job))
    would = found.job["detail"].get("would")
    return JobPage(job=found, would=would if isinstance(would, dict) else None, live=_is_live(found))


@pages.action("/features/materialize", permission="run-jobs")
def materialize(here: Here, form: MaterializeForm) -> Done:
    """Queue a job that brings views online, or one that only counts what such a job would write.

    Raises:
        NotFound: Nothing was ingested, or a view is unknown.
        BadInput: The instant has no zone, or there is no view.
    """
    snapshot = current_snapshot_id(here.home)
    if snapshot is None:
        raise NotFound(
            f"home {here.home.root}",
            found="no ingested data",
            expected="a snapshot",
            next_step="run `backbeat ingest simulate` or `backbeat ingest mmssl PATH`",
        )
    known = _names(here, snapshot)
    for name in form.views:
        if name not in known:
            raise unknown_name("feature view", name, known, next_step="choose one of /features")
    until = parse_instant(form.until.strip(), "the end of the window") if form.until.strip() else None
    parameters = materialization_parameters(force=form.force, until=until)
    views = form.views or known
    job = order_materialization(here.database, snapshot, views, parameters, rehearse=form.dry_run)
    said = f"{'A dry run' if form.dry_run else 'Materialization'} of {len(views)} views is queued."
    return Done(said=said, to=f"/features/jobs/{job}", job=job)


@pages.action("/features/jobs/{job}/pause", permission="run-jobs")
def pause(here: Here, job: str) -> Done:
    """Stop a job at its next checkpoint, to be resumed later."""
    row = _row(here, job)
    pause_job(here.database, row.id)
    return Done(said="It stops at its next checkpoint.", to=f"/features/jobs/{row.id}", job=row.id)


@pages.action("/features/jobs/{job}/resume", permission="run-jobs")
def resume(here: Here, job: str) -> Done:
    """Go on with a job at its last checkpoint."""
    row = _row(here, job)
    requeue_job(here.database, row.id)
    return Done(said="It is queued again and goes on where it stopped.", to=f"/features/jobs/{row.id}", job=row.id)


@pages.action("/features/jobs/{job}/cancel", permission="run-jobs")
def cancel(here: Here, job: str) -> Done:
    """End a job for good; what it wrote stays."""
    row = _row(here, job)
    cancel_job(here.database, row.id)
    return Done(said="It ends at its next checkpoint; what it wrote stays.", to=f"/features/jobs/{row.id}", job=row.id)


def _row(here: Visit, job: str) -> JobRow:
    row = find_job(here.database, job)
    if row.kind not in _KINDS:
        raise NotFound(
            f"job {job!r}",
            found=f"a job of the kind {row.kind}",
            expected=f"one of the kinds {', '.join(_KINDS)}",
            next_step="open /features",
        )
    return row


def _job(row: JobRow) -> Job:
    told = describe_job(row)
    state = JobState(told["state"])
    return Job(
        job=told,
        pausable=state in (JobState.QUEUED, JobState.RUNNING) and row.requested is None,
        resumable=state in RESUMABLE,
        endable=state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.INTERRUPTED),
    )


def _is_live(job: Job) -> bool:
    return job.job["state"] in ("queued", "running", "paused", "interrupted")


def _names(here: Visit, snapshot_id: str) -> list[str]:
    """Views of a snapshot: the computed ones by their files, those of embeddings by their specs."""
    snapshot = stored_snapshot(here.home, snapshot_id)
    computed = {path.stem for path in (here.home.cache / "features" / snapshot_id).glob("*/*.parquet")}
    of_specs = (
        set() if snapshot is None else {spec.view for spec in snapshot.embeddings.values() if spec.entity != "post"}
    )
    with here.database.session() as session:
        online = {name for (name,) in session.query(OnlineViewRow.view).filter_by(snapshot=snapshot_id)}
    return sorted(computed | of_specs | online)


def _views(here: Visit, snapshot_id: str, live: list[Job]) -> list[ViewLine]:
    writing = {str(view) for job in live if job.job["state"] == "running" for view in job.job["subjects"]}
    with here.database.session() as session:
        rows = {row.view: row for row in session.query(OnlineViewRow).filter_by(snapshot=snapshot_id)}
        session.expunge_all()
    lines = []
    for name in _names(here, snapshot_id):
        row = rows.get(name)
        state = "not online" if row is None else "online" if row.watermark is not None else "unfinished"
        lines.append(
            ViewLine(
                view=name,
                state="writing" if name in writing else state,
                watermark=None if row is None else row.watermark,
                rows=0 if row is None else row.rows,
                job=None if row is None else row.job_id,
                updated_at=None if row is None else row.updated_at,
            )
        )
    return lines
