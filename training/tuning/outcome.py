"""What the trials of a tuning have shown."""

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

__all__ = ["OPTIONS", "REASON", "RETRY_OF", "RUN", "Trial", "TuningOutcome", "interrupted", "outcome_of", "trials_of"]

OPTIONS = "options"
"""Attribute of Optuna's trials: the searched options."""
REASON = "reason"
"""Likewise: why it failed."""
RUN = "run"
"""Likewise: its run in MLflow."""
RETRY_OF = "retry_of"
"""Likewise: the number of the interrupted trial that it goes on with."""


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried."""

    number: int
    """Counted from 0, which has the defaults; where a trial was interrupted and gone on with, both count as one."""
    state: str
    """``COMPLETE``, ``PRUNED``: not worth its remaining epochs, or ``FAIL``."""
    value: float | None
    """The metric at the best epoch; None where it did not get to the end."""
    options: dict[str, object]
    """The searched ones."""
    epochs: int
    """So many of them were validated."""
    reason: str
    """Why it failed, else empty."""


@dataclass(frozen=True)
class TuningOutcome:
    """Where a tuning stands."""

    study: str
    """Its name."""
    run_id: str
    """Its run in MLflow, below which are those of the trials."""
    metric: str
    """The validation metric that is maximised."""
    trials: tuple[Trial, ...]
    """Those that are over."""
    best: Trial | None
    """The first of the best complete ones; None where there is none."""
    gain: float | None
    """How much better it is than the defaults; None where one of the two is not known."""


def trials_of(study: optuna.Study) -> tuple[Trial, ...]:
    """The trials that are over; one that was interrupted is not."""
    over = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished() and not interrupted(trial)]
    return tuple(_trial(number, trial) for number, trial in enumerate(over))


def interrupted(trial: FrozenTrial) -> bool:
    """Whether a kill, Ctrl-C or the timeout ended a trial: one that failed by itself says why."""
    return trial.state is TrialState.FAIL and not trial.user_attrs.get(REASON)


def _trial(number: int, trial: FrozenTrial) -> Trial:
    return Trial(
        number=number,
        state=trial.state.name,
        value=trial.value if trial.state is TrialState.COMPLETE else None,
        options=dict(trial.user_attrs.get(OPTIONS, {})),
        epochs=len(trial.intermediate_values),
        reason=str(trial.user_attrs.get(REASON, "")),
    )


def outcome_of(study: optuna.Study, run_id: str, metric: str) -> TuningOutcome:
    """Where a study stands."""
    trials = trials_of(study)
    complete = [trial for trial in trials if trial.value is not None]
    best = max(complete, key=_value, default=None)
    gain = _value(best) - _value(trials[0]) if best is not None and trials[0].value is not None else None
    return TuningOutcome(study.study_name, run_id, metric, trials, best, gain)


def _value(trial: Trial) -> float:
    return float("nan") if trial.value is None else trial.value
