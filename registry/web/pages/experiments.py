"""Experiments on live traffic: their arms, what is known of them and how that came about; their start and end."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from contracts.experiment_rows import ExperimentReportRow
from contracts.experiments import Experiment, Report, experiment_of_name, latest_report
from contracts.platform import ResponseRow
from contracts.surfaces import VIDEO_FEED
from registry.experiments import start_experiment, stop_experiment
from registry.live_verdict import read_verdict
from registry.web.page import Done, Pages
from registry.web.site import Here

__all__ = ["ArmView", "ExperimentPage", "ExperimentView", "experiment_views", "pages"]

pages = Pages("experiments")

_LATEST = 50


class ArmView(BaseModel):
    """An arm and its traffic until now."""

    model_config = ConfigDict(frozen=True)

    arm: str
    versions: list[str]
    """Whose items it shows."""
    share: float
    """Of the users in an A/B test, else of the lists."""
    users: int
    requests: int
    last_at: datetime | None


class ExperimentView(BaseModel):
    """An experiment and the newest report on it."""

    model_config = ConfigDict(frozen=True)

    experiment: Experiment
    running: bool
    arms: list[ArmView]
    report: Report | None
    """None where none was stored or what was cannot be read."""
    reported_at: datetime | None
    fault: str | None
    """Why the report cannot be read."""


class Verdict(BaseModel):
    """What an earlier report decided."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    decision: str | None
    sentence: str | None


class ExperimentPage(BaseModel):
    """One experiment, with all that was decided of it."""

    model_config = ConfigDict(frozen=True)

    view: ExperimentView
    verdicts: list[Verdict]
    """Of all reports, the newest first."""


class StartForm(BaseModel):
    """What an experiment needs; its rule is the mode's own."""

    name: str
    mode: Literal["ab", "interleaving", "exploration"] = "ab"
    surface: str = VIDEO_FEED
    challenger: str = "challenger"
    weight: float = Field(default=0.5, gt=0, lt=1)
    epsilon: float = Field(default=0.1, gt=0, le=1)
    top: int = Field(default=50, ge=2, le=500)
    reason: str


class StopForm(BaseModel):
    """Why an experiment ends."""

    reason: str


@pages.page("/experiments/{name}", "pages/experiment.html")
def experiment(here: Here, name: str) -> ExperimentPage:
    """One experiment: its arms, its newest report, and all verdicts there were."""
    with here.database.session() as session:
        (view,) = experiment_views(session, [experiment_of_name(session, name)])
        rows = session.query(ExperimentReportRow).filter_by(experiment=name)
        stored = [(row.at, row.body) for row in rows.order_by(ExperimentReportRow.at.desc()).limit(_LATEST)]
    verdicts = []
    for at, body in stored:
        verdict, _ = read_verdict(body)
        verdicts.append(Verdict(at=at, decision=verdict and verdict.decision, sentence=verdict and verdict.sentence))
    return ExperimentPage(view=view, verdicts=verdicts)


@pages.action("/experiments", permission="experiment")
def start(here: Here, form: StartForm) -> Done:
    """Start an experiment on a surface; its services take part within seconds."""
    found = start_experiment(
        here.settings,
        here.home,
        form.surface,
        form.name,
        form.mode,
        here.person.name,
        form.reason,
        challenger=form.challenger,
        weight=form.weight,
        epsilon=form.epsilon,
        top=form.top,
    )
    return Done(said=f"{found.name} runs on {found.surface}.", to=f"/experiments/{found.name}")


@pages.action("/experiments/{name}/stop", permission="experiment")
def stop(here: Here, name: str, form: StopForm) -> Done:
    """End an experiment: the champion has all traffic again."""
    found = stop_experiment(here.settings, here.home, name, here.person.name, form.reason)
    return Done(said=f"{found.name} has ended.", to=f"/experiments/{found.name}")


def experiment_views(session: Session, experiments: list[Experiment]) -> list[ExperimentView]:
    """Experiments with their traffic and their newest reports, in their order.

    Args:
        session: A transaction on the platform's tables.
        experiments: Which.
    """
    counted = (
        select(
            ResponseRow.experiment,
            ResponseRow.arm,
            func.count(),
            func.count(ResponseRow.user_id.distinct()),
            func.max(ResponseRow.at),
        )
        .where(ResponseRow.experiment.in_([each.name for each in experiments]))
        .group_by(ResponseRow.experiment, ResponseRow.arm)
    )
    traffic = {(name, arm): counts for name, arm, *counts in session.execute(counted)}
    return [_view(session, each, traffic) for each in experiments]


def _view(
    session: Session, experiment: Experiment, traffic: dict[tuple[str | None, str | None], list[object]]
) -> ExperimentView:
    arms = []
    for arm, share in experiment.weights.items():
        requests, users, last = traffic.get((experiment.name, arm), [0, 0, None])
        facts = {"users": users, "requests": requests, "last_at": last}
        arms.append(ArmView(arm=arm, versions=experiment.versions[arm], share=share, **facts))
    stored = latest_report(session, experiment=experiment.name)
    report, fault = None, None
    if stored is not None:
        try:
            report = Report.model_validate(stored[1])
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            fault = f"{'.'.join(map(str, first['loc'])) or 'report'}: {first['msg']}"
    return ExperimentView(
        experiment=experiment,
        running=experiment.running,
        arms=arms,
        report=report,
        reported_at=None if stored is None else stored[0],
        fault=fault,
    )
