"""One version: what it is made of, what the gates say, how it did, and what can be done with it."""

import re
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from contracts.errors import BackbeatError
from contracts.metric_names import headlines
from contracts.platform import AuditRow
from contracts.promotion_rows import RequestRow, WaiverRow
from contracts.surfaces import PRIMARY_METRICS
from registry.catalogue.catalogue import CataloguedVersion
from registry.catalogue.query import ListedVersion
from registry.lineage import lineage_of
from registry.policy import Policy, load_policy
from registry.web.errands import start_errand
from registry.web.page import Done, Pages
from registry.web.pages.artifacts import LineChart, PackageFacts, RunFiles, package_facts
from registry.web.pages.catalogued import Freshness, as_stored, catalogue_of, freshness_of
from registry.web.pages.judgements import JudgementView, judgements_of
from registry.web.pages.lineage import Graph, graph_of
from registry.web.pages.moves import NextMove, next_moves
from registry.web.site import Here, Visit

__all__ = ["MoveForm", "ReasonForm", "VersionPage", "WaiverForm", "config_differences", "pages"]

pages = Pages("version")

_SLICE: Final = re.compile(r"(validation|test)_(?:(.+)_)?(recall|precision|ndcg|hr|mrr|map|auc)_at_(\d+)")
_HISTORY: Final = 100


class ConfigLine(BaseModel):
    """One option that differs from the champion's."""

    model_config = ConfigDict(frozen=True)

    option: str
    mine: str | None
    theirs: str | None


class SliceLine(BaseModel):
    """How a part of the users or items did."""

    model_config = ConfigDict(frozen=True)

    part: str
    slice: str
    metric: str
    value: float
    whole: float | None
    """The same metric of everything."""


class Wish(BaseModel):
    """A request for this version."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    target: str
    author: str
    reason: str
    state: str


class WaiverLine(BaseModel):
    """Leave to pass a gate."""

    model_config = ConfigDict(frozen=True)

    gate: str
    approver: str
    reason: str
    at: datetime
    until: datetime


class HistoryLine(BaseModel):
    """Something that was done with this version, or was refused."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    actor: str
    action: str
    before: str
    after: str
    displaced: str | None
    reason: str


class VersionPage(BaseModel):
    """Everything about one version."""

    model_config = ConfigDict(frozen=True)

    surface: str
    metric: str
    """The surface's primary metric."""
    version: CataloguedVersion
    champion: ListedVersion | None
    package: PackageFacts
    judgements: list[JudgementView]
    """The newest for each target."""
    moves: list[NextMove]
    policy: str | None
    """Digest of the policy that holds now."""
    policy_fault: str | None
    """Why it cannot be read."""
    waivable: list[str]
    """Gates that the policy lets an approver waive."""
    waivers: list[WaiverLine]
    requests: list[Wish]
    history: list[HistoryLine]
    headlines: dict[str, float]
    slices: list[SliceLine]
    config: list[ConfigLine]
    """Options that differ from the champion's; empty where it is the champion or there is none."""
    figures: list[str]
    """Names of pictures, at ``/versions/SURFACE/VERSION/figures/NAME``."""
    charts: list[LineChart]
    lineage: Graph
    """What it was made of."""
    rolls_back: bool
    """Whether it is the champion and there was one before."""
    mlflow: Freshness


class MoveForm(BaseModel):
    """Where a version shall go, and why."""

    target: str = Field(max_length=32)
    reason: str = Field(min_length=1, max_length=2000)


class JudgeForm(BaseModel):
    """What a version is judged for."""

    target: str = Field(max_length=32)


class ReasonForm(BaseModel):
    """Why."""

    reason: str = Field(min_length=1, max_length=2000)


class WaiverForm(BaseModel):
    """Which gate may be passed, why and for how long."""

    gate: str = Field(max_length=32)
    reason: str = Field(min_length=1, max_length=2000)
    days: float = Field(default=7, gt=0, le=365)


@pages.page("/versions/{surface}/{version}", "pages/version.html")
def version_page(here: Here, surface: str, version: str) -> VersionPage:
    """One version, by number or alias: contract, gates, figures, slices, configuration and history.

    Raises:
        NotFound: There is no such surface or version.
    """
    catalogue = catalogue_of(here)
    found = catalogue.get(surface, version)
    holders = catalogue.holders()[surface]
    champion = holders.get("champion")
    rival = None
    if champion is not None and champion.version != found.version:
        rival = catalogue.get(surface, champion.version)
    files = RunFiles(here, found)
    facts = package_facts(files, found)
    policy, fault = _policy(here)
    figures = {name: value for name, value in found.metrics.items() if value is not None}
    return VersionPage(
        surface=surface,
        metric=PRIMARY_METRICS[surface],
        version=found,
        champion=champion,
        package=facts,
        judgements=judgements_of(here, found, champion, facts.sha256, None if policy is None else policy.digest),
        moves=next_moves(found, holders, None if policy is None else policy.of(surface)),
        policy=None if policy is None else policy.digest,
        policy_fault=fault,
        waivable=[] if policy is None else list(policy.of(surface).waivable),
        waivers=_of_version(here, WaiverRow, found, WaiverLine),
        requests=_of_version(here, RequestRow, found, Wish),
        history=_of_version(here, AuditRow, found, HistoryLine),
        headlines=headlines(figures),
        slices=_slices(figures),
        config=[] if rival is None else config_differences(found.parameters, rival.parameters),
        figures=list(files.figures()),
        charts=files.charts(),
        lineage=graph_of(lineage_of(here.settings, here.home, as_stored(found))),
        rolls_back=found.stage == "champion" and _had_others(here, found),
        mlflow=freshness_of(here),
    )


