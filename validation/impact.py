"""The price of a snapshot in ranking terms, for the champion that is served now.

This room may not load models; a process of the training room's own measures.
"""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from contracts.errors import BackbeatError
from contracts.home import Home
from contracts.process import fault_of, run_module
from contracts.settings import Settings, environment_of_child
from contracts.snapshot import Snapshot
from contracts.surfaces import VIDEO_FEED
from validation.champion import Holder, holders

__all__ = ["impact_of", "impact_stands"]

_PATIENCE_S = 3600


def impact_of(settings: Settings, home: Home, snapshot: Snapshot, baseline: Snapshot | None) -> dict[str, Any]:
    """What the champion of the video feed would show if a snapshot were used in place of the last good one.

    Nothing is written, neither to the home nor to the registry.

    Args:
        settings: Name the home and the registry.
        home: Holds both snapshots; their features need not be applied.
        snapshot: The data in question.
        baseline: The last good data, if there is any.

    Returns:
        What :func:`training.impact.impact` says, with ``surface``, ``champion`` (the version), ``snapshot`` and
        ``baseline``; or only ``missing``, a sentence that says why there are no figures.
    """
    if baseline is None:
        return {"missing": "no accepted snapshot of this data set to compare the lists with"}
    try:
        champion = _champion(settings, home)
    except BackbeatError as error:
        return {"missing": str(error)}
    if champion is None:
        return {"missing": f"no champion of {VIDEO_FEED} whose lists could change"}
    if champion.package is None:
        return {"missing": f"the package of {champion.name} is gone"}
    arguments = ("training.impact", str(champion.package), snapshot.id, baseline.id)
    try:
        done = run_module(*arguments, patience=_PATIENCE_S, environment=environment_of_child(settings))
    except subprocess.TimeoutExpired:
        return {"missing": f"the lists of {champion.name} were not measured within {_PATIENCE_S} seconds"}
    if (fault := fault_of(done)) is not None:
        return {"missing": f"the lists of {champion.name} could not be measured: {fault}"}
    return {"surface": champion.surface, "champion": champion.version, **json.loads(done.stdout)}


def impact_stands(settings: Settings, home: Home, impact: Mapping[str, Any] | None) -> bool:
    """Whether a price that was measured between the same two snapshots is that for the champion of today.

    One that could not be measured never stands: what was missing may be there by now.

    Raises:
        ServiceUnavailable: The registry cannot be read.
    """
    if impact is None or "missing" in impact:
        return False
    champion = _champion(settings, home)
    return champion is not None and champion.version == impact["champion"]


def _champion(settings: Settings, home: Home) -> Holder | None:
    """That of the video feed."""
    return next(
        (each for each in holders(settings, home) if (each.surface, each.alias) == (VIDEO_FEED, "champion")), None
    )
