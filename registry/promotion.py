"""Promoting, retiring and rolling back versions."""

from collections.abc import Callable

from contracts.errors import unknown_name
from contracts.home import Home
from contracts.settings import Settings
from registry.audit import champion_before
from registry.evidence import Remeasure, ReplayFault, remeasure_in_clean_process, replay_in_clean_process
from registry.judging import Judgement, judge_version
from registry.lifecycle import TARGETS
from registry.moves import Promotion, Proposal, make_move
from registry.opening import Registry
from registry.outbox import Watch, unwatched
from registry.request_book import request_of
from registry.store import ModelVersion
from registry.waivers import waivers
from registry.writing import given_reason, writing_registry

__all__ = ["Judging", "judging", "promote", "proposed", "require_target", "retire", "rollback"]

Judging = Callable[[ModelVersion], Judgement]
"""Asks every gate of a move about a version, and keeps what they said."""


def promote(
    settings: Settings,
    home: Home,
    surface: str,
    selector: str,
    to: str,
    reason: str,
    actor: str,
    replay: ReplayFault = replay_in_clean_process,
    remeasure: Remeasure = remeasure_in_clean_process,
    watch: Watch = unwatched,
) -> Promotion:
    """Give a version a state, and the alias of the same name, if every gate of that move says yes.

    The displaced champion is retired, a displaced shadow or challenger becomes a candidate. A request for it that is
    open is performed by it. A refused attempt is audited like a move.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        selector: Version number, alias, ``best`` or ``runner-up``.
        to: One of :data:`registry.lifecycle.TARGETS`.
        reason: Why, for the audit log.
        actor: Who, for the audit log.
        replay: How to prove that a package works.
        remeasure: How to measure the champion on the version's data, where it was measured on other data.
        watch: Told of every step of the move.

    Returns:
        The move; outcome ``unchanged`` where the version is there already.

    Raises:
        NotFound: No such surface, version or target.
        BadInput: No reason is given.
        Conflict: The version's state does not allow the move; somebody else was first, and is named; or an alias was
            changed in MLflow itself.
        GateRefused: At least one gate refused; the message has every such verdict.
    """
    require_target(to)
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        version = registry.store.get(surface, selector)
        proposal = proposed(registry, version, to, reason, actor)
        asked = judging(registry, to, actor, replay, remeasure)
        return make_move(registry, proposal, lambda judged: asked(judged).verdicts, watch)


def retire(
    settings: Settings,
    home: Home,
    surface: str,
    selector: str,
    reason: str,
    actor: str,
    watch: Watch = unwatched,
) -> Promotion:
    """Take a version out of service, whatever state its package is in; an alias it held is held by nobody then.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        selector: Version number or alias.
        reason: Why, for the audit log.
        actor: Who, for the audit log.
        watch: Told of every step of the move.

    Raises:
        NotFound: No such surface or version.
        BadInput: No reason is given.
        Conflict: Somebody else was first, and is named; or an alias was changed in MLflow itself.
    """
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        proposal = Proposal("retire", registry.store.get(surface, selector), "retired", reason, actor)
        return make_move(registry, proposal, lambda _: (), watch)


def rollback(
    settings: Settings,
    home: Home,
    surface: str,
    reason: str,
    actor: str,
    replay: ReplayFault = replay_in_clean_process,
    watch: Watch = unwatched,
) -> Promotion:
    """Make the champion before this one the champion again; this one is retired.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        reason: Why, for the audit log.
        actor: Who, for the audit log.
        replay: How to prove that a package works.
        watch: Told of every step of the move.

    Raises:
        NotFound: No such surface, no champion, or none before this one.
        BadInput: No reason is given.
        Conflict: Somebody else was first, and is named; or an alias was changed in MLflow itself.
        GateRefused: The earlier champion's package does not work any more.
    """
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        champion = registry.store.get(surface, "champion")
        previous = registry.store.get(surface, champion_before(registry.database, surface, champion.version))
        proposal = Proposal("rollback", previous, "champion", reason, actor, displaces=champion.version)
        asked = judging(registry, "rollback", actor, replay, remeasure_in_clean_process)
        return make_move(registry, proposal, lambda judged: asked(judged).verdicts, watch)


def require_target(to: str) -> None:
    """Refuse what no version can be promoted to.

    Raises:
        NotFound: It is none of the targets.
    """
    if to not in TARGETS:
        raise unknown_name("promotion target", to, TARGETS, next_step="choose one with --to")


def proposed(registry: Registry, version: ModelVersion, to: str, reason: str, actor: str) -> Proposal:
    """The proposal of a promotion; with it goes the undecided request for the same, where there is one."""
    asked = request_of(registry.database, version.surface, version.version, to)
    return Proposal("promote", version, to, reason, actor, asked.id if asked is not None else None)


def judging(registry: Registry, move: str, actor: str, replay: ReplayFault, remeasure: Remeasure) -> Judging:
    """What asks the gates of a move about a version: with who has approved it, and with the waivers in force.

    Args:
        registry: Both databases.
        move: One of the targets, or ``rollback``.
        actor: Who asks.
        replay: How to prove that a package works.
        remeasure: How to measure the champion on the version's data.
    """

    def asked(version: ModelVersion) -> Judgement:
        request = request_of(registry.database, version.surface, version.version, move)
        return judge_version(
            registry.settings,
            registry.home,
            version.surface,
            version,
            move,
            actor,
            replay=replay,
            remeasure=remeasure,
            author=request.author if request is not None else None,
            approvers=tuple(given.actor for given in request.approvals) if request is not None else (),
            waivers=waivers(registry.database, version.surface, version.version),
        )

    return asked
