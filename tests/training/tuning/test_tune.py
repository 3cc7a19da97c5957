"""Tunings with the real Optuna, MLflow and loop; on the block data, without a feature store."""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from contracts.addresses import mlflow_tracking_url
from contracts.errors import BadInput, Conflict
from contracts.home import Home
from contracts.settings import Settings, load_settings
from contracts.surfaces import EXPERIMENT, Tag
from training.models.mf import MatrixFactorisation
from training.spaces import Choice, Floats
from training.tuning.task import TuningTask
from training.tuning.tune import TRIAL_STATE_TAG, TRIAL_TAG, TUNING_TAG, tune

METRIC = "recall_at_20"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Home]:
    """One home for all: MLflow's database takes longer to make than a tuning."""
    settings = load_settings(home=tmp_path_factory.mktemp("tune") / "home", device="cpu")
    home = Home.open(settings)
    with home.writing("tests"):
        pass
    return settings, home


def runs(place: tuple[Settings, Home], tuning: str) -> list[Run]:
    """Those of a tuning in the order in which they began."""
    url = mlflow_tracking_url(*place)
    mlflow = MlflowClient(tracking_uri=url, registry_uri=url)
    experiment = mlflow.get_experiment_by_name(EXPERIMENT).experiment_id
    return list(mlflow.search_runs([experiment], f"tags.`{TUNING_TAG}` = '{tuning}'", order_by=["start_time ASC"]))


def killed_in(fit: Callable[[], object], epoch: int) -> None:
    """Run a tuning in a child process that is killed outright when so many epochs have been reported."""

    def child() -> None:
        torch.set_num_threads(1)
        seen, whole = [], MatrixFactorisation.fit

        def counting(self: MatrixFactorisation, frame: Any, *, on_epoch: Any, **rest: Any) -> Any:
            def then(report: Any) -> None:
                on_epoch(report)
                seen.append(report)
                if len(seen) == epoch:
                    os.kill(os.getpid(), signal.SIGKILL)

            return whole(self, frame, on_epoch=then, **rest)

        MatrixFactorisation.fit = counting  # type: ignore[method-assign]
        fit()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def test_every_trial_is_a_run_below_that_of_the_tuning(
    place: tuple[Settings, Home], task: Callable[..., TuningTask]
) -> None:
    outcome = tune(*place, task(), trials=3, name="nested")
    parent, *below = runs(place, "nested")
    assert parent.info.run_id == outcome.run_id
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "tune-nested")
    assert parent.data.params["space_learning_rate"] == "0.001..0.1:log"
    assert parent.data.params["max_epochs"] == "2"
    assert parent.data.tags[Tag.MODEL] == "mf"
    assert parent.data.metrics[f"validation_{METRIC}"] == outcome.best.value
    assert (parent.data.metrics["trials"], parent.data.metrics["failed"]) == (3, 0)
    picture = Path(parent.info.artifact_uri.removeprefix("file://")) / "history.png"
    assert picture.read_bytes().startswith(b"\x89PNG")

    assert len(below) == len(outcome.trials) == 3
    for number, (run, trial) in enumerate(zip(below, outcome.trials, strict=True)):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.data.tags[TRIAL_TAG], run.data.tags[TRIAL_STATE_TAG]) == (str(number), "COMPLETE")
        assert run.info.status == "FINISHED"
        assert run.data.params["negatives"] == str(trial.options["negatives"])
        assert run.data.params["dimension"] == "4"
        assert run.data.metrics[f"validation_{METRIC}"] == trial.value
        assert not [name for name in run.data.metrics if name.startswith("test")]
        url = mlflow_tracking_url(*place)
        history = MlflowClient(tracking_uri=url).get_metric_history(run.info.run_id, f"validation_{METRIC}")
        assert sorted(point.step for point in history) == [1, 2, 3]
        assert trial.epochs == 2
    assert not list((place[1].cache / "tuning").iterdir())


def test_the_first_trial_has_the_defaults_and_the_gain_is_over_them(
    place: tuple[Settings, Home], task: Callable[..., TuningTask]
) -> None:
    given = task(space={"learning_rate": Floats(1e-2, 3e-1, log=True)})
    outcome = tune(*place, given, trials=4, name="gain")
    assert outcome.trials[0].options == given.defaults() == {"learning_rate": 1e-2}
    assert outcome.metric == METRIC
    assert outcome.best.value == max(trial.value for trial in outcome.trials)
    assert outcome.gain == pytest.approx(outcome.best.value - outcome.trials[0].value)
    assert outcome.gain > 0
    model = given.entry.model(given.config(outcome.best.options), _sizes(given))
    fitted = model.fit(given.frame, seed=given.seed, protocol=given.study.protocol)
    assert fitted.validation[METRIC] == outcome.best.value


