"""The promotion gates: pure functions from evidence to verdict."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from contracts.reports import ValidationReport
from contracts.surfaces import PRIMARY_METRICS
from registry.metric import is_share

__all__ = ["GATES", "GATES_OF", "Evidence", "PackageFacts", "Rival", "Verdict", "judge"]


@dataclass(frozen=True)
class PackageFacts:
    """What was seen of a version's package."""

    present: bool
    files: int
    """Files that were compared with their sealed hash."""
    fault: str | None
    """What is wrong with it; None for a package that is whole and answers its golden requests."""


@dataclass(frozen=True)
class Rival:
    """The version to be matched."""

    version: str
    model: str
    metric: float | None
    protocol: str
    measured_on: str | None = None
    """Data its package was measured on again, where its own figure is by another protocol."""
    fault: str | None = None
    """Why that could not be done."""


@dataclass(frozen=True)
class Evidence:
    """Everything the gates look at."""

    surface: str
    version: str
    model: str
    package: PackageFacts
    snapshot: str
    """Data the version was trained on."""
    report: ValidationReport | None
    """Newest validation report on that snapshot."""
    metric: float | None
    """The primary metric."""
    protocol: str
    """Digest of the protocol it was measured by."""
    champion: Rival | None


@dataclass(frozen=True)
class Verdict:
    """One gate's answer."""

    gate: str
    outcome: Literal["pass", "fail", "missing"]
    figure: float | str | None
    rule: str
    sentence: str

    @property
    def passed(self) -> bool:
        """Whether the gate lets the version through; missing evidence does not."""
        return self.outcome == "pass"


def _package(evidence: Evidence) -> Verdict:
    facts = evidence.package
    rule = "every file has its sealed hash, and in a clean process the package loads and repeats its golden answers"
    if facts.fault is None:
        sentence = f"{facts.files} files are as sealed and the golden requests are answered alike"
        return Verdict("package", "pass", facts.files, rule, sentence)
    return Verdict("package", "fail" if facts.present else "missing", facts.files, rule, facts.fault)


def _validation(evidence: Evidence) -> Verdict:
    rule = "the newest validation report on the version's data snapshot passed, or somebody has accepted it"
    report, snapshot = evidence.report, evidence.snapshot
    if report is None:
        return Verdict("validation", "missing", None, rule, f"there is no validation report on snapshot {snapshot}")
    word = "passed" if report.success else "failed"
    sentence = f"report {report.id} on snapshot {snapshot} {word}"
    if report.declined is not None:
        sentence += f", its comparison with accepted snapshot {report.declined} was declined"
    if report.override is not None:
        sentence += f", overridden by {report.override.actor}: {report.override.reason}"
    return Verdict("validation", "pass" if report.accepted else "fail", report.id, rule, sentence)


def _primary_metric(evidence: Evidence) -> Verdict:
    metric = PRIMARY_METRICS[evidence.surface]
    rule = (
        f"{metric} is at least the champion's by the same protocol, for which a champion of other data is "
        "measured again on this version's; without a champion any sound value will do"
    )
    own, rival = evidence.metric, evidence.champion

    def verdict(outcome: Literal["pass", "fail", "missing"], sentence: str) -> Verdict:
        # JSON has no NaN, and the audit log keeps verdicts as JSON.
        figure = own if own is None or math.isfinite(own) else str(own)
        return Verdict("primary-metric", outcome, figure, rule, sentence)

    if own is None:
        return verdict("missing", f"version {evidence.version} has no {metric}")
    if not is_share(own):
        return verdict("fail", f"{metric} is {own:g}, not a number between 0 and 1")
    if rival is None:
        return verdict("pass", f"{metric} is {own:.4f} and there is no champion to match")
    who = f"champion {rival.version}"
    when = f" when measured on snapshot {rival.measured_on}" if rival.measured_on else ""
    if rival.fault is not None:
        return verdict("missing", f"{who} could not be measured on snapshot {rival.measured_on}: {rival.fault}")
    if rival.protocol != evidence.protocol:
        return verdict(
            "missing",
            f"{who} was measured by another protocol ({rival.protocol}, not {evidence.protocol}){when}; "
            f"run `backbeat train {evidence.model} --force` to have a version measured by today's",
        )
    if not is_share(rival.metric):
        return verdict("missing", f"{who} has no sound {metric} to compare with{when}")
    sentence = f"{metric} is {own:.4f}, {who} has {rival.metric:.4f}{when}"
    return verdict("pass" if own >= rival.metric else "fail", sentence)


GATES: Final = MappingProxyType({"package": _package, "validation": _validation, "primary-metric": _primary_metric})
"""Name → gate."""

GATES_OF: Final = MappingProxyType(
    {
        "champion": ("package", "validation", "primary-metric"),
        "shadow": ("package", "validation"),
        "rollback": ("package",),
    }
)
"""Move → names of its gates. A rollback asks only whether the package still works: it must go through in need."""


def judge(names: Iterable[str], evidence: Evidence) -> list[Verdict]:
    """Ask every named gate, whatever the others say."""
    return [GATES[name](evidence) for name in names]
