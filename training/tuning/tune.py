"""The search: Optuna proposes options, a training with each shows what they are worth on the validation pairs."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np
import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from contracts.console import note, progress
from contracts.errors import BadInput, StorageFull, TrainingDiverged
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.offline import snapshot_directory
from training.memory import memory_suffices
from training.recommender import Catalogue, EpochReport, FitReport
from training.tracking import TrackedRun, Tracker
from training.tuning.outcome import (
    OPTIONS,
    REASON,
    RETRY_OF,
    RUN,
    Trial,
    TuningOutcome,
    interrupted,
    outcome_of,
    trials_of,
)
from training.tuning.picture import draw_history
from training.tuning.space import contains, distribution_of, said
from training.tuning.store import open_study
from training.tuning.task import TuningTask

__all__ = ["TRIAL_STATE_TAG", "TRIAL_TAG", "TUNING_TAG", "tune"]

TUNING_TAG = "backbeat.tuning"
TRIAL_TAG = "backbeat.trial"
TRIAL_STATE_TAG = "backbeat.trial_state"
"""Tags of runs: the tuning, the trial's number, and how it ended."""

_BEGINNING = 5
"""Trials that chance alone proposes, and complete ones before the first may be pruned."""
_WARM_UP = 5
"""The first epoch after which a trial may be pruned."""
_HISTORY = "history.png"
_INTERRUPTED = "INTERRUPTED"


class _TimeIsUp(KeyboardInterrupt):
    """The timeout came in the middle of a trial, which ends as Ctrl-C would end it and can be gone on with."""


def tune(
    settings: Settings,
    home: Home,
    task: TuningTask,
    *,
    trials: int = 20,
    timeout: float | None = None,
    name: str | None = None,
) -> TuningOutcome:
    """Search a model's options for the best validation metric; a tuning that was stopped goes on where it was.

    The first trial has the defaults. The others are proposed by the tree-structured Parzen estimator (Bergstra et al.,
    NIPS 2011) and stop early where their best epoch so far is below the median of the complete trials at that epoch.
    What trial n is offered depends on the trials before it and the seed alone. So a tuning that was killed, by
    whatever, makes the same trials as one that was not: the trial that it was in goes on from its last whole epoch.

    Every trial is a run of MLflow below that of the tuning. A trial that diverges, does not fit into memory, or has
    options that the model does not allow together, fails, and the tuning goes on.

    Args:
        settings: Name the profile.
        home: The caller is its writer.
        task: Of which model, on which data.
        trials: As many as the tuning is to have in all, those of earlier calls included.
        timeout: Seconds after which this call ends, after the epoch at hand; no limit if None.
        name: Of the tuning; :attr:`TuningTask.name` if None.

    Raises:
        Conflict: There is a tuning of that name with other facts, or another process works on it.
        BadInput: The defaults cannot be trained on these data.
        StorageFull: The disk ran out of space; the trial at hand can be gone on with.
    """
    name = name or task.name
    deadline = None if timeout is None else monotonic() + timeout
    tracker = Tracker(settings, home)
    with open_study(settings, home, name, task.facts) as study:
        again = study.user_attrs.get(RUN)
        with tracker.run(f"tune-{name}", {**task.tags, TUNING_TAG: name}, again=again) as run:
            if again is None:
                study.set_user_attr(RUN, run.run_id)
                snapshot = task.frame.snapshot
                run.log_params({"model": task.model, "seed": task.seed, **task.fixed})
                run.log_params({f"space_{option}": said(declared) for option, declared in task.space.items()})
                run.log_input(snapshot, snapshot_directory(home, snapshot.id).as_uri())
            _Search(tracker, home, task, study, run, deadline).until(trials)
            with TemporaryDirectory() as directory:
                draw_history(Path(directory) / _HISTORY, study, task.metric)
                run.store_files(Path(directory))
            return outcome_of(study, run.run_id, task.metric)


