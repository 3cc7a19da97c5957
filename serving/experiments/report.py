"""What an experiment has shown so far: its arms, its split, the verdict on its challenger, and how that came about."""

import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput
from contracts.experiment_rows import ExperimentReportRow
from contracts.experiments import ArmReport, Experiment, Point, Preferred, Report, Split
from contracts.platform import ResponseRow, ShadowRow
from serving.analysis.cuped import adjust
from serving.analysis.estimates import totals
from serving.analysis.experiment import Traffic, measure
from serving.analysis.interleaving import Preference, credits, preference
from serving.analysis.outcomes import Impressions, estimate, outcomes
from serving.analysis.sample_ratio import SampleRatio, sample_ratio
from serving.analysis.sequences import Interval
from serving.analysis.verdict import decide
from serving.experiments.exposures import Exposures, outcomes_before, read_exposures, seen_before
from serving.experiments.novelties import Releases, climbing, cold_when_seen
from serving.live_verdict import shadow_verdict

__all__ = ["experiment_report", "store_report"]

_LOOKS = 16
"""Earlier times for which the history says what was known."""

_OUTCOMES = ("ctr", "like", "follow", "watch_time", "coverage")

Values = npt.NDArray[np.float64]


def experiment_report(database: Database, experiment: Experiment, releases: Releases | None = None) -> Report:
    """Work out what an experiment has shown.

    Args:
        database: The platform's tables.
        experiment: Running or ended.
        releases: When items came out; without it nothing is said of cold ones.
    """
    with database.session() as session:
        exposures, users = read_exposures(session, experiment)
        before = outcomes_before(session, experiment, users)
        known = seen_before(session, experiment)
        shadows = _shadows(session, experiment)
    cold = cold_when_seen(exposures, releases)
    shown = exposures.impressions(cold)
    split = _split(experiment, exposures)
    found = _Findings(experiment, exposures, cold, before)
    verdict = None
    if experiment.mode != "exploration":
        verdict = decide(experiment.rule, found.measured(), found.requests(), split)
    return Report(
        experiment=experiment.name,
        mode=experiment.mode,
        surface=experiment.surface,
        champion=experiment.champion,
        challenger=experiment.challenger,
        requests=len(exposures.user),
        users=exposures.users,
        arms=[
            _arm(experiment, exposures, shown, number, known, cold is not None)
            for number in range(len(experiment.weights))
        ],
        split=None if split is None else _as_split(split, experiment),
        preference=_preferred(found.preference()),
        adjusted=_adjusted(shown, before) if experiment.mode == "ab" else {},
        history=[] if verdict is None else _history(found),
        verdict=verdict,
        shadows={
            version: shadow_verdict(database, experiment.surface, experiment.champion, version, experiment.rule)
            for version in shadows
        },
    )


def store_report(database: Database, report: Report) -> str:
    """Keep a report as a row of the platform's tables; returns its id."""
    report_id = uuid.uuid4().hex
    with database.session() as session:
        session.add(
            ExperimentReportRow(
                id=report_id,
                at=utc_now(),
                experiment=report.experiment,
                surface=report.surface,
                champion=report.champion,
                challenger=report.challenger,
                body=report.model_dump(mode="json"),
            )
        )
    return report_id


class _Findings:
    """What the rule names, as far as it can be measured, from all requests or from the first of them."""

    def __init__(
        self,
        experiment: Experiment,
        exposures: Exposures,
        cold: npt.NDArray[np.bool_] | None,
        before: Mapping[str, Values],
    ) -> None:
        self.experiment = experiment
        self.exposures = exposures
        self._cold = cold
        self._before = before

    def first(self, requests: int) -> "_Findings":
        """The same of the first requests."""
        seen = self.exposures.request < requests
        cold = None if self._cold is None else self._cold[seen]
        return _Findings(self.experiment, self.exposures.first(requests), cold, self._before)

    def requests(self) -> int:
        """Of the arm that has fewer."""
        arms = len(self.experiment.weights)
        return int(np.bincount(self.exposures.arm, minlength=arms).min())

    def measured(self) -> dict[str, Interval]:
        """Intervals by metric, the objective first."""
        champion, challenger = self._traffic()
        rule = self.experiment.rule
        found = measure(rule, self.exposures.impressions(self._cold), champion, challenger, self._before)
        if (preferred := self.preference()) is not None:
            found["preference"] = preferred.interval
        return {
            metric: found[metric]
            for metric in (rule.objective, *(g.metric for g in rule.guardrails))
            if metric in found
        }

    def preference(self) -> Preference | None:
        """Of interleaved lists that somebody looked at; None where there is none yet, and in other modes."""
        exposures = self.exposures
        if self.experiment.mode != "interleaving":
            return None
        asked, request = np.unique(exposures.request, return_inverse=True)
        clicks = np.where(exposures.clicked, 1.0, 0.0)[:, None]
        each = credits(exposures.team[:, None], clicks)
        sums = [totals(each[:, team], request, len(asked)) for team in (0, 1)]
        credit = np.stack(sums, axis=1)
        _, user = np.unique(exposures.user[asked], return_inverse=True)
        rule = self.experiment.rule
        try:
            return preference(credit, user, rule.alpha, rule.minimum_effect)
        except BadInput:
            return None

    def _traffic(self) -> tuple[Traffic, Traffic]:
        exposures = self.exposures
        if self.experiment.mode == "interleaving":
            # Every request is of both; what the champion fails leaves no list.
            own, other = np.full(len(exposures.arm), True), np.full(len(exposures.arm), True)
        else:
            own, other = exposures.arm == 0, exposures.arm == 1
        failed = exposures.failed
        latency = exposures.latency_ms
        return (
            Traffic(int(own.sum()), 0, latency[own & ~failed]),
            Traffic(int(other.sum()), int((failed & other).sum()), latency[other & ~failed]),
        )


