"""Which cluster of content each video is in.

Content is all modalities side by side, each number standardised; a modality that a video lacks is zeros, the mean.
The centres are those of the videos known before training ends. They are fitted once for a data set and its encoders and
kept in the home, so that a cluster keeps its number when more data come: a new video is assigned to the nearest centre.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.embeddings import EmbeddingSpec
from contracts.files import directory_written_whole
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from feature_repo.raw_tables import microseconds
from feature_repo.views.builder import BuildContext, Builder, chunk_of
from feature_repo.views.kmeans import k_means, nearest
from feature_repo.views.sequences import Numbers
from feature_repo.views.vectors import VectorChanges, vector_changes

if TYPE_CHECKING:
    from feature_repo.views.catalogue import View

__all__ = ["CLUSTERS", "Centres", "centres_directory", "video_clusters"]

CLUSTERS = 64
"""Most clusters; there is one for every eight videos at most."""

_VIDEOS_EACH = 8
_SAMPLE = 50_000
"""Most videos that centres are fitted on."""
_ROWS = 16_384
_SEED = 0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Centres:
    """What assigns content to clusters; W is the sum of the modalities' widths, in order of their names."""

    centres: Floats
    """``[k, W]``, of standardised content."""
    mean: Floats
    """``[W]``"""
    scale: Floats
    """``[W]``, above 0."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Those kept in a directory."""
        return cls(*(np.load(directory / f"{name}.npy", allow_pickle=False) for name in ("centres", "mean", "scale")))

    def save(self, directory: Path, about: Mapping[str, object]) -> None:
        """Keep them in a new directory, with a note on what they were fitted on."""
        with directory_written_whole(directory) as scratch:
            for name in ("centres", "mean", "scale"):
                np.save(scratch / f"{name}.npy", getattr(self, name), allow_pickle=False)
            (scratch / "about.json").write_text(json.dumps(about, indent=2), encoding="utf-8")


def centres_directory(root: Path, snapshot: Snapshot) -> Path:
    """Where the centres of a snapshot are: one place for all snapshots of a data set with the same encoders."""
    about = {"dataset": snapshot.dataset, "clusters": CLUSTERS, **_digests(snapshot)}
    return root / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _digests(snapshot: Snapshot) -> dict[str, str]:
    return {name: spec.digest for name, spec in snapshot.video_modalities.items()}


def video_clusters(view: "View", snapshot: Snapshot) -> Builder:
    """The nearest centre of each video's content and the distance to it, as its embeddings become known."""
    tables = tuple(EMBEDDING_PREFIX + name for name in snapshot.video_modalities)
    return Builder(tables, partial(_rows, view, snapshot.video_modalities), dict.fromkeys(tables, "video_id"))


def _rows(
    view: "View", specs: Mapping[str, EmbeddingSpec], tables: Mapping[str, pa.Table], context: BuildContext
) -> Iterator[pa.Table]:
    parts = [vector_changes(tables[EMBEDDING_PREFIX + name], "video_id", spec.width) for name, spec in specs.items()]
    content = _Content(parts)
    directory = centres_directory(context.centres, context.snapshot)
    if not len(content.key) or (context.newest and not directory.exists()):
        return  # a few pushed vectors are nothing to fit centres on: `features apply` does
    centres = _centres(content, context)
    before = (-1, -1, np.float32(0))
    for start in range(0, len(content.key), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(content.key)))
        labels, distances = nearest(content.standardised(rows, centres.mean, centres.scale), centres.centres)
        keys = content.key[rows]
        changed = (keys != np.r_[before[0], keys[:-1]]) | (labels != np.r_[before[1], labels[:-1]])
        changed |= distances != np.r_[before[2], distances[:-1]]
        before = (keys[-1], labels[-1], distances[-1])
        yield chunk_of(
            view,
            content.ids.take(pa.array(keys[changed])),
            content.arrivals[rows][changed],
            cluster=pa.array(labels[changed]),
            distance=pa.array(distances[changed]),
        )