class _Search:
    """The trials of one call."""

    def __init__(
        self,
        tracker: Tracker,
        home: Home,
        task: TuningTask,
        study: optuna.Study,
        run: TrackedRun,
        deadline: float | None,
    ) -> None:
        self._tracker, self._task, self._study, self._run, self._deadline = tracker, task, study, run, deadline
        self._standings = home.cache / "tuning"
        study.pruner = MedianPruner(n_startup_trials=_BEGINNING, n_warmup_steps=_WARM_UP)

    def until(self, wanted: int) -> None:
        """Make trials until there are enough, or the time is up."""
        self._note_interrupted()
        with progress(f"tune {self._task.model}", wanted) as advance:
            done = trials_of(self._study)
            advance(min(len(done), wanted))
            while len(done) < wanted and not self._late():
                number = len(done)

                def say(how: str, number: int = number) -> None:
                    advance(0, f"trial {number}, {how}")

                try:
                    self._one(number, say)
                except _TimeIsUp:
                    self._note_interrupted()
                    break
                done = trials_of(self._study)
                self._log(done)
                note(_line(done[-1], self._task.metric))
                advance(1)

    def _late(self) -> bool:
        return self._deadline is not None and monotonic() >= self._deadline

    def _note_interrupted(self) -> None:
        """Close what a killed process, Ctrl-C or the timeout left running: nobody else works on the study."""
        for left in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if (run_id := left.user_attrs.get(RUN)) is not None:
                self._tracker.end(run_id, "KILLED", {TRIAL_STATE_TAG: _INTERRUPTED})
            self._study.tell(left.number, state=TrialState.FAIL)

    def _one(self, number: int, say: Callable[[str], None]) -> None:
        trial, options = self._proposed(number)
        trial.set_user_attr(OPTIONS, options)
        standing = self._standings / _digest({**self._task.facts, "options": options})
        tags = {**self._task.tags, TUNING_TAG: self._study.study_name, TRIAL_TAG: str(number)}
        state, value = TrialState.FAIL, None
        try:
            with self._tracker.run(f"{self._study.study_name}-trial-{number}", tags) as run:
                self._run.adopt(run.run_id)
                trial.set_user_attr(RUN, run.run_id)
                ended = _INTERRUPTED
                try:
                    fitted = self._fitted(trial, options, run, standing, say)
                    state, value, ended = TrialState.COMPLETE, fitted.validation[self._task.metric], "COMPLETE"
                    metrics = {f"validation_{name}": each for name, each in fitted.validation.items()}
                    run.log_metrics({**metrics, "train_seconds": fitted.seconds}, step=fitted.epochs + 1)
                except optuna.TrialPruned:
                    state, ended = TrialState.PRUNED, "PRUNED"
                except (TrainingDiverged, BadInput):
                    ended = "FAIL"
                    raise
                finally:
                    run.log_tags({TRIAL_STATE_TAG: ended})
        except (TrainingDiverged, BadInput) as error:
            # What the defaults meet, all would meet.
            if isinstance(error, StorageFull) or (number == 0 and isinstance(error, BadInput)):
                raise
            trial.set_user_attr(REASON, str(error))
        self._study.tell(trial, value, state=state)
        shutil.rmtree(standing, ignore_errors=True)

    def _proposed(self, number: int) -> tuple[optuna.Trial, dict[str, object]]:
        """The next trial, and its values of the searched options."""
        task, study = self._task, self._study
        space = {option: distribution_of(declared) for option, declared in task.space.items()}
        defaults: dict[str, object] = {}
        left = self._interrupted()
        goes_on: dict[str, object] | None = {RETRY_OF: left.number} if left is not None else None
        if number == 0:
            # A default outside its range is tried all the same, without Optuna learning from it.
            defaults = task.defaults()
            space = {option: each for option, each in space.items() if contains(task.space[option], defaults[option])}
            self._offer({option: defaults[option] for option in space}, goes_on)
        elif left is not None:
            self._offer(left.params, goes_on)
        # Seeded anew for each trial: a sampler that started again with the process would repeat itself.
        seed = int(np.random.SeedSequence([task.seed, number]).generate_state(1)[0])
        study.sampler = TPESampler(seed=seed, n_startup_trials=_BEGINNING)
        trial = study.ask(space)
        return trial, {**defaults, **trial.params}

    def _offer(self, params: dict[str, object], attributes: dict[str, object] | None) -> None:
        if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.enqueue_trial(params, user_attrs=attributes)

    def _interrupted(self) -> FrozenTrial | None:
        """A trial that nobody has gone on with yet."""
        trials = self._study.get_trials(deepcopy=False)
        gone_on_with = {trial.user_attrs.get(RETRY_OF) for trial in trials if trial.state is not TrialState.WAITING}
        left = [trial for trial in trials if interrupted(trial) and trial.number not in gone_on_with]
        return left[-1] if left else None

    def _fitted(
        self,
        trial: optuna.Trial,
        options: dict[str, object],
        run: TrackedRun,
        standing: Path,
        say: Callable[[str], None],
    ) -> FitReport:
        task, protocol = self._task, self._task.study.protocol
        run.log_params(options)
        config = task.config(options)
        run.log_params({"model": task.model, "seed": task.seed, **config.model_dump(mode="json")})

        def on_epoch(report: EpochReport) -> None:
            run.log_epoch(report)
            value = report.validation[task.metric]
            trial.report(value, report.epoch)
            say(f"epoch {report.epoch}: validation {task.metric} {value:.4f}")
            if trial.should_prune():
                raise optuna.TrialPruned
            if self._late():
                raise _TimeIsUp

        with memory_suffices(task.model, config):
            model = task.entry.model(config, Catalogue.of(task.frame)).to(task.device)
            return model.fit(
                task.frame, seed=task.seed, on_epoch=on_epoch, protocol=protocol, checkpoint=standing / "standing"
            )

    def _log(self, done: tuple[Trial, ...]) -> None:
        states = [trial.state for trial in done]
        values = [trial.value for trial in done if trial.value is not None]
        counts = {"trials": len(done), "pruned": states.count("PRUNED"), "failed": states.count("FAIL")}
        best = {f"validation_{self._task.metric}": max(values)} if values else {}
        self._run.log_metrics({**counts, **best}, step=len(done))


def _digest(facts: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _line(trial: Trial, metric: str) -> str:
    how = f"{metric} {trial.value:.4f}" if trial.value is not None else trial.reason or f"{trial.epochs} epochs"
    options = "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.options.items()
    )
    return f"  trial {trial.number}  {trial.state.lower():<8}  {how}  {options}"
