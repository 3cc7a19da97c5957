"""Names of the metrics of a run: which of them stand for the whole, and which only explain it."""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["SYSTEM_METRICS", "figures_of", "headlines"]

SYSTEM_METRICS: Final = "system/"
"""Prefix of what the machine did while a run lasted, as MLflow names it."""

_WHOLE = re.compile(r"(validation|test)_([a-z]+|popularity_lift)_at_(\d+)")
"""``<part>_<metric>_at_<k>``; a slice's name stands between part and metric: ``test_cold_users_hr_at_10``."""


def figures_of(metrics: Mapping[str, float], part: str) -> dict[tuple[str, int], float]:
    """Figures of a whole part of the split, slices left out.

    Args:
        metrics: All of a run.
        part: ``validation`` or ``test``.

    Returns:
        (Metric, cut-off) → value.
    """
    found = ((_WHOLE.fullmatch(name), value) for name, value in metrics.items())
    return {(match[2], int(match[3])): value for match, value in found if match and match[1] == part}


def headlines(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics by which runs are told apart at a glance: without slices and without those of the machine."""
    return {
        name: value
        for name, value in metrics.items()
        if not name.startswith(SYSTEM_METRICS) and ("_at_" not in name or _WHOLE.fullmatch(name))
    }