class _Content:
    """The modalities of all videos side by side, at every instant at which one of them changes.

    Args:
        parts: Change points of each modality.
    """

    def __init__(self, parts: list[VectorChanges]) -> None:
        self._parts = parts
        ids = pa.concat_arrays([part.ids for part in parts]).unique()
        self.ids = ids.take(pc.array_sort_indices(ids))
        keys = [pc.index_in(part.ids, self.ids).to_numpy().astype(np.int64)[part.key] for part in parts]
        moments, rank = np.unique(np.concatenate([part.arrivals for part in parts]), return_inverse=True)
        ranks = np.split(rank, np.cumsum([len(key) for key in keys])[:-1])
        self._codes = [key * len(moments) + own for key, own in zip(keys, ranks, strict=True)]
        self._code = np.unique(np.concatenate(self._codes))
        self.key: Numbers = self._code // max(len(moments), 1)
        self.arrivals: Numbers = moments[self._code % max(len(moments), 1)]
        # Row of each modality's vector that is known at each change point, -1 where there is none yet.
        self._vectors = []
        for part, key, code in zip(parts, keys, self._codes, strict=True):
            found = np.searchsorted(code, self._code, side="right") - 1
            own = (found >= 0) & (key[found] == self.key) if len(key) else np.zeros(len(found), bool)
            self._vectors.append(np.where(own, part.row[found] if len(key) else -1, -1))

    def standardised(self, rows: Numbers, mean: Floats, scale: Floats) -> Floats:
        """Content at the given change points, ``[n, W]``; zeros where a modality is missing."""
        filled, start = np.zeros((len(rows), len(mean)), np.float32), 0
        for part, vectors in zip(self._parts, self._vectors, strict=True):
            columns = slice(start, start + part.matrix.shape[1])
            present = vectors[rows] >= 0
            filled[present, columns] = (part.matrix[vectors[rows][present]] - mean[columns]) / scale[columns]
            start = columns.stop
        return filled

    def moments_of(self, rows: Numbers) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each number over the change points that have it; 1 where it never varies."""
        means, scales = [], []
        for part, vectors in zip(self._parts, self._vectors, strict=True):
            present = part.matrix[vectors[rows][vectors[rows] >= 0]].astype(np.float64)
            width = part.matrix.shape[1]
            means.append(present.mean(axis=0) if len(present) else np.zeros(width))
            scales.append(present.std(axis=0) if len(present) else np.ones(width))
        scale = np.concatenate(scales).astype(np.float32)
        return np.concatenate(means).astype(np.float32), np.where(scale > 1e-12, scale, np.float32(1))


def _centres(content: _Content, context: BuildContext) -> Centres:
    """The centres that are kept, or fitted now on what was known before training ends."""
    directory = centres_directory(context.centres, context.snapshot)
    if directory.exists():
        return Centres.load(directory)
    until = microseconds(context.snapshot.split.train_until)
    early = content.arrivals < until
    if not early.any():  # a data set that says when its videos appeared by nothing
        early[:] = True
    rows = np.flatnonzero(early)
    rows = rows[np.r_[content.key[rows][1:] != content.key[rows][:-1], True]]
    videos = len(rows)
    if videos > _SAMPLE:
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, _SAMPLE, replace=False))
    mean, scale = content.moments_of(rows)
    count = max(1, min(CLUSTERS, videos // _VIDEOS_EACH))
    found, _ = k_means(content.standardised(rows, mean, scale), count, _SEED)
    centres = Centres(found, mean, scale)
    snapshot = context.snapshot
    about = {
        "dataset": snapshot.dataset,
        "snapshot": snapshot.id,
        "known_before": snapshot.split.train_until.isoformat(),
        "videos": videos,
        "specs": _digests(snapshot),
    }
    centres.save(directory, about)
    return centres
