"""What is expected of the content clusters: that videos fall into them as they did.

The view itself is computed after a snapshot was accepted. What is judged is what it would hold for a sample of the
videos: the same content, standardised alike, assigned to the centres that are kept; where none are kept yet, to centres
that the view's own algorithm finds in half of the accepted sample, or of this one. Then the other videos are counted:
centres lie nearer to those that they were found in, and every one of them has some.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from great_expectations import expectations as gxe

from contracts.tables import EMBEDDING_PREFIX
from feature_repo.views.clusters import CLUSTERS as MOST_CLUSTERS
from feature_repo.views.clusters import Centres
from feature_repo.views.kmeans import k_means, nearest
from validation.expectations.bands import ExpectStatisticToStayInLearnedBand
from validation.expectations.within import ExpectColumnValuesToLieWithin
from validation.material import CLUSTERS_TABLE, Baseline, Material
from validation.statistics.bands import value_band
from validation.statistics.profile import Profile
from validation.statistics.scaling import varying
from validation.suites.suite import Evidence, Rule, Suite, TableRules

__all__ = ["CLUSTERS"]

_VIDEOS_EACH = 8
_FITTED = 2048
"""Most videos that centres are fitted on here: enough to judge sizes by, and fast."""
_MOST_IN_ONE = 0.95
_FLOORS = {"largest_share": 0.5, "distance_median": 0.25}
_LARGEST = float(np.finfo(np.float32).max)
_ADVICE = "Look at the findings on the embeddings of the videos, from which the clusters are made."

_FAR, _FARTHEST = 30.0, 1e30
"""Standard deviations: a video beyond the first is no centre of others, beyond the second its square no number."""

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]


def _tables(material: Material) -> list[str]:
    return [CLUSTERS_TABLE] if material.snapshot.video_modalities else []


def _measure(material: Material, _table: str, measured: Mapping[str, Evidence]) -> Evidence:
    profiles = {name: measured[EMBEDDING_PREFIX + name].profile for name in material.snapshot.video_modalities}
    sound = {name: profile for name, profile in profiles.items() if profile is not None}
    ids = _sampled_ids(sound)
    centres, fitted = _centres(material, sound)
    content = np.clip(_content(sound, ids, centres), -_FARTHEST, _FARTHEST).astype(np.float32)
    labels, distances = nearest(content, centres.centres)
    rows = pd.DataFrame({"cluster": labels, "distance": distances})
    others = ~np.asarray(pc.is_in(ids, value_set=fitted), bool)
    counted = others if others.any() else ~others
    statistics = _statistics(labels[counted], distances[counted], centres)
    return Evidence(rows=rows, own=0, identity={"video_id": ids}, statistics=statistics)


def _statistics(labels: npt.NDArray[np.int64], distances: Floats, centres: Centres) -> dict[str, float]:
    count = len(centres.centres)
    if not len(labels) or not count:
        return {}
    sizes = np.bincount(labels, minlength=count)
    statistics = {
        "rows": float(len(labels)),
        "clusters": float(count),
        "largest_share": float(sizes.max() / len(labels)),
        "empty_share": float((sizes == 0).mean()),
        "distance_median": float(np.median(distances)),
    }
    return {name: value for name, value in statistics.items() if np.isfinite(value)}


def _on_rows(_material: Material, _table: str) -> list[Rule]:
    return [
        Rule(gxe.ExpectTableRowCountToBeBetween(min_value=1, description="there is at least one video"), _ADVICE),
        Rule(
            ExpectColumnValuesToLieWithin(
                column="cluster",
                min_value=0,
                max_value=MOST_CLUSTERS - 1,
                description=f"a video is in one of at most {MOST_CLUSTERS} clusters",
            ),
            _ADVICE,
        ),
        Rule(
            gxe.ExpectColumnValuesToNotBeNull(column="distance", description="every distance to a centre is a number"),
            _ADVICE,
        ),
        Rule(
            ExpectColumnValuesToLieWithin(
                column="distance", min_value=0, max_value=_LARGEST, description="every distance to a centre is finite"
            ),
            _ADVICE,
        ),
    ]


def _on_table(material: Material, table: str, evidence: Evidence) -> TableRules:
    # The centres belong to the encoders: with others, sizes and distances are not the same things.
    history = material.history(table) if _accepted(material) is not None else ()
    rules: list[Rule] = []
    if evidence.statistics.get("clusters", 0) > 1:
        rules.append(
            Rule(
                gxe.ExpectColumnMaxToBeBetween(
                    column="largest_share",
                    max_value=_MOST_IN_ONE,
                    description=f"no cluster holds more than {_MOST_IN_ONE:.0%} of the videos",
                ),
                _ADVICE,
            )
        )
    if not history:
        return TableRules(rules, ["no accepted snapshot has clusters of these encoders: absolute rules only"])
    rows = min([evidence.statistics.get("rows", 0.0), *(past.get("rows", 0.0) for past in history)])
    for name, words in (
        ("largest_share", "the largest cluster is no larger than in accepted snapshots"),
        ("distance_median", "videos are as near to their centres as in accepted snapshots"),
    ):
        values = [past[name] for past in history if name in past]
        share = max(values, default=0.0)
        error = float(np.sqrt(share * (1 - share) / rows)) if name == "largest_share" and rows else 0.0
        band = value_band(values, error, _FLOORS[name])
        rule = ExpectStatisticToStayInLearnedBand(
            column=name,
            low=band.low if name == "distance_median" else None,
            high=band.high,
            learned_from=band.learned_from,
            description=words,
        )
        rules.append(Rule(rule, _ADVICE, compared=True, consequence=True))
    return TableRules(rules)


def _sampled_ids(profiles: Mapping[str, Profile]) -> pa.Array:
    parts = [profile.ids.take(pa.array(profile.sample_rows)) for profile in profiles.values()]
    return pa.concat_arrays([pa.array([], pa.string()), *parts]).unique()


def _content(profiles: Mapping[str, Profile], ids: pa.Array, centres: Centres) -> Numbers:
    """All modalities of the videos side by side, standardised ``[n, W]``; zeros where one is missing."""
    content, start = np.zeros((len(ids), len(centres.mean))), 0
    for _, profile in sorted(profiles.items()):
        columns = slice(start, start + profile.width)
        rows = pc.index_in(ids, value_set=profile.ids.take(pa.array(profile.sample_rows))).fill_null(-1).to_numpy()
        there = rows >= 0
        content[there, columns] = (
            profile.sample[rows[there]] - centres.mean[columns].astype(np.float64)
        ) / centres.scale[columns]
        start = columns.stop
    return content


def _centres(material: Material, profiles: Mapping[str, Profile]) -> tuple[Centres, pa.Array]:
    """The centres, and the videos that they were found in, as far as these are known."""
    width = sum(profile.width for profile in profiles.values())
    if material.centres is not None and material.centres.centres.shape[1] == width:
        return material.centres, pa.array([], pa.string())
    baseline = _accepted(material)
    if baseline is None:
        return _fitted(profiles)
    digests = tuple((name, spec.digest) for name, spec in material.snapshot.video_modalities.items())
    return _accepted_centres(baseline, digests)


def _accepted(material: Material) -> Baseline | None:
    """The accepted snapshot, if it has vectors of all of the videos' encoders."""
    baseline, specs = material.baseline, material.snapshot.video_modalities.values()
    return baseline if baseline is not None and all(spec.digest in baseline.profiles for spec in specs) else None


