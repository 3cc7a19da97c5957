"""The worker: does queued jobs one after the other, whoever queued them."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from contracts.console import note
from contracts.database import Database
from contracts.errors import BackbeatError, BadInput, Conflict
from contracts.files import storage_full_in
from contracts.home import Home
from contracts.job_run import JobRun
from contracts.jobs import JobState, describe_job, find_job, list_jobs
from contracts.materializing import MATERIALIZE, REHEARSE
from contracts.settings import Settings
from feature_repo.encoders.encode import run_encoding
from feature_repo.materialization.rehearsal import run_rehearsal
from feature_repo.materialization.run import run_materialization

__all__ = ["RUNNERS", "Runner", "attempt", "resume_job", "work"]

Runner = Callable[[Settings, Home, Database, JobRun], None]


def _run_encoding(settings: Settings, home: Home, database: Database, run: JobRun) -> None:

    run_encoding(settings, home, database, run)


RUNNERS: Final[Mapping[str, Runner]] = {
    MATERIALIZE: run_materialization,
    REHEARSE: run_rehearsal,
    "encode": _run_encoding,
}
"""Kind of job → what does it, once it has been entered."""

_POLL_S = 1.0


def attempt(settings: Settings, home: Home, database: Database, run: JobRun, kind: str, announce: bool = False) -> None:
    """Do, or go on with, a job in this process; Ctrl-C says how to go on."""
    try:
        with run:
            if announce:
                note(f"job {run.id}: {kind} {', '.join(run.subjects)} of snapshot {run.snapshot}")
            RUNNERS[kind](settings, home, database, run)
    except KeyboardInterrupt:
        note(f"job {run.id} is interrupted: `backbeat features resume {run.id}` goes on at its last checkpoint")
        raise


def resume_job(settings: Settings, home: Home, job_id: str) -> dict[str, Any]:
    """Go on with a job that was paused, interrupted or has failed, in this process.

    Returns:
        The job in its JSON form.

    Raises:
        NotFound: There is no such job.
        Conflict: It is at work, has ended, or another job is at work on one of its subjects.
        BadInput: It is of a kind that another command goes on with.
        BackbeatError: Whatever ends the work.
    """
    database = Database(settings, home)
    try:
        row = find_job(database, job_id)
        if row.kind not in RUNNERS:
            raise BadInput(
                f"job {row.id}",
                found=f"a job of the kind {row.kind!r}",
                expected=f"one of the kinds {', '.join(RUNNERS)}",
                next_step="run the command that began it again",
            )
        attempt(settings, home, database, JobRun(database, row.id), row.kind)
        return describe_job(find_job(database, row.id))
    finally:
        database.close()


def work(settings: Settings, home: Home, once: bool = False) -> list[tuple[str, JobState]]:
    """Do queued jobs, the oldest first, until there is none (``once``) or for ever.

    A job whose views another job is at work on stays queued. A job that fails says so in its row and on standard
    error, and the next one is done. SIGTERM ends the worker as Ctrl-C does: the job at hand is left ``interrupted``.

    Args:
        settings: Name the profile.
        home: Which home.
        once: End when nothing is left that can be done now.

    Returns:
        Id and state of each job, in the order they were done.
    """
    database, done = Database(settings, home), list[tuple[str, JobState]]()
    try:
        with _terminable():
            while True:
                if (job := _next(settings, home, database)) is not None:
                    done.append(job)
                elif once:
                    return done
                else:
                    time.sleep(_POLL_S)
    finally:
        database.close()


def _next(settings: Settings, home: Home, database: Database) -> tuple[str, JobState] | None:
    """Do the oldest queued job that can be done; None where there is none."""
    for queued in reversed(list_jobs(database, state=JobState.QUEUED)):
        if queued.kind not in RUNNERS:
            continue
        run = JobRun(database, queued.id)
        try:
            attempt(settings, home, database, run, queued.kind, announce=True)
        except Conflict as error:
            if find_job(database, queued.id).state == JobState.FAILED:
                note(f"job {queued.id} failed: {error}")
                return queued.id, JobState.FAILED
            continue  # held up, or somebody else took it
        except Exception as error:
            told = storage_full_in(error) or error
            if not isinstance(told, BackbeatError):
                raise
            note(f"job {queued.id} failed: {told}")
        return queued.id, run.state
    return None


@contextmanager
def _terminable() -> Iterator[None]:
    def end(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
