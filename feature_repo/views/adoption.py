"""Which videos chose a piece of music: how many, and what they are like on average."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from feature_repo.views.builder import CHUNK_ROWS, BuildContext, Builder, chunk_of
from feature_repo.views.sequences import Numbers, Sequences, expand, sequences
from feature_repo.views.vectors import VectorChanges, nullable_vectors, vector_changes

if TYPE_CHECKING:
    from feature_repo.views.catalogue import View

__all__ = ["music_adoption"]

_NUMBERS = 8_388_608
"""Most numbers of all modalities' means in a chunk."""


def music_adoption(view: "View", snapshot: Snapshot) -> Builder:
    """Number of videos with each piece of music, and the mean of their vectors in every modality.

    A video counts towards a mean while both it and its vector are known; a mean is null where none does.
    """
    tables = tuple(EMBEDDING_PREFIX + name for name in snapshot.video_modalities)
    build = partial(_rows, view, snapshot.video_modalities)
    return Builder(("videos", *tables), build, {"videos": "music_id"})


def _rows(
    view: "View", specs: Mapping[str, EmbeddingSpec], tables: Mapping[str, pa.Table], context: BuildContext
) -> Iterator[pa.Table]:
    videos = sequences(tables["videos"], "music_id", "video_id", once=True)
    order = np.lexsort((videos.arrivals, videos.key))
    means = {
        name: _Means(videos, vector_changes(tables[EMBEDDING_PREFIX + name], "video_id", spec.width))
        for name, spec in specs.items()
    }
    moments = np.unique(np.concatenate([videos.arrivals, *(mean.arrivals for mean in means.values())]))

    def place(key: Numbers, arrivals: Numbers) -> Numbers:
        return key * len(moments) + np.searchsorted(moments, arrivals)

    adopted = place(videos.key, videos.arrivals)[order]
    points = np.unique(np.concatenate([adopted, *(place(mean.key, mean.arrivals) for mean in means.values())]))
    key = points // max(len(moments), 1)
    if context.newest:
        last = np.r_[key[1:] != key[:-1], True][: len(key)]
        points, key = points[last], key[last]
    count = np.searchsorted(adopted, points, side="right") - np.searchsorted(videos.key, key)
    latest = {
        name: np.searchsorted(place(mean.key, mean.arrivals), points, side="right") - 1 for name, mean in means.items()
    }
    size = min(CHUNK_ROWS, max(1, _NUMBERS // max(1, sum(spec.width for spec in specs.values()))))
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        columns = {name: mean.at(key[part], latest[name][part]) for name, mean in means.items()}
        yield chunk_of(
            view,
            videos.keys.take(pa.array(key[part])),
            moments[points[part] % len(moments)],
            videos=pa.array(count[part]),
            **columns,
        )


class _Means:
    """Mean vector of the videos of each piece of music, change by change, in order of music and instant.

    Args:
        videos: Music (keys) and the videos with it (items), each once.
        vectors: Change points of the videos' vectors.
    """

    def __init__(self, videos: Sequences, vectors: VectorChanges) -> None:
        numbers = pc.index_in(videos.items, vectors.ids).fill_null(len(vectors.ids)).to_numpy()[videos.item]
        starts = np.searchsorted(vectors.key, numbers)
        adoption, change = expand(starts, np.searchsorted(vectors.key, numbers, side="right") - starts)
        arrivals = np.maximum(videos.arrivals[adoption], vectors.arrivals[change])
        # Of vectors that were known before the video was, only the newest ever counts.
        last = np.r_[(adoption[1:] != adoption[:-1]) | (arrivals[1:] != arrivals[:-1]), True][: len(adoption)]
        adoption, change, arrivals = adoption[last], change[last], arrivals[last]
        first = np.r_[True, adoption[1:] != adoption[:-1]][: len(adoption)]
        new = vectors.row[change]
        old = np.where(first, -1, np.r_[-1, new[:-1]][: len(new)])
        key = videos.key[adoption]
        order = np.lexsort((videos.item[adoption], arrivals, key))
        self.key, self.arrivals = key[order], arrivals[order]
        self._new, self._old, self._matrix = new[order], old[order], vectors.matrix
        so_far = np.cumsum(self._old < 0)
        begins = np.searchsorted(self.key, self.key)
        self._counts = so_far - so_far[begins] + 1  # the first change of a key is always a new video
        self._done = 0
        self._sum = np.zeros(self._matrix.shape[1])

    def at(self, key: Numbers, change: Numbers) -> pa.ListArray:
        """Means after the given changes, which only ever go forward; null where a change is another key's or none.

        Sums grow one vector at a time, so that a key's do not depend on which other keys there are.
        """
        stop = max(self._done, int(change.max(initial=-1)) + 1)
        span = slice(self._done, stop)
        sums = np.empty((stop - self._done + 1, len(self._sum)))
        sums[0] = self._sum
        sums[1:] = self._matrix[self._new[span]]
        replaced = np.flatnonzero(self._old[span] >= 0)
        sums[1 + replaced] -= self._matrix[self._old[span][replaced]]
        keys = self.key[span]
        edges = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), len(keys)] if len(keys) else []
        continues = bool(len(keys)) and self._done > 0 and self.key[self._done - 1] == keys[0]
        for number, (low, high) in enumerate(pairwise(edges)):
            own = sums[low if number == 0 and continues else low + 1 : high + 1]
            np.cumsum(own, axis=0, out=own)
        missing: npt.NDArray[np.bool_] = change < 0
        if len(self.key):
            missing |= self.key[change] != key
        present = change[~missing]
        means = np.zeros((len(change), len(self._sum)), np.float32)
        means[~missing] = sums[present - self._done + 1] / self._counts[present][:, None]
        self._sum, self._done = sums[-1].copy(), stop
        return nullable_vectors(means, missing)
