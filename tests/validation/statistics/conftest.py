"""Profiles of tables made in memory."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from validation.statistics.profile import Profile
from validation.statistics.sampling import SAMPLE, rows_beyond, sample_rows

MakeProfile = Callable[..., Profile]


def _profile(
    vectors: npt.NDArray[np.float32],
    ids: Sequence[object] | None = None,
    sample: int = SAMPLE,
    known: int | None = None,
) -> Profile:
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    names = pa.array([f"v{i}" for i in (range(len(vectors)) if ids is None else ids)], pa.string())
    multipliers = np.random.default_rng(1).integers(0, 2**63, size=vectors.shape[1], dtype=np.uint64) * 2 + 1
    rows = sample_rows(names, sample)
    beyond = rows_beyond(names, rows, None if known is None else names[:known])
    wide = vectors.astype(np.float64)
    return Profile(
        width=vectors.shape[1],
        ids=names,
        fingerprints=(vectors.view(np.uint32) * multipliers).sum(axis=1, dtype=np.uint64),
        norms=np.minimum(np.linalg.norm(wide, axis=1), np.finfo(np.float32).max).astype(np.float32),
        sample_rows=rows,
        sample=vectors[rows],
        mean=wide.mean(axis=0) if len(wide) else np.zeros(vectors.shape[1]),
        variance=wide.var(axis=0) if len(wide) else np.zeros(vectors.shape[1]),
        spectrum=np.zeros(0),
        statistics={},
        errors={},
        beyond_rows=beyond,
        beyond=vectors[beyond],
    )


@pytest.fixture(name="profile_of")
def _profile_of() -> MakeProfile:
    """Vectors ``[n, width]`` (and ids, by default their numbers) to a profile without batch statistics.

    Where the first ``known`` were accepted, new ones beyond the sample are at hand.
    """
    return _profile
