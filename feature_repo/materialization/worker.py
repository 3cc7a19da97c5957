"""The worker: does queued jobs one after the other, whoever queued them."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

from contracts.console import note
from contracts.database import Database
from contracts.errors import BackbeatError, Conflict
from contracts.files import storage_full_in
from contracts.home import Home
from contracts.job_run import JobRun
from contracts.jobs import JobState, find_job, list_jobs
from contracts.settings import Settings
from feature_repo.encoders.encode import run_encoding
from feature_repo.materialization.run import run_materialization

__all__ = ["RUNNERS", "Runner", "work"]

Runner = Callable[[Settings, Home, Database, JobRun], None]

RUNNERS: Final[Mapping[str, Runner]] = {"encode": run_encoding, "materialize": run_materialization}
"""Kind of job → what does it."""

_POLL_S = 1.0


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
            with run:
                note(f"job {run.id}: {queued.kind} {', '.join(run.subjects)} of snapshot {run.snapshot}")
                RUNNERS[queued.kind](settings, home, database, run)
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
