"""Errands: what people have started from pages, how far it is and how it ended."""

from datetime import datetime
from typing import Any

from fastapi import Query
from pydantic import BaseModel

from contracts.jobs import RESUMABLE, JobState, list_jobs, state_of
from contracts.platform import JobRow
from registry.errand import ERRAND, VERBS
from registry.web.errands import find_errand, repeat_errand, title_of
from registry.web.page import Done, Pages
from registry.web.site import Here, Visit

__all__ = ["ErrandPage", "ErrandShown", "Step", "WorkPage", "pages"]

pages = Pages("work")

_MOVING = (JobState.QUEUED, JobState.RUNNING)


class Step(BaseModel):
    """Something an errand has said."""

    at: datetime
    text: str


class ErrandShown(BaseModel):
    """An errand in a line."""

    id: str
    title: str
    verb: str
    surface: str
    actor: str
    state: str
    moving: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error: dict[str, Any] | None
    """``subject``, ``found``, ``expected`` and ``next`` of what ended it."""


class WorkPage(BaseModel):
    """The newest errands."""

    errands: list[ErrandShown]
    moving: bool


class ErrandPage(BaseModel):
    """An errand in full."""

    errand: ErrandShown
    arguments: dict[str, str]
    steps: list[Step]
    result: Any
    link: str | None
    """Page of what it worked on."""
    again: bool
    """Whether this person may do it once more."""


@pages.page("/work", "pages/work.html")
def work(here: Here, limit: int = Query(50, ge=1, le=500)) -> WorkPage:
    """Registry actions that were started here, the newest first."""
    shown = [_shown(row) for row in list_jobs(here.database, kind=ERRAND, limit=limit)]
    return WorkPage(errands=shown, moving=any(one.moving for one in shown))


@pages.page("/work/{errand_id}", "pages/errand.html")
def errand(here: Here, errand_id: str) -> ErrandPage:
    """One of them, with what it has said and what came of it."""
    row = find_errand(here.database, errand_id)
    shown = _shown(row)
    asked: dict[str, str] = row.parameters["arguments"]
    version = asked.get("version", "")
    link = f"/versions/{row.snapshot}" + (f"/{version}" if version.isdecimal() else "")
    return ErrandPage(
        errand=shown,
        arguments=asked,
        steps=[Step.model_validate(step) for step in row.detail.get("steps", [])],
        result=row.detail.get("result"),
        link=link,
        again=state_of(row) in RESUMABLE and _may(here, row),
    )


@pages.action("/work/{errand_id}/again", permission="request")
def again(here: Here, errand_id: str) -> Done:
    """Do an errand that has failed or was interrupted once more."""
    started = repeat_errand(here, errand_id)
    return Done(said="Started again.", to=f"/work/{started}", job=started)


def _may(here: Visit, row: JobRow) -> bool:
    verb = VERBS.get(row.parameters["verb"])
    return verb is not None and here.person.may(verb.permission)


def _shown(row: JobRow) -> ErrandShown:
    state = state_of(row)
    return ErrandShown(
        id=row.id,
        title=title_of(row),
        verb=row.parameters["verb"],
        surface=row.snapshot,
        actor=row.parameters["actor"],
        state=str(state),
        moving=state in _MOVING,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=None if row.error is None else row.error["error"],
    )
