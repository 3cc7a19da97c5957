"""The work of a materialization job: plan its views, write them in chunks, check a sample, record how far it came."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contracts.console import Advance, progress
from contracts.database import Database
from contracts.errors import ValidationFailed
from contracts.files import file_stamp
from contracts.home import Home
from contracts.job_run import JobRun
from contracts.reports import AcceptedReport, require_passed
from contracts.settings import Settings
from feature_repo.materialization.check import changed_rows, check_sample, is_online
from feature_repo.materialization.memory import chunk_bytes_below
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.registry import record_interval
from feature_repo.materialization.sources import EPOCH, ViewSource, largest, sources_of
from feature_repo.materialization.watermarks import files_written, online_views, set_watermark
from feature_repo.offline import read_snapshot
from feature_repo.store import applied_definitions, require_applied, servers_answer
from feature_repo.stores.plan import Plan, plan, read_chunk

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Span", "run_materialization", "spans_of", "whole_spans"]

_PROBE_ROWS = 16


@dataclass(frozen=True)
class Span:
    """What is to be written of a view: rows that became known in ``(start, end]``; from the beginning if None."""

    source: ViewSource
    start: datetime | None
    end: datetime


@dataclass(frozen=True)
class _Progress:
    """How far a view is: what a checkpoint keeps of it."""

    start: str | None
    end: str
    plan: str
    """Names the plan; another plan's chunk numbers mean nothing."""
    file: str = ""
    """The stamp of the file that is written."""
    chunk: int = 0
    """Chunks that are written."""
    rows: int = 0
    changed: int = 0
    checked: int | None = None
    """Keys compared; None before the view is finished."""


def spans_of(
    database: Database, store: "FeatureStore", snapshot: str, views: Sequence[str] | None, until: datetime | None
) -> list[Span]:
    """What is missing online of each view; views of which nothing is missing are left out.

    A view is written from the beginning where it never was, where its definitions have changed, where its file was
    computed again, or where the store has lost it.

    Args:
        database: The platform's tables.
        store: On the snapshot's project.
        snapshot: Whose views.
        views: Which; all if None.
        until: Rows known up to this instant; all rows if None.
    """
    definitions, known = applied_definitions(store), online_views(database, snapshot)
    files = files_written(database, known)
    spans = []
    for source in sources_of(store, views):
        end = _end(source, until)
        row = known.get(source.name)
        start = row.watermark if row is not None and row.definitions == definitions else None
        again = files.get(source.name, "") not in ("", file_stamp(source.path))
        if start is not None and (again or not is_online(source, OnlineView(store, source), start)):
            start = None
        if start is None or start < end:
            spans.append(Span(source, start, end))
    return spans


def whole_spans(store: "FeatureStore", views: Sequence[str] | None, until: datetime | None) -> list[Span]:
    """All rows of each view, as if nothing were online; arguments as of :func:`spans_of`."""
    return [Span(source, None, _end(source, until)) for source in sources_of(store, views)]


def _end(source: ViewSource, until: datetime | None) -> datetime:
    last = source.known_until() or EPOCH
    return last if until is None else min(last, until)


def run_materialization(settings: Settings, home: Home, database: Database, run: JobRun) -> None:
    """Do, or go on with, a materialization job that has been entered.

    Its parameters are ``force``, ``until`` (ISO 8601 or null), ``memory`` (bytes or null) and ``seed``.

    Raises:
        ValidationFailed: The snapshot has no passed report, or a sampled value is not online as it is offline.
        NotFound: The snapshot's features are not applied.
        BadInput: The memory cap is too small.
        ServiceUnavailable: A server does not answer (any more).
        StopRequested: Somebody asked the job to pause or to end.
    """
    report = require_passed(database, home, run.snapshot)
    store = require_applied(settings, home, read_snapshot(home, run.snapshot))
    with servers_answer():
        work = _Work(home, database, store, run, report)
        with progress("materializing feature views", work.total) as advance:
            advance(work.done)
            for span in work.spans:
                work.write(span, advance)
        run.detail |= work.outcome()