def _sizes(task: TuningTask) -> Any:
    from training.recommender import Catalogue

    return Catalogue.of(task.frame)


def test_more_trials_go_on_with_the_same_tuning(place: tuple[Settings, Home], task: Callable[..., TuningTask]) -> None:
    whole = tune(*place, task(), trials=7, name="whole")
    first = tune(*place, task(), trials=2, name="in-parts")
    second = tune(*place, task(), trials=7, name="in-parts")
    assert first.trials == second.trials[:2]
    assert second.trials == whole.trials
    assert second.run_id == first.run_id
    assert tune(*place, task(), trials=3, name="in-parts") == second  # nothing is left to do


def test_another_seed_is_another_search(place: tuple[Settings, Home], task: Callable[..., TuningTask]) -> None:
    one, other = (tune(*place, task(seed=seed), trials=3) for seed in (1, 2))
    assert one.study != other.study
    assert one.trials[1].options != other.trials[1].options


@pytest.mark.parametrize("epoch", [1, 4, 13])
def test_a_tuning_that_is_killed_goes_on_as_if_nothing_had_happened(
    place: tuple[Settings, Home], task: Callable[..., TuningTask], epoch: int
) -> None:
    whole = tune(*place, task(), trials=7, name="whole")
    name = f"killed-{epoch}"
    killed_in(lambda: tune(*place, task(), trials=7, name=name), epoch)
    *_, left = runs(place, name)
    assert left.info.status == "RUNNING"
    (standing,) = (place[1].cache / "tuning").iterdir()
    assert (standing / "standing").exists()

    resumed = tune(*place, task(), trials=7, name=name)
    assert resumed.trials == whole.trials
    assert replace(resumed, study="", run_id="") == replace(whole, study="", run_id="")
    again = runs(place, name)
    assert [run.info.status for run in again].count("KILLED") == 1
    (killed,) = [run for run in again if run.info.status == "KILLED"]
    assert killed.info.run_id == left.info.run_id
    assert killed.data.tags[TRIAL_STATE_TAG] == "INTERRUPTED"
    number = killed.data.tags[TRIAL_TAG]
    assert [run.data.tags[TRIAL_STATE_TAG] for run in again if run.data.tags.get(TRIAL_TAG) == number] == [
        "INTERRUPTED",
        "COMPLETE",
    ]
    assert not standing.exists()


def test_a_trial_that_is_killed_twice_is_one_trial(
    place: tuple[Settings, Home], task: Callable[..., TuningTask]
) -> None:
    whole = tune(*place, task(), trials=3, name="whole-3")
    killed_in(lambda: tune(*place, task(), trials=3, name="twice"), 3)
    killed_in(lambda: tune(*place, task(), trials=3, name="twice"), 1)
    assert tune(*place, task(), trials=3, name="twice").trials == whole.trials