@lru_cache(maxsize=1)
def _accepted_centres(baseline: Baseline, digests: tuple[tuple[str, str], ...]) -> tuple[Centres, pa.Array]:
    # One baseline is held against many snapshots where a benchmark does so.
    return _fitted({name: baseline.profiles[digest] for name, digest in digests})


def _fitted(profiles: Mapping[str, Profile]) -> tuple[Centres, pa.Array]:
    parts = [profile for _, profile in sorted(profiles.items())]
    mean = np.concatenate([part.mean for part in parts])
    scale = np.sqrt(np.concatenate([part.variance for part in parts]))
    scale = np.where(varying(scale, mean), scale, 1)
    blank = Centres(np.zeros((0, len(mean)), np.float32), mean.astype(np.float32), scale.astype(np.float32))
    ids = _sampled_ids(profiles)
    ids = ids.take(pa.array(np.arange(0, min(len(ids), 2 * _FITTED), 2)))
    if not len(ids):
        return Centres(np.zeros((1, len(mean)), np.float32), blank.mean, blank.scale), ids
    count = max(1, min(MOST_CLUSTERS, len(ids) // _VIDEOS_EACH))
    content = np.clip(_content(profiles, ids, blank), -_FAR, _FAR)
    found, _ = k_means(content.astype(np.float32), count, 0)
    return Centres(found, blank.mean, blank.scale), ids


CLUSTERS = Suite(2, _tables, _measure, _on_rows, _on_table)