class _Work:
    """The views of one attempt and how far each is; of a snapshot that was let through the gate."""

    def __init__(
        self, home: Home, database: Database, store: "FeatureStore", run: JobRun, report: AcceptedReport
    ) -> None:
        self._home, self._database, self._store, self._run = home, database, store, run
        self._report = report
        self._definitions = str(applied_definitions(store))
        kept = run.checkpoint if run.checkpoint.get("definitions") == self._definitions else {}
        sources = sources_of(store, run.subjects)
        allowed = chunk_bytes_below(run.parameters.get("memory"), *largest(sources))
        self._chunk_bytes = min(allowed, kept.get("chunk_bytes", allowed))
        self._views: dict[str, _Progress] = {name: _Progress(**view) for name, view in kept.get("views", {}).items()}
        self._chunks: dict[str, int] = {}
        fresh = [name for name in run.subjects if name not in self._views]
        self.spans = self._begun(sources) + self._new(fresh)
        for span in self.spans:
            planned = self._plan(span)
            name, now = span.source.name, self._views.get(span.source.name)
            self._chunks[name] = len(planned.chunks)
            if now is None or (now.plan != _named(span, planned) and now.checked is None):
                start = None if span.start is None else span.start.isoformat()
                stamp = file_stamp(span.source.path)
                self._views[name] = _Progress(start, span.end.isoformat(), _named(span, planned), stamp)
                if span.start is None:  # not online until that is finished
                    self._mark(name, None, 0)
        self.total = sum(self._chunks.values())
        self._save()

    @property
    def done(self) -> int:
        """Chunks that are written."""
        return sum(self._views[span.source.name].chunk for span in self.spans)

    def write(self, span: Span, advance: Advance) -> None:
        """Write what is left of a view, check it and record that it is online."""
        source, view = span.source, self._views[span.source.name]
        if view.checked is not None:
            return
        online, planned = OnlineView(self._store, source), self._plan(span)
        for chunk, changed in online.written(planned, view.chunk):
            view = replace(view, chunk=chunk.number + 1, rows=view.rows + chunk.rows, changed=view.changed + changed)
            pa.default_memory_pool().release_unused()
            self._save(source.name, view)
            advance(note=f"{source.name}  {self._run.rows:,} rows, {self._run.rows_per_second:,.0f} rows/s")
        try:
            checked = check_sample(source, online, span.end, int(self._run.parameters.get("seed", 0)))
        except ValidationFailed:
            # Which rows are wrong is unknown: whoever resumes writes all of them.
            self._mark(source.name, None, 0)
            self._save(source.name, _Progress(None, view.end, plan=""))
            raise
        self._save()  # whoever was taken for dead learns it here, before it says that the view is online
        start = EPOCH if span.start is None else span.start
        record_interval(self._home, self._store, source.view, start, max(span.end, start))
        whole = planned if span.start is None else self._plan(replace(span, start=None))
        self._mark(source.name, span.end, len(whole.rows))
        self._save(source.name, replace(view, checked=checked))

    def outcome(self) -> dict[str, Any]:
        """Facts for the job's detail."""
        known = online_views(self._database, self._run.snapshot)
        whole = {source.name for source in sources_of(self._store)}
        online = {name for name, row in known.items() if row.watermark and row.definitions == self._definitions}
        return {
            "views": self._run.subjects,
            "definitions": self._definitions,
            "complete": whole <= online,
            "validation_report": self._report.id,
            "written": {
                name: {"from": view.start, "until": view.end, "rows": view.rows, "changed": view.changed}
                | {"checked": view.checked}
                for name, view in sorted(self._views.items())
            },
        }

    def _new(self, views: list[str]) -> list[Span]:
        """What is to be written of views that no attempt has begun."""
        until = self._run.parameters.get("until")
        until = None if until is None else datetime.fromisoformat(until)
        if not views:
            return []
        if self._run.parameters.get("force", False):
            return whole_spans(self._store, views, until)
        return spans_of(self._database, self._store, self._run.snapshot, views, until)

    def _begun(self, sources: list[ViewSource]) -> list[Span]:
        """What earlier attempts have begun; from the beginning where the store has lost what they wrote."""
        spans = []
        for source in sources:
            if (view := self._views.get(source.name)) is None:
                continue
            start = None if view.start is None else datetime.fromisoformat(view.start)
            span = Span(source, start, datetime.fromisoformat(view.end))
            if self._is_lost(span, view):
                span = replace(span, start=None)
                del self._views[source.name]
            spans.append(span)
        return spans

    def _is_lost(self, span: Span, view: _Progress) -> bool:
        """Whether rows that were written are gone, as after a restart of a Redis that keeps nothing on disk.

        So are those of a file that was computed again meanwhile.
        """
        if view.file not in ("", file_stamp(span.source.path)):
            return True
        planned, online = self._plan(span), OnlineView(self._store, span.source)
        if view.checked is None and span.start is not None and not is_online(span.source, online, span.start):
            return True  # what was online before this job
        if view.chunk == 0 or _named(span, planned) != view.plan:
            return False
        for number in {0, view.chunk - 1}:
            if changed_rows(span.source, online, read_chunk(planned, number).slice(0, _PROBE_ROWS), span.end):
                return True
        return False

    def _plan(self, span: Span) -> Plan:
        return plan(span.source.path, span.source.key, span.start, span.end, self._chunk_bytes)

    def _mark(self, view: str, watermark: datetime | None, rows: int) -> None:
        set_watermark(
            self._database,
            self._run.snapshot,
            view,
            definitions=self._definitions,
            watermark=watermark,
            rows=rows,
            job_id=self._run.id,
        )

    def _save(self, name: str | None = None, view: _Progress | None = None) -> None:
        if name is not None and view is not None:
            self._views[name] = view
        checkpoint = {
            "definitions": self._definitions,
            "chunk_bytes": self._chunk_bytes,
            "views": {each: asdict(progress) for each, progress in self._views.items()},
        }
        rows = sum(view.rows for view in self._views.values())
        self._run.save(checkpoint, done=self.done, total=self.total, rows=rows)


def _named(span: Span, planned: Plan) -> str:
    """Names a plan: the same rows of the same file, cut at the same places."""
    return f"{planned.digest}:{file_stamp(span.source.path)}"
