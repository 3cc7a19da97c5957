"""Which code decides the outcome of a training: a digest of its source, so that no training outlives a change of it."""

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["sources_digest"]

_NO_PART = {
    "candidate_choice.py",
    "candidate_generation.py",
    "check.py",
    "commands.py",
    "experiments",
    "figure_arrays.py",
    "figures.py",
    "hnsw.py",
    "impact.py",
    "indexes.py",
    "lists.py",
    "machine.py",
    "matrix_index.py",
    "outcome.py",
    "products.py",
    "remeasure.py",
    "retrieval.py",
    "serving_cost.py",
    "slices.py",
    "tracking.py",
    "tuning",
}
"""Files and folders of this room that only start a training, record it, or look at it afterwards."""

_FEATURES = (
    "definitions.py",
    "encoders/device.py",
    "frame.py",
    "frames/*.py",
    "historical.py",
    "services.py",
    "stores/asof.py",
    "stores/join.py",
    "stores/search.py",
    "views/*.py",
)
"""Files of the feature repository that decide what a training is fed."""


@cache
def sources_digest(root: Path = Path(__file__).parents[1]) -> str:
    """Twelve hexadecimal digits over the names and the text of those files.

    Args:
        root: Directory that holds the rooms.
    """
    room = root / "training"
    sources = [
        *(path for path in sorted(room.rglob("*.py")) if path.relative_to(room).parts[0] not in _NO_PART),
        *(path for pattern in _FEATURES for path in sorted((root / "feature_repo").glob(pattern))),
    ]
    parts = [part for path in sources for part in (path.relative_to(root).as_posix().encode(), path.read_bytes())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
