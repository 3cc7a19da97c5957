"""One move of a version: checked, judged, carried out through the outbox; refused attempts are audited too."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from contracts.clock import utc_now
from contracts.errors import ApprovalMissing, Conflict, GateRefused
from contracts.platform import AuditRow
from registry.drift import require_no_drift
from registry.gates import Verdict
from registry.lifecycle import require_legal, standing_after
from registry.opening import Registry
from registry.outbox import Move, Watch, carry_out, unwatched, watermark
from registry.store import ModelVersion

__all__ = ["Judge", "Promotion", "Proposal", "make_move"]

Judge = Callable[[ModelVersion], Sequence[Verdict]]
"""Asks every gate of a move about a version."""


@dataclass(frozen=True)
class Promotion:
    """What a promotion, rollback or retirement did."""

    surface: str
    version: str
    model: str
    outcome: Literal["moved", "unchanged"]
    before: str
    after: str
    displaced: str | None
    """Version that held the alias before, where there was one."""
    verdicts: tuple[Verdict, ...]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Proposal:
    """Who wants which version where, and why."""

    action: Literal["promote", "retire", "rollback"]
    version: ModelVersion
    to: str
    reason: str
    actor: str
    request_id: str | None = None
    """The request that is performed by it."""
    displaces: str | None = None
    """Version that must hold the alias, where the move is against that one."""


def make_move(registry: Registry, proposal: Proposal, judge: Judge, watch: Watch = unwatched) -> Promotion:
    """Judge a move and make it.

    Args:
        registry: Both databases.
        proposal: The move.
        judge: Asks the gates, after everything else has been found to allow the move.
        watch: Told of every step.

    Raises:
        Conflict: The version's state does not allow it; somebody else moves this surface, or has moved what was
            judged; an alias was changed in MLflow itself.
        GateRefused: At least one gate refused; the message has every such verdict.
    """
    verdicts: Sequence[Verdict] = ()
    surface, number = proposal.version.surface, proposal.version.version
    try:
        seen = watermark(registry.database, surface)
        version = registry.store.get(surface, number)
        if version.state == proposal.to:
            return _promotion(proposal, "unchanged", proposal.to, None, ())
        require_no_drift(registry, surface)
        require_legal(surface, number, version.state, proposal.to)
        holder = registry.store.holders(surface).get(proposal.to)
        _require_displaced(proposal, holder)
        after = standing_after(number, version.state, proposal.to, holder)
        before = registry.store.standing(surface, after)
        verdicts = judge(version)
        _require_all(proposal, verdicts)
        audit = _audit(proposal, version.state, proposal.to, holder, verdicts)
        move = Move(surface, number, proposal.action, proposal.actor, before, after, audit, proposal.request_id)
        carry_out(registry, move, seen, watch)
    except (Conflict, GateRefused) as refusal:
        _audit_refusal(registry, proposal, verdicts, refusal)
        raise
    return _promotion(proposal, "moved", version.state, holder, tuple(verdicts))


def _require_displaced(proposal: Proposal, holder: str | None) -> None:
    if proposal.displaces not in (None, holder):
        version = proposal.version
        raise Conflict(
            f"{version.surface} version {version.version} → {proposal.to}",
            found=f"version {holder or 'none'} as {proposal.to} since it was looked up",
            expected=f"version {proposal.displaces}, which was to be displaced",
            next_step=f"look at `backbeat models audit --surface {version.surface}`, then run the command again",
        )


def _require_all(proposal: Proposal, verdicts: Sequence[Verdict]) -> None:
    refused = [verdict for verdict in verdicts if not verdict.passed]
    if not refused:
        return
    version = proposal.version
    only_approval = [verdict.gate for verdict in refused] == ["approval"]
    kind = ApprovalMissing if only_approval else GateRefused
    ask = f"backbeat models request {version.version} --surface {version.surface} --to {proposal.to} --reason ..."
    raise kind(
        f"{version.surface} version {version.version} ({version.model}) → {proposal.to}",
        found=f"{len(refused)} of {len(verdicts)} gates refuse: "
        + "; ".join(f"{verdict.gate}: {verdict.sentence}" for verdict in refused),
        expected="; ".join(verdict.rule for verdict in refused),
        next_step=f"run `{ask}`"
        if only_approval
        else "mend what the gates name, or choose another version of `backbeat models list`",
    )


def _audit(
    proposal: Proposal, before: str, after: str, displaced: str | None, verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    return {
        "before": before,
        "after": after,
        "displaced": displaced,
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "reason": proposal.reason,
    }


def _audit_refusal(
    registry: Registry, proposal: Proposal, verdicts: Sequence[Verdict], refusal: Conflict | GateRefused
) -> None:
    state = proposal.version.state
    audit = _audit(proposal, state, state, None, verdicts)
    if isinstance(refusal, Conflict):
        rule, sentence = refusal.expected, f"found {refusal.found}"
        conflict = {"gate": "conflict", "outcome": "fail", "figure": None, "rule": rule, "sentence": sentence}
        audit["verdicts"].append({**conflict, "detail": {}})
    with registry.database.session() as session:
        session.add(
            AuditRow(
                at=utc_now(),
                actor=proposal.actor,
                surface=proposal.version.surface,
                version=proposal.version.version,
                action=f"{proposal.action} refused",
                **audit,
            )
        )


def _promotion(
    proposal: Proposal,
    outcome: Literal["moved", "unchanged"],
    before: str,
    displaced: str | None,
    verdicts: tuple[Verdict, ...],
) -> Promotion:
    version = proposal.version
    return Promotion(
        surface=version.surface,
        version=version.version,
        model=version.model,
        outcome=outcome,
        before=before,
        after=proposal.to,
        displaced=displaced,
        verdicts=verdicts,
        reason=proposal.reason,
    )
