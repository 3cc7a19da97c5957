"""What the gates look at, and what they find: plain values, so that gates are pure functions of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from contracts.reports import ValidationReport
from contracts.user_figures import UserFigures
from contracts.verdict import LiveVerdict

__all__ = ["Evidence", "Finding", "Outcome", "PackageFacts", "Rival", "ShadowFacts", "Waiver"]

Outcome = Literal["pass", "fail", "missing", "stale", "waived"]


@dataclass(frozen=True)
class PackageFacts:
    """What was seen of a version's package."""

    present: bool
    files: int
    """Files that were compared with their sealed hash."""
    fault: str | None
    """What is wrong with it; None for a package that is whole and answers its golden requests."""
    shape: str | None = None
    """``two-tower`` or ``scorer``; None where its manifest cannot be read."""
    candidates: int = 0
    """How many items it ranks for a request, where it is a scorer that does not rank all."""


@dataclass(frozen=True)
class Rival:
    """The champion, as far as it can be compared with the version."""

    version: str
    model: str
    metrics: Mapping[str, float]
    protocol: str
    users: UserFigures | None = None
    measured_on: str | None = None
    """Data its package was measured on again, where its own figures will not do."""
    fault: str | None = None
    """Why that could not be done."""


@dataclass(frozen=True)
class ShadowFacts:
    """The newest comparison of the version, as shadow, with a champion. What it lacks is None."""

    at: datetime
    champion: str
    requests: float | None
    errors: float | None
    p99_ms: float | None
    overlap: float | None
    live_verdict: LiveVerdict | None = None
    """The newest on the two versions, of a shadow report or of an experiment; None where there is none."""
    live_fault: str | None = None
    """Why the stored verdict cannot be read."""
    live_source: str = "shadow report"
    """What it was stored with."""


@dataclass(frozen=True)
class Evidence:
    """Everything the gates look at."""

    surface: str
    version: str
    model: str
    at: datetime
    """When it was gathered; ages count up to here."""
    package: PackageFacts
    snapshot: str
    """Data the version was trained on."""
    report: ValidationReport | None
    """Newest validation report on that snapshot."""
    metrics: Mapping[str, float]
    """Of the version's run."""
    users: UserFigures | None
    """Figures of each user, from its package."""
    protocol: str
    """Digest of the protocol it was measured by."""
    champion: Rival | None
    shadow: ShadowFacts | None = None
    author: str | None = None
    """Who asked for the move."""
    approvers: tuple[str, ...] = ()
    """Who approved it."""


@dataclass(frozen=True)
class Finding:
    """What a gate found, before it is said which rule that was by."""

    outcome: Outcome
    figure: float | str | None
    sentence: str
    detail: dict[str, Any] = field(default_factory=dict)
    rule: str | None = None
    """Where another rule than the usual one applied."""


@dataclass(frozen=True)
class Waiver:
    """An approver's leave to pass a gate."""

    gate: str
    approver: str
    reason: str
    until: datetime
