"""Asking for a promotion, and deciding: the author asks, somebody else approves, and with the last yes it is done."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from contracts.errors import BadInput, RequestRefused, StillWaiting
from contracts.home import Home
from contracts.settings import Settings
from registry.evidence import Remeasure, ReplayFault, remeasure_in_clean_process, replay_in_clean_process
from registry.lifecycle import require_legal
from registry.moves import Promotion, make_move
from registry.opening import open_registry
from registry.outbox import Watch, unwatched
from registry.policy import load_policy
from registry.promotion import judging, proposed, require_target
from registry.request_book import Request, add_approval, end_request, file_request, find_request
from registry.writing import given_reason, writing_registry

__all__ = ["Decision", "approve", "reject", "request_promotion", "wait_for_decision", "withdraw"]

_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True)
class Decision:
    """A request after a yes, and the move where that was the last one needed."""

    request: Request
    promotion: Promotion | None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def request_promotion(
    settings: Settings,
    home: Home,
    surface: str,
    selector: str,
    to: str,
    reason: str,
    actor: str,
    replay: ReplayFault = replay_in_clean_process,
    remeasure: Remeasure = remeasure_in_clean_process,
) -> Request:
    """Ask that a version be promoted. Every gate is asked now, so that whoever decides sees what it says.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        selector: Version number, alias, ``best`` or ``runner-up``.
        to: One of :data:`registry.lifecycle.TARGETS`.
        reason: Why, for whoever decides.
        actor: Who asks.
        replay: How to prove that a package works.
        remeasure: How to measure the champion on the version's data.

    Raises:
        NotFound: No such surface, version or target.
        BadInput: No reason is given.
        Conflict: The version's state does not allow the move, or the same is asked for already.
    """
    require_target(to)
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        version = registry.store.get(surface, selector)
        require_legal(surface, version.version, version.state, to)
        judgement = judging(registry, to, actor, replay, remeasure)(version)
        return file_request(registry, version, to, reason, actor, judgement.id)


def approve(
    settings: Settings,
    home: Home,
    request_id: str,
    actor: str,
    reason: str,
    replay: ReplayFault = replay_in_clean_process,
    remeasure: Remeasure = remeasure_in_clean_process,
    watch: Watch = unwatched,
) -> Decision:
    """Say yes to a request; the last yes that the policy asks for makes the move.

    The gates are asked again, for packages, reports and champions change while a request waits. Where they refuse, the
    yes stays, and approving once more, or promoting, tries again.

    Args:
        settings: The process's settings.
        home: Whose registry.
        request_id: The request.
        actor: Who says yes; never the request's author.
        reason: Why, for the audit log.
        replay: How to prove that a package works.
        remeasure: How to measure the champion on the version's data.
        watch: Told of every step of the move.

    Raises:
        NotFound: There is no such request.
        BadInput: No reason is given.
        Conflict: It is decided already, its author approves it, or the move cannot be made.
        GateRefused: At least one gate refuses.
    """
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        asked = find_request(registry.database, request_id)
        move = load_policy(settings, home).of(asked.surface).move(asked.target)
        asked = add_approval(registry, request_id, actor, reason, move.approvals, alone=move.author_may_approve)
        if asked.state != "approved":
            return Decision(asked, None)
        version = registry.store.get(asked.surface, asked.version)
        proposal = proposed(registry, version, asked.target, f"{asked.reason}; approved: {reason}", actor)
        ask = judging(registry, asked.target, actor, replay, remeasure)
        done = make_move(registry, proposal, lambda judged: ask(judged).verdicts, watch)
        if done.outcome == "unchanged":
            end_request(registry, request_id, "performed", actor, "the version was there already")
        return Decision(find_request(registry.database, request_id), done)


def reject(settings: Settings, home: Home, request_id: str, actor: str, reason: str) -> Request:
    """Say no to a request, which ends it.

    Args:
        settings: The process's settings.
        home: Whose registry.
        request_id: The request.
        actor: Who says no.
        reason: Why; its author is told.

    Raises:
        NotFound: There is no such request.
        BadInput: No reason is given.
        Conflict: It is decided already.
    """
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        return end_request(registry, request_id, "rejected", actor, reason)


def withdraw(settings: Settings, home: Home, request_id: str, actor: str, reason: str) -> Request:
    """Take back one's own request.

    Args:
        settings: The process's settings.
        home: Whose registry.
        request_id: The request.
        actor: Its author.
        reason: Why, for the audit log.

    Raises:
        NotFound: There is no such request.
        BadInput: No reason is given.
        Conflict: It is decided already, or somebody else's.
    """
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        return end_request(registry, request_id, "withdrawn", actor, reason)


def wait_for_decision(settings: Settings, home: Home, request_id: str, patience: float) -> Request:
    """Wait until a request is performed.

    Args:
        settings: Name the database.
        home: Holds it in the local profile.
        request_id: The request.
        patience: Seconds to wait.

    Raises:
        NotFound: There is no such request.
        BadInput: The patience is negative.
        RequestRefused: It was rejected or withdrawn.
        StillWaiting: It is undecided after so many seconds, and stays so.
    """
    if patience < 0:
        raise BadInput(
            "seconds to wait", found=patience, expected="0 or more", next_step="repeat the command with --timeout 3600"
        )
    until = time.monotonic() + patience
    with open_registry(settings, home) as registry:
        while True:
            found = find_request(registry.database, request_id)
            if found.state == "performed":
                return found
            if found.state in ("rejected", "withdrawn"):
                raise RequestRefused(
                    f"request {request_id}: {found.surface} version {found.version} → {found.target}",
                    found=f"{found.state} by {found.decided_by}: {found.decision_reason}",
                    expected="an approval",
                    next_step="mend what the reason names, then ask again",
                )
            left = until - time.monotonic()
            if left <= 0:
                raise StillWaiting(
                    f"request {request_id}: {found.surface} version {found.version} → {found.target}",
                    found=f"{found.state}, with {len(found.approvals)} approvals, after {patience:g} seconds",
                    expected="a decision",
                    next_step=f"ask somebody to run `backbeat models approve {request_id} --reason ...`; it stays open",
                )
            time.sleep(min(_LOOK_AGAIN_S, left))
