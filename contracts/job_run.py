"""One attempt at a job: its locks, its heartbeat, its checkpoints and how it ends."""

import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BackbeatError, Conflict
from contracts.files import storage_full_in
from contracts.jobs import JobState, bury_dead, draft_job, find_job, move_job
from contracts.liveness import HEARTBEAT_S, forget_peak_memory, myself, peak_memory
from contracts.platform import JobLockRow, JobRow

__all__ = ["JobRun", "StopRequested", "new_job"]

_STOPS = {"pause": JobState.PAUSED, "cancel": JobState.CANCELLED}


class StopRequested(Exception):
    """Raised at a checkpoint where somebody asked the job to pause or to end; :class:`JobRun` turns it into a state."""

    def __init__(self, state: JobState) -> None:
        self.state = state
        super().__init__(state)


class JobRun:
    """A job at work in this process: ``with JobRun(database, job) as run: …``.

    Entering takes the job's locks, one for each of its subjects, and moves it to ``running``. Leaving releases them
    and records how it ended: ``done``; ``paused`` or ``cancelled`` where a checkpoint found that asked for (which is
    no exception to the caller: look at :attr:`state`); ``interrupted`` on Ctrl-C; else ``failed`` with its error.

    Attributes:
        id: The job's id.
        snapshot: The data it works on.
        parameters: How.
        checkpoint: Where the attempt before this one stopped; empty at first.
        rows: Rows done by all attempts.
        detail: Facts to be stored with the job; write into it.
        state: How it stands.

    Args:
        database: The platform's tables.
        job: The id of a queued job or of one to resume, or a job that is not in the database yet.
        changes: Parameters that this attempt has otherwise than the one before; they are kept with the job.
    """

    def __init__(self, database: Database, job: str | JobRow, changes: Mapping[str, Any] | None = None) -> None:
        self._database = database
        self._job = job
        self._changes = dict(changes or {})
        self.id = job if isinstance(job, str) else job.id
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._pulse: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            Conflict: Another job holds one of the subjects, or the state allows no start.
            NotFound: There is no such job.
        """
        row = self._job if isinstance(self._job, JobRow) else find_job(self._database, self._job)
        if bury_dead(self._database, row):
            row = find_job(self._database, row.id)
        forget_peak_memory()
        self._take(row)
        row = find_job(self._database, row.id)
        self.id, self.snapshot, self.subjects = row.id, row.snapshot, list(row.subjects)
        self.parameters, self.checkpoint, self.detail = dict(row.parameters), dict(row.checkpoint), dict(row.detail)
        self.done, self.total, self.rows = row.done, row.total, row.rows
        self._peak_before, self._rows_before, self._began = row.peak_memory or 0, row.rows, 0.0
        self.state = JobState.RUNNING
        self._pulse = threading.Thread(target=self._beat, name=f"job {self.id}", daemon=True)
        self._pulse.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Record how it ended; only a requested stop is not raised on."""
        self._stop.set()
        if self._pulse is not None:
            self._pulse.join()
        if isinstance(error, _Lost):
            raise error.conflict from None
        self.state = _ending(error)
        told = _error_json(error) if self.state is JobState.FAILED else None
        try:
            with self._database.session() as session:
                row = session.get_one(JobRow, self.id)
                session.expunge(row)
                if row.token == self._token and row.state == JobState.RUNNING:
                    move_job(session, row, self.state, ended_at=utc_now(), error=told, **self._figures())
                elif error is None:
                    raise self._lost()
        except SQLAlchemyError:
            if error is None:
                raise  # else the first error says more; the dead job is found by its heartbeat
        return isinstance(error, StopRequested)

    @property
    def rows_per_second(self) -> float:
        """Of this attempt, since its first checkpoint: what is done before that is preparation."""
        elapsed = time.monotonic() - self._began if self._began else 0.0
        return (self.rows - self._rows_before) / elapsed if elapsed else 0.0

    @property
    def peak_memory(self) -> int:
        """Bytes, the most of all attempts."""
        return max(self._peak_before, peak_memory())

    def save(self, checkpoint: Mapping[str, Any], *, done: int, total: int, rows: int) -> None:
        """Make progress durable, then stop here if somebody has asked for it.

        Args:
            checkpoint: Where another attempt has to go on; JSON.
            done: Units of work that are finished, in all attempts.
            total: Units of work in all.
            rows: Rows that are finished, in all attempts.

        Raises:
            StopRequested: Somebody asked the job to pause or to end.
            Conflict: Another process has taken this job over.
        """
        self.checkpoint, self.done, self.total, self.rows = dict(checkpoint), done, total, rows
        self._began = self._began or time.monotonic()
        with self._database.session() as session:
            mine = (JobRow.id == self.id, JobRow.token == self._token, JobRow.state == JobState.RUNNING)
            saved = session.execute(update(JobRow).where(*mine).values(heartbeat_at=utc_now(), **self._figures()))
            if saved.rowcount != 1:  # type: ignore[attr-defined]
                raise _Lost(self._lost())
            requested = session.query(JobRow.requested).filter(JobRow.id == self.id).scalar()
        if requested is not None:
            raise StopRequested(_STOPS[requested])

    def _figures(self) -> dict[str, Any]:
        return {
            "checkpoint": self.checkpoint,
            "detail": self.detail,
            "done": self.done,
            "total": self.total,
            "rows": self.rows,
            "rows_per_second": round(self.rows_per_second, 1),
            "peak_memory": self.peak_memory,
        }

    def _take(self, row: JobRow) -> None:
        """Locks and state in one transaction, as often as it takes to clear away the locks of dead jobs."""
        while True:
            try:
                with self._database.session() as session:
                    if row is self._job:
                        fields = {column.key: getattr(row, column.key) for column in JobRow.__table__.columns}
                        session.add(JobRow(**fields))
                        session.flush()
                    for subject in sorted(set(row.subjects)):
                        key = {"kind": row.kind, "snapshot": row.snapshot, "subject": subject}
                        session.add(JobLockRow(**key, job_id=row.id, token=self._token))
                        session.flush()
                    self._begin(session, row)
                return
            except IntegrityError:
                self._yield_to_living(row)

    def _begin(self, session: Any, row: JobRow) -> None:
        me, now = myself(), utc_now()
        move_job(
            session,
            row,
            JobState.RUNNING,
            parameters={**row.parameters, **self._changes},
            token=self._token,
            started_at=row.started_at or now,
            ended_at=None,
            error=None,
            requested=None,
            attempts=row.attempts + 1,
            host=me.host,
            pid=me.pid,
            born=me.born,
            heartbeat_at=now,
        )

    def _yield_to_living(self, row: JobRow) -> None:
        with self._database.session() as session:
            held = session.query(JobLockRow).filter_by(kind=row.kind, snapshot=row.snapshot)
            locks = [(lock.subject, lock.job_id, lock.token) for lock in held if lock.subject in row.subjects]
        for subject, holder_id, token in locks:
            holder = find_job(self._database, holder_id)
            if bury_dead(self._database, holder):
                continue
            if holder.state == JobState.RUNNING and holder.token == token:
                raise Conflict(
                    f"{row.kind} {subject} of snapshot {row.snapshot}",
                    found=f"job {holder.id} at work on it (process {holder.pid} on {holder.host})",
                    expected="one job at a time",
                    next_step=f"run `backbeat features jobs {holder.id}` to watch it, or "
                    f"`backbeat features cancel {holder.id}`",
                )
            with self._database.session() as session:  # that attempt has ended, and never comes back
                session.query(JobLockRow).filter_by(token=token).delete()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with suppress(SQLAlchemyError), self._database.session() as session:
                mine = (JobRow.id == self.id, JobRow.token == self._token)
                session.execute(update(JobRow).where(*mine).values(heartbeat_at=utc_now()))

    def _lost(self) -> Conflict:
        return Conflict(
            f"job {self.id}",
            found="that another process has taken it over",
            expected="one worker for a job",
            next_step=f"run `backbeat features jobs {self.id}`",
        )


