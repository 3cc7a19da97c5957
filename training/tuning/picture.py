"""A picture of a tuning: the value of each trial, and which options mattered."""

import logging
from pathlib import Path

import optuna
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.tuning.outcome import trials_of

__all__ = ["draw_history", "importances_of"]

_ENOUGH = 6
"""Complete trials below which nothing can be said about single options."""
_GOOD, _PLAIN, _FAINT = "#1f6feb", "#24292f", "#8c959f"


def importances_of(study: optuna.Study) -> dict[str, float]:
    """How much each option decides which trials are the best ones: shares, largest first.

    By PED-ANOVA (Watanabe et al., IJCAI 2023). Empty where there are too few complete trials, or all are alike.
    """
    values = [trial.value for trial in trials_of(study) if trial.value is not None]
    if len(values) < _ENOUGH or len(set(values)) == 1:
        return {}
    return optuna.importance.get_param_importances(study)


def draw_history(path: Path, study: optuna.Study, metric: str) -> None:
    """Draw a PNG: on the left the value of each trial and the best so far, on the right the options' importances.

    Args:
        path: The file to write.
        study: The tuning.
        metric: Name of the value.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    history, shares = figure.subplots(1, 2, width_ratios=(1.7, 1))
    trials = trials_of(study)
    complete = [(trial.number, trial.value) for trial in trials if trial.value is not None]
    if complete:
        numbers, values = zip(*complete, strict=True)
        history.plot(numbers, values, "o", color=_PLAIN, markersize=4, label="a trial")
        best = [max(values[: place + 1]) for place in range(len(values))]
        history.step(numbers, best, where="post", color=_GOOD, label="best so far")
        history.legend(frameon=False, fontsize=9)
    for trial in trials:
        if trial.value is None:
            history.axvline(trial.number, ymax=0.03, color=_FAINT)
    history.set_title("Trials; a tick at the bottom: pruned or failed", loc="left", fontsize=10)
    history.set_xlabel("trial, 0 with the defaults")
    history.set_ylabel(f"validation {metric}")
    found = importances_of(study)
    shares.set_title("Which options decide", loc="left", fontsize=10)
    if found:
        shares.barh(list(found)[::-1], list(found.values())[::-1], color=_GOOD)
        shares.set_xlabel("importance")
    else:
        shares.set_axis_off()
        shares.text(0.5, 0.5, f"not known below {_ENOUGH}\ncomplete trials", ha="center", color=_FAINT)
    figure.savefig(path, metadata={"Software": None})
