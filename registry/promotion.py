"""Moving versions between states: judged by gates, written to the audit log, undone where that fails."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, Conflict, GateRefused, NotFound, unknown_name
from contracts.home import Home
from contracts.platform import AuditRow
from contracts.settings import Settings
from registry.evidence import Remeasure, ReplayFault, gather, remeasure_in_clean_process, replay_in_clean_process
from registry.gates import GATES_OF, Evidence, Verdict, judge
from registry.lifecycle import TARGETS, require_legal, standing_after
from registry.store import ModelStore, ModelVersion

__all__ = ["Promotion", "audit_log", "promote", "retire", "rollback"]


@dataclass(frozen=True)
class Promotion:
    """What a promotion or rollback did."""

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
class _Request:
    """Who wants which version where, and why."""

    action: Literal["promote", "retire", "rollback"]
    version: ModelVersion
    to: str
    reason: str
    actor: str


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
) -> Promotion:
    """Give a version an alias, if every gate of that move says yes.

    The displaced champion is retired, a displaced shadow becomes a candidate. The caller holds the home's writer
    lock. A refused attempt is audited like a move.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        selector: Version number, alias, ``best`` or ``runner-up``.
        to: ``champion`` or ``shadow``.
        reason: Why, for the audit log.
        actor: Who, for the audit log.
        replay: How to prove that a package works.
        remeasure: How to measure the champion on the version's data, where it was measured on other data.

    Returns:
        The move; outcome ``unchanged`` where the version holds the alias already.

    Raises:
        NotFound: No such surface, version or target.
        BadInput: No reason is given.
        Conflict: The version's state does not allow the move.
        GateRefused: At least one gate refused; the message has every such verdict.
    """
    if to not in TARGETS:
        raise unknown_name("promotion target", to, TARGETS, next_step="choose one with --to")
    store = ModelStore(settings, home)
    request = _Request("promote", store.get(surface, selector), to, _given(reason), actor)
    with _platform(settings, home) as database:
        if request.version.state == to:
            return _promotion(request, "unchanged", None, ())
        gates = GATES_OF[to]
        measure = partial(remeasure, settings) if "primary-metric" in gates else None
        return _perform(
            store, database, request, gates, partial(gather, store, database, request.version, replay, measure)
        )


def retire(settings: Settings, home: Home, surface: str, selector: str, reason: str, actor: str) -> Promotion:
    """Take a version out of service, whatever state its package is in; an alias it held is held by nobody then.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        selector: Version number or alias.
        reason: Why, for the audit log.
        actor: Who, for the audit log.

    Raises:
        NotFound: No such surface or version.
        BadInput: No reason is given.
    """
    store = ModelStore(settings, home)
    request = _Request("retire", store.get(surface, selector), "retired", _given(reason), actor)
    with _platform(settings, home) as database:
        if request.version.state == "retired":
            return _promotion(request, "unchanged", None, ())
        return _perform(store, database, request, (), lambda: None)


def rollback(
    settings: Settings,
    home: Home,
    surface: str,
    reason: str,
    actor: str,
    replay: ReplayFault = replay_in_clean_process,
) -> Promotion:
    """Make the champion before this one the champion again; this one is retired.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        reason: Why, for the audit log.
        actor: Who, for the audit log.
        replay: How to prove that a package works.

    Raises:
        NotFound: No such surface, no champion, or none before this one.
        BadInput: No reason is given.
        GateRefused: The earlier champion's package does not work any more.
    """
    store = ModelStore(settings, home)
    champion = store.get(surface, "champion")
    with _platform(settings, home) as database:
        previous = _champion_before(database, surface, champion.version)
        request = _Request("rollback", store.get(surface, previous), "champion", _given(reason), actor)
        gathered = partial(gather, store, database, request.version, replay, None)
        return _perform(store, database, request, GATES_OF["rollback"], gathered)


def audit_log(settings: Settings, home: Home, surface: str, limit: int | None = None) -> list[dict[str, Any]]:
    """Moves and refused attempts on a surface, newest first, as JSON documents."""
    with _platform(settings, home) as database, database.session() as session:
        query = session.query(AuditRow).filter_by(surface=surface).order_by(AuditRow.id.desc())
        names = AuditRow.__table__.columns.keys()
        rows = query.limit(limit) if limit is not None else query
        return [{name: getattr(row, name) for name in names} for row in rows]


@contextmanager
def _platform(settings: Settings, home: Home) -> Iterator[Database]:
    database = Database(settings, home)
    try:
        yield database
    finally:
        database.close()


def _given(reason: str) -> str:
    if not reason.strip():
        raise BadInput(
            "reason of a move",
            found="nothing",
            expected="a few words for the audit log",
            next_step="say why with --reason",
        )
    return reason.strip()


def _perform(
    store: ModelStore,
    database: Database,
    request: _Request,
    gates: Sequence[str],
    gathered: Callable[[], Evidence | None],
) -> Promotion:
    version, surface = request.version, request.version.surface
    try:
        require_legal(surface, version.version, version.state, request.to)
    except Conflict:
        _audit_refusal(database, request, [])
        raise
    evidence = gathered()
    verdicts = judge(gates, evidence) if evidence is not None else []
    refused = [verdict for verdict in verdicts if not verdict.passed]
    if refused:
        _audit_refusal(database, request, verdicts)
        raise GateRefused(
            f"{surface} version {version.version} ({version.model}) → {request.to}",
            found=f"{len(refused)} of {len(verdicts)} gates refuse: "
            + "; ".join(f"{verdict.gate}: {verdict.sentence}" for verdict in refused),
            expected="; ".join(verdict.rule for verdict in refused),
            next_step="mend what the gates name, or choose another version of `backbeat models list`",
        )
    holder = store.by_alias(surface, request.to)
    displaced = holder.version if holder else None
    after = standing_after(version.version, version.state, request.to, displaced)
    before = store.standing(surface, after)
    try:
        # The audit row is in its table, uncommitted, before MLflow is touched: whichever of the two fails, both undo.
        with database.session() as session:
            session.add(_audit_row(request, request.action, request.to, displaced, verdicts))
            session.flush()
            store.assign(surface, after)
    except BaseException:
        store.assign(surface, before)
        raise
    return _promotion(request, "moved", displaced, tuple(verdicts))


def _audit_refusal(database: Database, request: _Request, verdicts: Sequence[Verdict]) -> None:
    with database.session() as session:
        session.add(_audit_row(request, f"{request.action} refused", request.version.state, None, verdicts))


def _audit_row(
    request: _Request, action: str, after: str, displaced: str | None, verdicts: Sequence[Verdict]
) -> AuditRow:
    return AuditRow(
        at=utc_now(),
        actor=request.actor,
        surface=request.version.surface,
        version=request.version.version,
        action=action,
        before=request.version.state,
        after=after,
        displaced=displaced,
        verdicts=[asdict(verdict) for verdict in verdicts],
        reason=request.reason,
    )


def _promotion(
    request: _Request, outcome: Literal["moved", "unchanged"], displaced: str | None, verdicts: tuple[Verdict, ...]
) -> Promotion:
    version = request.version
    return Promotion(
        surface=version.surface,
        version=version.version,
        model=version.model,
        outcome=outcome,
        before=version.state,
        after=request.to,
        displaced=displaced,
        verdicts=verdicts,
        reason=request.reason,
    )


def _champion_before(database: Database, surface: str, champion: str) -> str:
    """The version a rollback returns to: promotions pile champions up, rollbacks take them off again."""
    with database.session() as session:
        moves = (
            session.query(AuditRow.action, AuditRow.version)
            .filter_by(surface=surface, after="champion")
            .filter(AuditRow.action.in_(("promote", "rollback")))
            .order_by(AuditRow.id)
            .all()
        )
    pile: list[str] = []
    for action, version in moves:
        if action == "promote":
            pile.append(version)
        elif pile:
            pile.pop()
    while pile and pile[-1] == champion:
        pile.pop()
    if not pile:
        raise NotFound(
            f"champion of {surface} before version {champion}",
            found="none in the audit log",
            expected="an earlier champion to return to",
            next_step="promote another version with `backbeat models promote VERSION --to champion --reason ...`",
        )
    return pile[-1]
