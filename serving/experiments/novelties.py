"""Which of the items that users saw were cold at that moment, and how cold ones climbed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.current import current_snapshot_id
from contracts.errors import BackbeatError
from contracts.home import Home
from contracts.surfaces import VIDEO_FEED
from contracts.vocabulary import Vocabulary
from feature_repo.offline import read_snapshot, read_table
from serving.analysis.outcomes import climbers, cold
from serving.experiments.exposures import Exposures

__all__ = ["CLIMBS", "Releases", "climbing", "cold_when_seen"]

CLIMBS = (5, 20, 100)
"""Impressions to climb to."""

_US = 1e6


@dataclass(frozen=True)
class Releases:
    """When items came out, and how often they had been viewed when the champion was trained."""

    at_s: Mapping[str, float]
    views: Mapping[str, int]

    @classmethod
    def of_home(cls, home: Home, surface: str, package: Path) -> "Releases | None":
        """Of what a surface recommends, by the home's current data; None where it has none.

        Args:
            home: Whose tables.
            surface: Registered model.
            package: Directory of the champion's package; one that is gone says of no views.
        """
        name, key = ("videos", "video_id") if surface == VIDEO_FEED else ("music", "music_id")
        try:
            current = current_snapshot_id(home)
            if current is None:
                return None
            table = read_table(home, read_snapshot(home, current), name, [key, "event_time"])
        except BackbeatError:
            return None
        times = table["event_time"].to_numpy().astype("datetime64[us]").astype(np.int64) / _US
        released = dict(zip(table[key].to_pylist(), times.tolist(), strict=True))
        files = package / "items.parquet", package / "popularity.npy"
        if not all(path.is_file() for path in files):
            return cls(released, {})
        items = Vocabulary.load(files[0])
        views = np.load(files[1], allow_pickle=False).tolist()
        return cls(released, dict(zip(items.ids(range(len(items))), views, strict=True)))


def cold_when_seen(exposures: Exposures, releases: Releases | None) -> npt.NDArray[np.bool_] | None:
    """Whether each item was cold when it was seen, ``[N]``; None where the catalogue knows none of them.

    Views are those of the champion's data and the impressions of the experiment until then.
    """
    if releases is None or not any(item in releases.at_s for item in exposures.items):
        return None
    released = np.array([releases.at_s.get(item, -np.inf) for item in exposures.items])
    viewed = np.array([releases.views.get(item, 0) for item in exposures.items], np.int64)
    order = np.lexsort((exposures.at_s[exposures.request], exposures.item))
    item = exposures.item[order]
    first = np.flatnonzero(np.r_[True, item[1:] != item[:-1]]) if len(item) else np.zeros(0, np.int64)
    before = np.empty(len(item), np.int64)
    before[order] = np.arange(len(item)) - np.repeat(first, np.diff(np.r_[first, len(item)]))
    age_s = exposures.at_s[exposures.request] - released[exposures.item]
    return cold(age_s, viewed[exposures.item] + before)


def climbing(exposures: Exposures, arm: int, known: set[str]) -> dict[int, int]:
    """Climbing_k of an arm for each k of :data:`CLIMBS`.

    Args:
        exposures: What was seen.
        arm: Number of the arm.
        known: Items that were seen before.
    """
    chosen = exposures.arm[exposures.request] == arm
    video, at_s = exposures.item[chosen], exposures.at_s[exposures.request[chosen]]
    seen = np.array([item in known for item in exposures.items], np.bool_)
    return {k: len(climbers(video, at_s, k, known=seen)) for k in CLIMBS}
