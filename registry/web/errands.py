"""Starting errands from a page, a few at a time, and looking at them."""

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from contracts.database import Database
from contracts.errors import BackbeatError, NotFound, NotPermitted, unknown_name
from contracts.home import Home
from contracts.job_run import JobRun
from contracts.jobs import JobState, find_job, list_jobs, queue_job, requeue_job
from contracts.platform import JobRow
from contracts.settings import Settings, environment_of_child
from registry.errand import ERRAND, VERBS
from registry.web.access import Person
from registry.web.site import Visit

__all__ = ["ErrandRunner", "find_errand", "repeat_errand", "runner_of", "start_errand", "title_of"]

AT_ONCE: Final = 2
"""Errands at work at one time; each loads MLflow into a process of its own."""

_PATIENCE_S: Final = 3600


class ErrandRunner:
    """Runs each errand in a child process; those of an earlier run of the UI that never began go first.

    Args:
        settings: What the children read.
        home: Whose registry.
        database: The platform's tables.
    """

    def __init__(self, settings: Settings, home: Home, database: Database) -> None:
        self._settings, self._home, self._database = settings, home, database
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="errand")
        for waiting in reversed(list_jobs(database, kind=ERRAND, state=JobState.QUEUED)):
            self.run(waiting.id)

    def run(self, errand_id: str) -> None:
        """Do a queued errand as soon as there is room for it."""
        self._pool.submit(self._do, errand_id)

    def close(self) -> None:
        """Begin no more; those at work go on by themselves, those that wait are done after the next start."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _do(self, errand_id: str) -> None:
        # A session of its own: Ctrl-C in the server's terminal does not tear a move.
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "registry.errand", errand_id],
            env=environment_of_child(self._settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, said = child.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            _, said = child.communicate()
        if child.returncode and find_job(self._database, errand_id).state == JobState.QUEUED:
            self._record_stillbirth(errand_id, said)

    def _record_stillbirth(self, errand_id: str, said: str) -> None:
        """The child has ended before it could take the job, so it could not say why in the job's row."""
        lines = said.strip().splitlines() or ["nothing said"]
        with suppress(BackbeatError), JobRun(self._database, errand_id):
            raise BackbeatError(
                f"errand {errand_id}",
                found=lines[-1][:500],
                expected="a process that begins its work",
                next_step="run `backbeat doctor`, then start it again",
            )


def runner_of(here: Visit) -> ErrandRunner:
    """The one runner of this process."""
    return here.site.kept("errands", lambda: ErrandRunner(here.settings, here.home, here.database))


def start_errand(here: Visit, verb: str, surface: str, arguments: Mapping[str, str]) -> str:
    """Have an action done by a child process.

    Args:
        here: Who asks.
        verb: A key of :data:`registry.errand.VERBS`.
        surface: What it works on.
        arguments: Of the action, e.g. ``version``, ``target`` and ``reason``.

    Returns:
        The job's id: ``/work/ID`` shows how it goes.

    Raises:
        NotFound: There is no such action.
        NotPermitted: This person may not do it.
    """
    if verb not in VERBS:
        raise unknown_name("action", verb, VERBS, next_step="choose one of these")
    _require(here.person, verb)
    asked = {"verb": verb, "arguments": dict(arguments), "actor": here.person.name}
    errand_id = queue_job(here.database, ERRAND, surface, [], asked)
    runner_of(here).run(errand_id)
    return errand_id


def repeat_errand(here: Visit, errand_id: str) -> str:
    """Do an errand that has failed or was interrupted once more; as the person who asks now.

    Raises:
        NotFound: There is none of that id.
        NotPermitted: This person may not do what it does.
        Conflict: It is at work or done.
    """
    row = find_errand(here.database, errand_id)
    _require(here.person, row.parameters["verb"])
    if row.parameters["actor"] != here.person.name:
        return start_errand(here, row.parameters["verb"], row.snapshot, row.parameters["arguments"])
    requeue_job(here.database, row.id)
    runner_of(here).run(row.id)
    return row.id


def find_errand(database: Database, errand_id: str) -> JobRow:
    """An errand by its id.

    Raises:
        NotFound: There is none of that id, or the job is another kind of work.
    """
    row = find_job(database, errand_id)
    if row.kind != ERRAND:
        raise NotFound(
            f"errand {errand_id}",
            found=f"a job of the kind {row.kind}",
            expected="a registry action",
            next_step="look at /features for jobs on features",
        )
    return row


def title_of(row: JobRow) -> str:
    """What an errand does, for people."""
    asked: dict[str, Any] = row.parameters
    verb = VERBS.get(asked.get("verb", ""))
    if verb is None:
        return row.kind
    words = {name: str(value) for name, value in asked["arguments"].items()}
    try:
        return verb.title.format_map(words)
    except KeyError:  # an argument is missing, which the errand itself says
        return verb.title


def _require(person: Person, verb: str) -> None:
    known = VERBS.get(verb)
    if known is not None and not person.may(known.permission):
        raise NotPermitted(
            f"action {verb}",
            found=f"{person.name}, who is a {person.role}",
            expected=f"somebody with the permission {known.permission}",
            next_step="ask somebody who may",
        )