class _Lost(Exception):
    """The job has another worker now; nothing may be written to its row any more."""

    def __init__(self, conflict: Conflict) -> None:
        self.conflict = conflict
        super().__init__(conflict)


def new_job(
    database: Database,
    kind: str,
    snapshot: str,
    subjects: Iterable[str] = (),
    parameters: Mapping[str, Any] | None = None,
) -> JobRun:
    """A job that this process does itself, at once: no worker sees it queued, and none is left where it is refused.

    Entering it raises Conflict where another job holds one of the subjects.
    """
    return JobRun(database, draft_job(kind, snapshot, subjects, parameters))


def _ending(error: BaseException | None) -> JobState:
    if error is None:
        return JobState.DONE
    if isinstance(error, StopRequested):
        return error.state
    return JobState.FAILED if isinstance(error, Exception) else JobState.INTERRUPTED


def _error_json(error: BaseException | None) -> dict[str, Any]:
    if error is not None and (full := storage_full_in(error)) is not None:
        return full.as_dict()
    if isinstance(error, BackbeatError):
        return error.as_dict()
    unexpected = BackbeatError(
        "job",
        found=f"{type(error).__name__}: {error}",
        expected="no fault of the platform's own",
        next_step="report it with the output of `backbeat doctor`; resuming goes on at the last checkpoint",
    )
    return unexpected.as_dict()
