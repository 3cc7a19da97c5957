"""What the gates said of a version the last time they were asked, and whether that still holds."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from contracts.promotion_rows import JudgementRow
from registry.catalogue.catalogue import CataloguedVersion
from registry.catalogue.query import ListedVersion
from registry.web.site import Visit

__all__ = ["JudgementView", "VerdictLine", "judgements_of"]


class VerdictLine(BaseModel):
    """What one gate said."""

    model_config = ConfigDict(frozen=True)

    gate: str
    outcome: str
    figure: int | float | str | None = None
    rule: str
    sentence: str


class JudgementView(BaseModel):
    """What all gates of a move said, the last time they were asked."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    target: str
    champion: str | None
    actor: str
    passed: bool
    stale: str | None
    """Why it does not hold any more."""
    policy: str
    """Digest of the policy that it was judged by."""
    verdicts: list[VerdictLine]


def judgements_of(
    here: Visit, version: CataloguedVersion, champion: ListedVersion | None, sha256: str, policy: str | None
) -> list[JudgementView]:
    """The newest judgement of a version for each target, and whether each still holds.

    Args:
        here: Names the database.
        version: The version.
        champion: Who is champion now.
        sha256: Of the version's package, as it was registered.
        policy: Digest of the policy as it is now; None where it cannot be read.
    """
    newest: dict[str, JudgementRow] = {}
    with here.database.session() as session:
        rows = session.query(JudgementRow).filter_by(surface=version.surface, version=version.version)
        for row in rows.order_by(JudgementRow.at):
            newest[row.target] = row
        session.expunge_all()
    return [_judgement(row, champion, sha256, policy) for _, row in sorted(newest.items())]


def _judgement(row: JudgementRow, champion: ListedVersion | None, sha256: str, policy: str | None) -> JudgementView:
    verdicts = [VerdictLine.model_validate(verdict) for verdict in row.verdicts]
    now = champion.version if champion is not None else None
    stale = None
    if row.package_sha256 != sha256:
        stale = "the package has another hash now"
    elif row.champion != now and row.version != now:
        stale = f"the champion was {row.champion or 'nobody'} then and is {now or 'nobody'} now"
    elif policy is not None and row.policy_digest != policy:
        stale = f"the policy was {row.policy_digest} then and is {policy} now"
    return JudgementView(
        id=row.id,
        at=row.at,
        target=row.target,
        champion=row.champion,
        actor=row.actor,
        passed=all(verdict.outcome in ("pass", "waived") for verdict in verdicts),
        stale=stale,
        policy=row.policy_digest,
        verdicts=verdicts,
    )
