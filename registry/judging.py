"""Judging a version: evidence gathered, every gate of the move asked, the outcome kept."""

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from contracts.console import note
from contracts.database import Database
from contracts.home import Home
from contracts.promotion_rows import JudgementRow
from contracts.settings import Settings
from contracts.surfaces import PRIMARY_METRICS, Tag
from registry.evidence import (
    Remeasure,
    ReplayFault,
    Tell,
    gather,
    remeasure_in_clean_process,
    replay_in_clean_process,
)
from registry.facts import Evidence, Waiver
from registry.gates import Verdict, judge
from registry.policy import Policy, load_policy
from registry.store import ModelStore, ModelVersion

__all__ = ["Judgement", "judge_version", "latest_judgement", "stale_because"]


@dataclass(frozen=True)
class Judgement:
    """What all gates of a move said of a version at one time."""

    id: str
    at: datetime
    surface: str
    version: str
    target: str
    champion: str | None
    """Version that was champion then."""
    package_sha256: str
    policy_digest: str
    verdicts: tuple[Verdict, ...]
    evidence: dict[str, Any]
    actor: str

    @property
    def passed(self) -> bool:
        """Whether every gate lets the version through."""
        return not self.refused

    @property
    def refused(self) -> tuple[Verdict, ...]:
        """The verdicts of gates that do not."""
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self) | {"passed": self.passed}


def judge_version(
    settings: Settings,
    home: Home,
    surface: str,
    version: ModelVersion,
    target: str,
    actor: str,
    *,
    replay: ReplayFault = replay_in_clean_process,
    remeasure: Remeasure = remeasure_in_clean_process,
    policy: Policy | None = None,
    author: str | None = None,
    approvers: Iterable[str] = (),
    waivers: Iterable[Waiver] = (),
    tell: Tell = note,
) -> Judgement:
    """Gather the evidence, ask all gates of a move and keep what they said. Takes from seconds to many minutes.

    Args:
        settings: Name the databases, the home and the device.
        home: Whose registry.
        surface: Registered model.
        version: The version that would move.
        target: State that it would take, or ``rollback``.
        actor: Who asks.
        replay: How to prove that a package works.
        remeasure: How to measure the champion on the version's data.
        policy: The rules; those of the home if None.
        author: Who asked for the move, where a request stands behind it.
        approvers: Who approved it.
        waivers: Leave to pass gates.
        tell: Takes what is being done.

    Raises:
        NotFound: There is no such surface, or the settings' policy file is not there.
        BadInput: The policy has a key, gate or value that is not allowed.
        ServiceUnavailable: A database does not answer.
    """
    policy = policy or load_policy(settings, home)
    rules = policy.of(surface)
    database = Database(settings, home)
    try:
        evidence = gather(
            settings,
            ModelStore(settings, home),
            database,
            version,
            rules,
            target,
            replay=replay,
            remeasure=remeasure,
            author=author,
            approvers=approvers,
            tell=tell,
        )
        tell(f"asking {len(rules.move(target).gates)} gates of the move to {target}")
        judgement = Judgement(
            id=uuid.uuid4().hex,
            at=evidence.at,
            surface=surface,
            version=version.version,
            target=target,
            champion=evidence.champion.version if evidence.champion is not None else None,
            package_sha256=version.tags.get(Tag.PACKAGE_SHA256, ""),
            policy_digest=policy.digest,
            verdicts=tuple(judge(rules, target, evidence, waivers)),
            evidence=_summary(evidence, policy),
            actor=actor,
        )
        with database.session() as session:
            row = asdict(judgement) | {"verdicts": [asdict(verdict) for verdict in judgement.verdicts]}
            session.add(JudgementRow(**row))
    finally:
        database.close()
    return judgement


def latest_judgement(database: Database, surface: str, version: str, target: str) -> Judgement | None:
    """The newest judgement of a version for a move; None where nobody has asked.

    Args:
        database: The platform's tables.
        surface: Registered model.
        version: Its number.
        target: State that it would take, or ``rollback``.
    """
    wanted = select(JudgementRow).filter_by(surface=surface, version=version, target=target)
    with database.session() as session:
        row = session.scalars(wanted.order_by(JudgementRow.at.desc()).limit(1)).first()
        if row is None:
            return None
        facts = {column.key: getattr(row, column.key) for column in JudgementRow.__table__.columns}
    return Judgement(**facts | {"verdicts": tuple(Verdict(**verdict) for verdict in facts["verdicts"])})


def stale_because(judgement: Judgement, champion: str | None, policy_digest: str, package_sha256: str) -> str | None:
    """Why a judgement says nothing about today; None where it still holds.

    Args:
        judgement: The judgement.
        champion: Version that is champion now.
        policy_digest: Of the rules as they are now.
        package_sha256: Of the version's package, as its tags say now.
    """
    if judgement.champion != champion:
        return f"version {champion or 'none'} is champion now, it was judged beside {judgement.champion or 'none'}"
    if judgement.policy_digest != policy_digest:
        return f"the policy is {policy_digest} now, it was judged by {judgement.policy_digest}"
    if judgement.package_sha256 != package_sha256:
        return "the version has another package now"
    return None


def _summary(evidence: Evidence, policy: Policy) -> dict[str, Any]:
    """What a reader of the judgement can use, as JSON."""
    rival, metric = evidence.champion, PRIMARY_METRICS[evidence.surface]
    return {
        "snapshot": evidence.snapshot,
        "protocol": evidence.protocol,
        "report": evidence.report.id if evidence.report is not None else None,
        "users": len(evidence.users) if evidence.users is not None else None,
        "champion": None
        if rival is None
        else {
            "version": rival.version,
            "model": rival.model,
            "protocol": rival.protocol,
            "measured_on": rival.measured_on,
            "fault": rival.fault,
        },
        "metric": metric,
        "author": evidence.author,
        "approvers": list(evidence.approvers),
        "profile": policy.profile,
        "policy": str(policy.source) if policy.source is not None else None,
    }
