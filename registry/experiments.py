"""Experiments are started and ended here, and both stand in the audit log."""

from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError

from contracts.clock import utc_now
from contracts.errors import BadInput, Conflict, NotFound
from contracts.experiment_rows import ExperimentRow
from contracts.experiments import Experiment, Mode, default_rule, experiment_of_name, running_experiment
from contracts.home import Home
from contracts.platform import AuditRow
from contracts.settings import Settings
from contracts.verdict import Rule
from registry.webhook import tell
from registry.writing import given_reason, writing_registry

__all__ = ["start_experiment", "stop_experiment"]


def start_experiment(
    settings: Settings,
    home: Home,
    surface: str,
    name: str,
    mode: Mode,
    actor: str,
    reason: str,
    *,
    challenger: str = "challenger",
    weight: float = 0.5,
    epsilon: float = 0.1,
    top: int = 50,
    rule: Rule | None = None,
) -> Experiment:
    """Start an experiment on a surface's traffic; its services take part from their next look on.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        name: Never used before: it is the salt of what is drawn.
        mode: ``ab``, ``interleaving`` or ``exploration``.
        actor: Who answers for it.
        reason: Why, for the audit log.
        challenger: Version number or alias; not used in an exploration.
        weight: Share of the users who get it, in an A/B test.
        epsilon: Chance that a list is shuffled, in an exploration.
        top: Items that are shuffled then.
        rule: Set before the first look; the mode's own if None.

    Raises:
        NotFound: No such surface or version, or no champion.
        BadInput: No reason is given, or a value is not allowed.
        Conflict: The name is used, or another experiment runs on the surface.
    """
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        holders = registry.store.holders(surface)
        if "champion" not in holders:
            raise NotFound(
                f"champion of {surface}",
                found="no version with that alias",
                expected="a champion, whom the experiment is about",
                next_step='run `backbeat models promote best --to champion --reason "first champion"`',
            )
        tried = None if mode == "exploration" else registry.store.get(surface, challenger).version
        experiment = _checked(
            name=name,
            surface=surface,
            mode=mode,
            champion=holders["champion"],
            challenger=tried,
            weight=weight if mode == "ab" else None,
            epsilon=epsilon if mode == "exploration" else None,
            top=top if mode == "exploration" else None,
            rule=rule or default_rule(mode),
            started_at=utc_now(),
            started_by=actor,
            reason=reason,
        )
        running = running_experiment(registry.database, surface)
        if running is not None:
            raise _one_at_a_time(surface, running.name)
        columns = experiment.model_dump(exclude={"rule"}) | {"rule": experiment.rule.model_dump(mode="json")}
        try:
            with registry.database.session() as session:
                if session.get(ExperimentRow, name) is not None:
                    raise Conflict(
                        f"experiment {name!r}",
                        found="an earlier experiment of that name",
                        expected="a name that was never used: the same users would be in the same arms",
                        next_step="choose another name",
                    )
                session.add(ExperimentRow(**columns, running_on=surface))
                session.add(_audited(experiment, "start experiment", actor, reason))
                facts = {"experiment": name, "mode": mode, "version": tried, "actor": actor, "reason": reason}
                tell(session, settings, "experiment_started", surface, facts)
        except IntegrityError:  # somebody was faster
            raise _one_at_a_time(surface, "another") from None
    return experiment


def stop_experiment(settings: Settings, home: Home, name: str, actor: str, reason: str) -> Experiment:
    """End an experiment; the champion has all traffic from the services' next look on.

    Args:
        settings: The process's settings.
        home: Whose registry.
        name: The experiment.
        actor: Who answers for it.
        reason: Why, for the audit log.

    Raises:
        NotFound: There is none of that name.
        BadInput: No reason is given.
        Conflict: It has ended.
    """
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry, registry.database.session() as session:
        experiment = experiment_of_name(session, name)
        ended: dict[Any, Any] = {"ended_at": utc_now(), "ended_by": actor, "end_reason": reason, "running_on": None}
        # Of two who end it one finds it running.
        if not session.query(ExperimentRow).filter_by(name=name, ended_at=None).update(ended):
            raise Conflict(
                f"experiment {name!r}",
                found=f"ended by {experiment.ended_by} at {experiment.ended_at:%Y-%m-%d %H:%M} UTC",
                expected="one that runs",
                next_step="see `backbeat ab list`",
            )
        session.add(_audited(experiment, "stop experiment", actor, reason))
        facts = {"experiment": name, "mode": experiment.mode, "version": experiment.challenger}
        tell(session, settings, "experiment_ended", experiment.surface, {**facts, "actor": actor, "reason": reason})
        session.expire_all()
        return experiment_of_name(session, name)


def _checked(**values: Any) -> Experiment:
    try:
        return Experiment(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        raise BadInput(
            f"experiment {values['name']!r}" + (f", {field}" if field else ""),
            found=repr(first["input"]) if field else "what was given",
            expected=first["msg"].removeprefix("Value error, "),
            next_step="correct it; `backbeat ab start --help` shows an example",
        ) from None


def _audited(experiment: Experiment, action: str, actor: str, reason: str) -> AuditRow:
    starts = action == "start experiment"
    return AuditRow(
        at=utc_now(),
        actor=actor,
        surface=experiment.surface,
        version=experiment.challenger or experiment.champion,
        action=action,
        before="" if starts else experiment.name,
        after=experiment.name if starts else "",
        displaced=None,
        verdicts=[],
        reason=reason,
    )


def _one_at_a_time(surface: str, running: str) -> Conflict:
    return Conflict(
        f"experiments on {surface}",
        found=f"{running} runs",
        expected="one experiment at a time on a surface",
        next_step=f'end it with `backbeat ab stop {running} --reason "..."`',
    )