def test_the_timeout_ends_in_the_middle_of_a_trial_which_is_gone_on_with(
    place: tuple[Settings, Home], task: Callable[..., TuningTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("training.tuning.tune.monotonic", lambda: float(next(ticks)))  # a second per look
    long = task({"max_epochs": 1_000_000, "patience": 1_000_000})
    for seconds in (4, 12):
        outcome = tune(*place, long, trials=2, timeout=seconds, name="late")
        assert (outcome.trials, outcome.best, outcome.gain) == ((), None, None)
    parent, *below = runs(place, "late")
    assert parent.info.status == "FINISHED"
    assert [(run.info.status, run.data.tags[TRIAL_STATE_TAG]) for run in below] == [("KILLED", "INTERRUPTED")] * 2
    mlflow = MlflowClient(tracking_uri=mlflow_tracking_url(*place))
    first, second = ([each.value for each in mlflow.get_metric_history(run.info.run_id, "loss")] for run in below)
    assert 1 < len(first) < len(second)
    assert sorted(second, reverse=True)[: len(first)] == sorted(first, reverse=True)


def test_no_time_is_no_trial(place: tuple[Settings, Home], task: Callable[..., TuningTask]) -> None:
    assert tune(*place, task(), trials=2, timeout=0, name="none").trials == ()


def test_ctrl_c_leaves_a_trial_to_go_on_with(
    place: tuple[Settings, Home], task: Callable[..., TuningTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MatrixFactorisation, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            tune(*place, task(), trials=2, name="stopped")
    assert [run.info.status for run in runs(place, "stopped")] == ["KILLED", "KILLED"]
    assert len(tune(*place, task(), trials=2, name="stopped").trials) == 2


def test_other_facts_are_a_conflict_that_names_both(
    place: tuple[Settings, Home], task: Callable[..., TuningTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(*place, task(), trials=1, name="bound")
    message = (
        r"tuning 'bound': found trials with fixed .*\"max_epochs\": 2.*, seed 0; "
        r"expected trials with fixed .*\"max_epochs\": 1.*, seed 1\. Next: .*another `--name`"
    )
    with pytest.raises(Conflict, match=message):
        tune(*place, task({"max_epochs": 1}, seed=1), trials=1, name="bound")
    with pytest.raises(Conflict, match=r'found trials with space .*expected trials with space {"negatives": "1,2"}'):
        tune(*place, task(space={"negatives": Choice((1, 2))}), trials=1, name="bound")
    monkeypatch.setattr("training.tuning.task.sources_digest", lambda: "other")
    with pytest.raises(Conflict, match=r'found trials with sources "\w+"; expected trials with sources "other"'):
        tune(*place, task(), trials=1, name="bound")


def test_a_trial_that_diverges_fails_and_the_tuning_goes_on(
    place: tuple[Settings, Home], task: Callable[..., TuningTask]
) -> None:
    given = task(space={"learning_rate": Choice((1e30, 2e30))})  # the default, 0.01, is not among them
    outcome = tune(*place, given, trials=3, name="diverging")
    assert [trial.state for trial in outcome.trials] == ["COMPLETE", "FAIL", "FAIL"]
    assert outcome.trials[0].options == {"learning_rate": 0.01}
    assert "NaN or infinite" in outcome.trials[1].reason or "learning_rate" in outcome.trials[1].reason
    assert (outcome.best, outcome.gain) == (outcome.trials[0], 0.0)
    assert [run.info.status for run in runs(place, "diverging")] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    assert runs(place, "diverging")[2].data.tags[TRIAL_STATE_TAG] == "FAIL"


def test_a_tuning_of_failures_alone_has_no_best(place: tuple[Settings, Home], task: Callable[..., TuningTask]) -> None:
    given = task({"learning_rate": 1e30}, {"negatives": Choice((1, 2))})
    outcome = tune(*place, given, trials=2, name="failures")
    assert (outcome.best, outcome.gain, len(outcome.trials)) == (None, None, 2)


def test_options_that_do_not_fit_fail_but_for_the_defaults(
    place: tuple[Settings, Home], task: Callable[..., TuningTask]
) -> None:
    large = 10**12
    given = task({}, {"initial_deviation": Choice((0.1, 0.2))})
    with pytest.raises(BadInput, match="not enough memory"):
        tune(*place, replace(given, fixed={**given.fixed, "dimension": large}), trials=1, name="large")
    fixed = {name: value for name, value in given.fixed.items() if name != "dimension"}
    outcome = tune(
        *place, replace(given, fixed=fixed, space={"dimension": Choice((large, 2 * large))}), trials=2, name="larger"
    )
    assert [trial.state for trial in outcome.trials] == ["COMPLETE", "FAIL"]
    assert "not enough memory on the device" in outcome.trials[1].reason


def test_a_hopeless_trial_is_pruned(place: tuple[Settings, Home], task: Callable[..., TuningTask]) -> None:
    given = task({"max_epochs": 8, "patience": 8}, {"learning_rate": Choice((1e-9, 0.05, 0.06, 0.07))}, seed=4)
    left = set((place[1].cache / "tuning").glob("*"))
    outcome = tune(*place, given, trials=12, name="pruning")
    pruned = [trial for trial in outcome.trials if trial.state == "PRUNED"]
    assert pruned
    assert all(5 <= trial.epochs < 8 and trial.value is None for trial in pruned)
    assert 1e-9 in {trial.options["learning_rate"] for trial in pruned}
    assert outcome.best.options["learning_rate"] != 1e-9
    tags = [run.data.tags.get(TRIAL_STATE_TAG) for run in runs(place, "pruning")]
    assert tags.count("PRUNED") == len(pruned)
    assert set((place[1].cache / "tuning").glob("*")) == left