@pages.file("/versions/{surface}/{version}/figures/{name}")
def figure(here: Here, surface: str, version: str, name: str) -> Response:
    """A picture that training drew.

    Raises:
        NotFound: There is no such version or picture.
    """
    found = catalogue_of(here).get(surface, version)
    path = RunFiles(here, found).figure(name)
    return FileResponse(path, media_type="image/png", headers={"cache-control": "private, max-age=3600"})


@pages.action("/versions/{surface}/{version}/judge", permission="judge")
def judge(here: Here, surface: str, version: str, form: JudgeForm) -> Done:
    """Ask all gates of a move; nothing moves."""
    return _errand(here, "judge", surface, version, "The gates are being asked.", target=form.target)


@pages.action("/versions/{surface}/{version}/request", permission="request")
def request(here: Here, surface: str, version: str, form: MoveForm) -> Done:
    """Ask that a version be moved; somebody else decides."""
    said = "Your request is on its way; its gates are asked first."
    return _errand(here, "request", surface, version, said, target=form.target, reason=form.reason)


@pages.action("/versions/{surface}/{version}/promote", permission="promote")
def promote(here: Here, surface: str, version: str, form: MoveForm) -> Done:
    """Move a version, if every gate lets it."""
    said = "The gates are being asked; the version moves if all of them let it."
    return _errand(here, "promote", surface, version, said, target=form.target, reason=form.reason)


@pages.action("/versions/{surface}/{version}/retire", permission="retire")
def retire(here: Here, surface: str, version: str, form: ReasonForm) -> Done:
    """Take a version out of service."""
    return _errand(here, "retire", surface, version, "The version is being retired.", reason=form.reason)


@pages.action("/versions/{surface}/{version}/waive", permission="waive")
def waive(here: Here, surface: str, version: str, form: WaiverForm) -> Done:
    """Let a version pass a gate for some days."""
    said = f"Leave to pass {form.gate} is being recorded."
    return _errand(here, "waive", surface, version, said, gate=form.gate, reason=form.reason, days=f"{form.days:g}")


@pages.action("/versions/{surface}/rollback", permission="rollback")
def rollback(here: Here, surface: str, form: ReasonForm) -> Done:
    """Make the champion before this one the champion again."""
    catalogue_of(here).get(surface, "champion")
    job = start_errand(here, "rollback", surface, {"reason": form.reason})
    return Done(said="The champion before is being brought back.", to=f"/work/{job}", job=job)


def _errand(here: Visit, verb: str, surface: str, version: str, said: str, **arguments: str) -> Done:
    number = catalogue_of(here).get(surface, version).version
    job = start_errand(here, verb, surface, {"version": number, **arguments})
    return Done(said=said, to=f"/work/{job}", job=job)


def _policy(here: Visit) -> tuple[Policy | None, str | None]:
    try:
        return load_policy(here.settings, here.home), None
    except BackbeatError as error:
        return None, str(error)


def _of_version(here: Visit, table: Any, version: CataloguedVersion, model: type[BaseModel]) -> list[Any]:
    with here.database.session() as session:
        rows = session.query(table).filter_by(surface=version.surface, version=version.version)
        newest = rows.order_by(table.at.desc()).limit(_HISTORY)
        return [model.model_validate(row, from_attributes=True) for row in newest]


def _had_others(here: Visit, version: CataloguedVersion) -> bool:
    with here.database.session() as session:
        others = session.query(AuditRow.id).filter(
            AuditRow.surface == version.surface,
            AuditRow.after == "champion",
            AuditRow.version != version.version,
            AuditRow.action.in_(("promote", "rollback", "drift accepted")),
        )
        return others.first() is not None


def _slices(metrics: dict[str, float]) -> list[SliceLine]:
    found = []
    for name, value in sorted(metrics.items()):
        match = _SLICE.fullmatch(name)
        if match and match[2]:
            whole = metrics.get(f"{match[1]}_{match[3]}_at_{match[4]}")
            found.append(
                SliceLine(part=match[1], slice=match[2], metric=f"{match[3]}@{match[4]}", value=value, whole=whole)
            )
    return found


def config_differences(mine: dict[str, str], theirs: dict[str, str]) -> list[ConfigLine]:
    """Options that two configurations have otherwise, or that only one of them has."""
    return [
        ConfigLine(option=name, mine=mine.get(name), theirs=theirs.get(name))
        for name in sorted(mine.keys() | theirs.keys())
        if mine.get(name) != theirs.get(name)
    ]