def _split(experiment: Experiment, exposures: Exposures) -> SampleRatio | None:
    if experiment.mode != "ab" or not exposures.users:
        return None
    pairs = np.unique(np.stack([exposures.user, exposures.arm]), axis=1)
    counts = np.bincount(pairs[1], minlength=len(experiment.weights)).tolist()
    return sample_ratio(dict(zip(experiment.weights, counts, strict=True)), experiment.weights)


def _as_split(split: SampleRatio, experiment: Experiment) -> Split:
    broken = split.broken(experiment.rule.split_alpha)
    return Split(users=split.users, expected=split.expected, always_valid_p=split.always_valid_p, broken=broken)


def _preferred(found: Preference | None) -> Preferred | None:
    if found is None:
        return None
    return Preferred(
        requests=found.requests,
        champion_wins=found.champion_wins,
        challenger_wins=found.challenger_wins,
        value=found.interval.value,
        low=found.interval.low,
        high=found.interval.high,
    )


def _arm(
    experiment: Experiment, exposures: Exposures, shown: Impressions, number: int, known: set[str], catalogued: bool
) -> ArmReport:
    arm = list(experiment.weights)[number]
    of = exposures.arm == number
    means = outcomes(shown, number)
    latency = exposures.latency_ms[of & ~exposures.failed]
    p50, p99 = (float(p) for p in np.percentile(latency, [50, 99])) if len(latency) else (None, None)
    values = {name: _finite(getattr(means, name)) for name in _OUTCOMES}
    if not catalogued:
        values["coverage"] = None
    return ArmReport(
        arm=arm,
        version=" and ".join(experiment.versions[arm]),
        users=len(np.unique(exposures.user[of])),
        requests=int(of.sum()),
        errors=int((of & exposures.failed).sum()),
        impressions=means.impressions,
        climbing=climbing(exposures, number, known),
        p50_ms=p50,
        p99_ms=p99,
        **values,
    )


def _adjusted(shown: Impressions, before: Mapping[str, Values]) -> dict[str, float]:
    found = {}
    for name, values in before.items():
        try:
            (champion, its_users), (challenger, other_users) = (estimate(shown, name, arm) for arm in (0, 1))
        except BadInput:
            continue
        found[name] = adjust(champion, challenger, values[its_users], values[other_users]).variance_ratio
    return found


def _history(found: _Findings) -> list[Point]:
    """What was known when each sixteenth of the requests had been made, by the feedback there is now."""
    total = len(found.exposures.at_s)
    points = []
    for requests in sorted({math.ceil(total * look / _LOOKS) for look in range(1, _LOOKS + 1)} - {0}):
        at = datetime.fromtimestamp(float(found.exposures.at_s[requests - 1]), UTC)
        for metric, interval in found.first(requests).measured().items():
            low, high = _finite(interval.low), _finite(interval.high)
            points.append(Point(at=at, requests=requests, metric=metric, value=interval.value, low=low, high=high))
    return points


def _shadows(session: Session, experiment: Experiment) -> list[str]:
    """Versions that answered beside an exploration."""
    if experiment.mode != "exploration":
        return []
    aside = select(ShadowRow.version).distinct().join(ResponseRow, ResponseRow.id == ShadowRow.response_id)
    return sorted(session.scalars(aside.where(ResponseRow.experiment == experiment.name)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
