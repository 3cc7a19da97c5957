"""Requests for promotion: what waits, who decides, and what became of it."""

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.errors import NotFound
from contracts.promotion_rows import ApprovalRow, JudgementRow, MoveRow, RequestRow, WaiverRow
from registry.requests import reject as reject_request
from registry.requests import withdraw as withdraw_request
from registry.web.errands import start_errand
from registry.web.page import Done, Pages
from registry.web.pages.catalogued import DriftedAlias, Freshness, catalogue_of, drifted, freshness_of
from registry.web.pages.version import ReasonForm
from registry.web.site import Here, Visit

__all__ = ["DriftForm", "PromotionsPage", "pages"]

pages = Pages("promotions")

_PAGE = 50


class Yes(BaseModel):
    """One approval."""

    model_config = ConfigDict(frozen=True)

    actor: str
    at: datetime
    reason: str


class Gate(BaseModel):
    """What a gate said when the request was filed, or later."""

    model_config = ConfigDict(frozen=True)

    gate: str
    outcome: str
    sentence: str


class RequestView(BaseModel):
    """One request."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    surface: str
    version: str
    target: str
    champion: str | None
    """Who would be displaced, where it asks for the championship."""
    author: str
    reason: str
    state: str
    decided_at: datetime | None
    decided_by: str | None
    decision_reason: str | None
    approvals: list[Yes]
    verdicts: list[Gate]
    """Of the newest judgement of this version for this target."""
    judged_at: datetime | None
    own: bool
    """Whether whoever looks has made it; nobody approves their own."""


class UnfinishedMove(BaseModel):
    """A move that a crash has left half done."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    surface: str
    version: str
    action: str
    actor: str


class InForce(BaseModel):
    """A waiver."""

    model_config = ConfigDict(frozen=True)

    surface: str
    version: str
    gate: str
    approver: str
    reason: str
    until: datetime


class PromotionsPage(BaseModel):
    """Requests, waivers, unfinished moves and drift."""

    model_config = ConfigDict(frozen=True)

    waiting: list[RequestView]
    past: list[RequestView]
    page: int
    more: bool
    waivers: list[InForce]
    unfinished: list[UnfinishedMove]
    drift: list[DriftedAlias]
    mlflow: Freshness


class DriftForm(BaseModel):
    """What is to be done with aliases that were moved behind Backbeat's back."""

    how: str = Field(pattern="^(accepted|reverted)$")
    reason: str = Field(min_length=1, max_length=2000)


@pages.page("/promotions", "pages/promotions.html")
def promotions(here: Here, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> PromotionsPage:
    """Open requests with what the gates say, past ones, waivers in force, unfinished moves and drift."""
    holders = catalogue_of(here).holders()
    with here.database.session() as session:
        rows = session.query(RequestRow).order_by(RequestRow.at.desc())
        waiting = rows.filter(RequestRow.state.in_(("open", "approved"))).all()
        past = (
            rows.filter(RequestRow.state.not_in(("open", "approved"))).offset((page - 1) * _PAGE).limit(_PAGE + 1).all()
        )
        unfinished = session.query(MoveRow).filter(MoveRow.pending_on.is_not(None)).all()
        waivers = session.query(WaiverRow).filter(WaiverRow.until > utc_now()).order_by(WaiverRow.until).all()
        champions = {surface: held["champion"].version for surface, held in holders.items() if "champion" in held}
        return PromotionsPage(
            waiting=_views(here, session, waiting, champions),
            past=_views(here, session, past[:_PAGE], champions),
            page=page,
            more=len(past) > _PAGE,
            waivers=[InForce.model_validate(row, from_attributes=True) for row in waivers],
            unfinished=[UnfinishedMove.model_validate(row, from_attributes=True) for row in unfinished],
            drift=drifted(session, holders),
            mlflow=freshness_of(here),
        )


@pages.action("/promotions/{request}/approve", permission="decide")
def approve(here: Here, request: str, form: ReasonForm) -> Done:
    """Say yes to somebody else's request; the last yes that the policy asks for moves the version."""
    row = _request(here, request)
    job = start_errand(here, "approve", row.surface, {"request": row.id, "reason": form.reason})
    return Done(said="Your approval is recorded; the gates are asked again where need be.", to=f"/work/{job}", job=job)


@pages.action("/promotions/{request}/reject", permission="decide")
def reject(here: Here, request: str, form: ReasonForm) -> Done:
    """Say no to a request, which ends it."""
    row = _request(here, request)
    reject_request(here.settings, here.home, row.id, here.person.name, form.reason)
    return Done(said=f"The request for {row.surface} version {row.version} is rejected.", to="/promotions")


@pages.action("/promotions/{request}/withdraw", permission="request")
def withdraw(here: Here, request: str, form: ReasonForm) -> Done:
    """Take back one's own request."""
    row = _request(here, request)
    withdraw_request(here.settings, here.home, row.id, here.person.name, form.reason)
    return Done(said=f"Your request for {row.surface} version {row.version} is withdrawn.", to="/promotions")


@pages.action("/promotions/drift/{surface}", permission="settle-drift")
def settle(here: Here, surface: str, form: DriftForm) -> Done:
    """Accept or revert aliases that were moved in MLflow itself."""
    catalogue_of(here).choices(surface)
    job = start_errand(here, "drift", surface, {"how": form.how, "reason": form.reason})
    return Done(said=f"Drift of {surface} is being {form.how}.", to=f"/work/{job}", job=job)


def _request(here: Visit, request_id: str) -> RequestRow:
    with here.database.session() as session:
        row = session.get(RequestRow, request_id)
        if row is None:
            raise NotFound(
                f"request {request_id!r}",
                found="none of that id",
                expected="one of /promotions",
                next_step="open /promotions",
            )
        session.expunge(row)
        return row


def _views(here: Visit, session: Session, rows: list[RequestRow], champions: dict[str, str]) -> list[RequestView]:
    ids = [row.id for row in rows]
    approvals: dict[str, list[Yes]] = {}
    for yes in session.query(ApprovalRow).filter(ApprovalRow.request_id.in_(ids)).order_by(ApprovalRow.at):
        approvals.setdefault(yes.request_id, []).append(Yes.model_validate(yes, from_attributes=True))
    judged: dict[tuple[str, str, str], JudgementRow] = {}
    asked = session.query(JudgementRow).filter(JudgementRow.version.in_({row.version for row in rows}))
    for judgement in asked.order_by(JudgementRow.at):
        judged[judgement.surface, judgement.version, judgement.target] = judgement
    return [
        _view(here, row, approvals.get(row.id, []), judged.get((row.surface, row.version, row.target)), champions)
        for row in rows
    ]


def _view(
    here: Visit, row: RequestRow, approvals: list[Yes], judgement: JudgementRow | None, champions: dict[str, str]
) -> RequestView:
    holder = champions.get(row.surface) if row.target == "champion" else None
    verdicts = [] if judgement is None else judgement.verdicts
    return RequestView(
        id=row.id,
        at=row.at,
        surface=row.surface,
        version=row.version,
        target=row.target,
        champion=holder if holder != row.version else None,
        author=row.author,
        reason=row.reason,
        state=row.state,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        decision_reason=row.decision_reason,
        approvals=approvals,
        verdicts=[Gate(gate=v["gate"], outcome=v["outcome"], sentence=v["sentence"]) for v in verdicts],
        judged_at=None if judgement is None else judgement.at,
        own=row.author == here.person.name,
    )
