"""`backbeat features jobs|pause|resume|cancel|work`: watch jobs, stop them, and do those that wait."""

from typing import Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption

__all__ = [
    "features_cancel",
    "features_jobs",
    "features_pause",
    "features_resume",
    "features_work",
    "job_line",
    "job_text",
    "materialization_text",
]

_SHOWN = 3
"""So many subjects of a job are named in its line."""

_RESUMED = ("materialize", "encode")
"""Kinds of jobs that `features resume` goes on with."""

JobArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or the beginning of one.")]


def features_jobs(
    job: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of a job, or the beginning of one; all if left out.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest jobs to list.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs with what they do and how far they are, or show one in full. Example: `backbeat features jobs`"""
    from contracts.console import emit
    from contracts.database import Database
    from contracts.jobs import find_job, list_jobs
    from contracts.opening import open_home
    from feature_repo.materialization.repeats import tell_jobs

    settings, place = open_home(home)
    database = Database(settings, place)
    try:
        if job is not None:
            [told] = tell_jobs(database, [find_job(database, job)])
            emit(told, as_json=as_json, text=job_text(told))
            return
        rows = tell_jobs(database, list_jobs(database, limit=limit))
    finally:
        database.close()
    text = "\n".join(job_line(row) for row in rows) or "no jobs yet: run `backbeat features materialize`"
    emit({"jobs": rows}, as_json=as_json, text=text)


def features_pause(job: JobArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop a job at its next checkpoint, to be resumed later. Example: `backbeat features pause 3f2a`"""
    from contracts.jobs import pause_job

    _ask(pause_job, job, home, as_json, "asked to pause: it stops after the chunk at hand")


def features_cancel(job: JobArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End a job for good; what it wrote stays. Example: `backbeat features cancel 3f2a`"""
    from contracts.jobs import cancel_job

    _ask(cancel_job, job, home, as_json, "asked to end: it stops after the chunk at hand")


def features_resume(
    job: JobArgument,
    queue: Annotated[bool, typer.Option("--queue", help="Leave it to `backbeat features work`.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a job that was paused, interrupted or has failed. Example: `backbeat features resume 3f2a`"""
    from contracts.console import emit
    from contracts.database import Database
    from contracts.jobs import describe_job, find_job, requeue_job
    from contracts.opening import open_home
    from feature_repo.commands.encode import show_encoded
    from feature_repo.encoders.encode import resume_encoding
    from feature_repo.materialization.worker import resume_job

    settings, place = open_home(home)
    if queue:
        database = Database(settings, place)
        try:
            told = describe_job(find_job(database, requeue_job(database, job)))
        finally:
            database.close()
        emit(told, as_json=as_json, text=f"job {told['id']}: queued; `backbeat features work` does it")
        return
    database = Database(settings, place)
    try:
        if find_job(database, job).kind == "encode":
            show_encoded(resume_encoding(settings, place, database, job), as_json)
            return
    finally:
        database.close()
    told = resume_job(settings, place, job)
    emit(told, as_json=as_json, text=job_text(told))


def features_work(
    once: Annotated[bool, typer.Option("--once", help="End when nothing is queued, instead of waiting.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do queued jobs until stopped. Example: `backbeat features work --once`"""
    from contracts.console import emit, note
    from contracts.jobs import JobState
    from contracts.opening import open_home
    from feature_repo.materialization.worker import work

    settings, place = open_home(home)
    if not once:
        note("waiting for jobs; Ctrl-C ends this worker and leaves the job at hand to be resumed")
    done = work(settings, place, once=once)
    text = "\n".join(f"job {job}: {state}" for job, state in done) or "nothing is queued"
    emit({"jobs": [{"id": job, "state": str(state)} for job, state in done]}, as_json=as_json, text=text)
    if any(state is JobState.FAILED for _, state in done):
        raise typer.Exit(1)


def job_line(job: dict[str, Any]) -> str:
    """One job in one line."""
    of = "" if job["total"] is None else f"{job['done']}/{job['total']} chunks"
    began = (job["started_at"] or job["created_at"])[:19].replace("T", " ")
    rate = f"{job['rows_per_second']:,.0f} rows/s" if job["rows_per_second"] else ""
    state = "superseded" if job.get("done_by") else job["state"]
    figures = f"{of:>14}  {job['rows']:>12,} rows  {rate:>16}"
    return f"{job['id']:<12}  {state:<11}  {began}  {figures}  {_work_of(job)}"


def job_text(job: dict[str, Any]) -> str:
    """One job in full."""
    from feature_repo.materialization.memory import memory_text

    told = [
        f"job {job['id']}  {job['state']}" + (f" (asked to {job['requested']})" if job["requested"] else ""),
        f"  kind      {job['kind']} of snapshot {job['snapshot']}",
        f"  subjects  {', '.join(job['subjects'])}",
    ]
    if job["total"] is not None:
        rate = f", {job['rows_per_second']:,.0f} rows/s" if job["rows_per_second"] else ""
        told.append(f"  progress  {job['done']} of {job['total']} chunks, {job['rows']:,} rows{rate}")
    if job["peak_memory"]:
        told.append(f"  memory    {memory_text(job['peak_memory'])} at most")
    if job["host"]:
        told.append(f"  process   {job['pid']} on {job['host']}, attempt {job['attempts']}")
    for name in ("created_at", "started_at", "ended_at"):
        if job[name]:
            told.append(f"  {name.removesuffix('_at'):<8}  {job[name][:19].replace('T', ' ')} UTC")
    for view, facts in job["detail"].get("written", {}).items():
        told.append(f"  {view:<42} {facts['rows']:>12,} rows, {facts['checked'] or 0} compared with offline")
    if job["error"]:
        error = job["error"]["error"]
        told.append(f"  error     {error['subject']}: found {error['found']}; expected {error['expected']}")
        told.append(f"  next      {error['next']}")
    if job.get("done_by"):
        told.append(f"  since     job {job['done_by']} has done what was left: nothing is to be resumed")
    elif job["state"] in ("paused", "interrupted", "failed") and job["kind"] not in _RESUMED:
        told.append("  next      run the command that began it again")
    elif job["state"] in ("paused", "interrupted", "failed"):
        told.append(f"  next      `backbeat features resume {job['id']}` goes on at the last checkpoint")
    elif job["state"] == "queued":
        told.append("  next      `backbeat features work --once` does it")
    return "\n".join(told)


def materialization_text(summary: dict[str, Any]) -> str:
    """What a materialization came to."""
    from feature_repo.materialization.memory import memory_text

    told = [f"snapshot {summary['snapshot']}: {summary['outcome']}", f"  views  {', '.join(summary['views'])}"]
    job = summary.get("job")
    if job is not None and job["state"] == "done":
        checked = sum(facts["checked"] or 0 for facts in job["detail"]["written"].values())
        rate = f", {job['rows_per_second']:,.0f} rows/s" if job["rows_per_second"] else ""
        told.append(f"  job    {job['id']}: {job['rows']:,} rows{rate}, {memory_text(job['peak_memory'])} at most")
        told.append(f"  check  {checked:,} sampled keys are online as they are offline")
    elif job is not None:
        told.append(job_text(job))
    return "\n".join(told)


def _work_of(job: dict[str, Any]) -> str:
    """What a job does to what, briefly; an encoder by its name."""
    kind = " ".join(filter(None, (job["kind"], job["parameters"].get("encoder"))))
    shown, more = ", ".join(job["subjects"][:_SHOWN]), len(job["subjects"]) - _SHOWN
    return f"{kind}: {shown}" + (f" and {more} more" if more > 0 else "") if shown else kind


def _ask(what: Any, job: str, home: Any, as_json: bool, asked: str) -> None:
    from contracts.console import emit
    from contracts.database import Database
    from contracts.jobs import JobState, describe_job, find_job
    from contracts.opening import open_home

    settings, place = open_home(home)
    database = Database(settings, place)
    try:
        state = what(database, job)
        told = describe_job(find_job(database, job))
    finally:
        database.close()
    emit(told, as_json=as_json, text=f"job {told['id']}: {asked if state is JobState.RUNNING else state}")
