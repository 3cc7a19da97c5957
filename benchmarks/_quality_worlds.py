"""The worlds in which ``quality.py`` tries the suites: pools of vectors, and snapshots drawn from them as tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import Snapshot, SplitInstants, TableInfo
from contracts.tables import EMBEDDING_PREFIX, VIDEOS, embedding_schema
from feature_repo.raw_tables import microseconds, table_of, vector_lists
from feature_repo.simulator.generator import plan_of
from feature_repo.simulator.platform import grow

__all__ = [
    "ITEMS",
    "START",
    "Delivery",
    "Floats",
    "Rows",
    "Stage",
    "Vectors",
    "World",
    "encoded",
    "pool",
    "world_names",
]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

ITEMS = 6_710
START = datetime(2025, 1, 1, tzinfo=UTC)
SPLIT = SplitInstants(train_until=START + timedelta(days=1), validation_until=START + timedelta(days=2), nominal=True)
_A_VIDEO_US = 10 * 60 * 1_000_000
"""Between two publications."""
_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class World:
    """A pool of items, each seen by two encoders."""

    name: str
    vectors: Mapping[str, Floats]
    """Modality → ``[ITEMS, width]``."""
    specs: Mapping[str, EmbeddingSpec]


@dataclass
class Vectors:
    """An embedding table before it is one."""

    items: Rows
    """``[n]``, number of the item of each row."""
    matrix: Floats
    """``[n, width]``"""
    short: Rows = field(default_factory=lambda: _NO_ROWS)
    """Rows that lack their last component."""

    def copy(self) -> Self:
        """One of its own, to be changed."""
        return replace(self, items=self.items.copy(), matrix=self.matrix.copy())


@dataclass
class Delivery:
    """What one snapshot would hold: a catalogue, and the vectors of its items."""

    items: Rows
    """The catalogue, oldest first; items are numbered by publication."""
    tables: dict[str, Vectors]
    """Modality → vectors."""
    specs: dict[str, EmbeddingSpec]

    def copy(self) -> Self:
        """One of its own, to be changed."""
        tables = {modality: vectors.copy() for modality, vectors in self.tables.items()}
        return replace(self, tables=tables, specs=dict(self.specs))

    @property
    def now(self) -> datetime:
        """A while after the newest video."""
        return START + timedelta(microseconds=int(self.items.max(initial=0) + 6) * _A_VIDEO_US)

    def written(self, identity: str) -> tuple[Snapshot, dict[str, pa.Table]]:
        """The snapshot's manifest and tables."""
        tables = {"videos": table_of(VIDEOS, _published(self.items), video_id=_ids(self.items))}
        for modality, vectors in self.tables.items():
            tables[EMBEDDING_PREFIX + modality] = table_of(
                embedding_schema(), _published(vectors.items), video_id=_ids(vectors.items), vector=_lists(vectors)
            )
        snapshot = Snapshot(
            id=identity,
            dataset="benchmark",
            source="benchmarks/quality.py",
            created_at=self.now,
            tables={name: TableInfo(rows=table.num_rows, sha256="") for name, table in tables.items()},
            embeddings=self.specs,
            split=SPLIT,
        )
        return snapshot, tables


@dataclass(frozen=True)
class Stage:
    """A world whose items were published in some order."""

    world: World
    vectors: Mapping[str, Floats]
    """Modality → ``[ITEMS, width]`` by number of the item."""

    @classmethod
    def of(cls, world: World, rng: np.random.Generator) -> Self:
        """Shuffle a pool."""
        order = rng.permutation(ITEMS)
        return cls(world, {modality: matrix[order] for modality, matrix in world.vectors.items()})

    def delivery(self, items: Rows) -> Delivery:
        """The sound snapshot of these items."""
        items = np.sort(items)
        tables = {modality: Vectors(items.copy(), matrix[items]) for modality, matrix in self.vectors.items()}
        return Delivery(items, tables, dict(self.world.specs))

    def first(self) -> Delivery:
        """Six items in ten of the pool, the oldest."""
        return self.delivery(np.arange(ITEMS * 6 // 10))

    def update(self, before: Delivery, rng: np.random.Generator) -> Delivery:
        """Three to seven in a hundred items taken down, five to ten in a hundred new."""
        kept = before.items[rng.random(len(before.items)) > rng.uniform(0.03, 0.07)]
        return self._with_newer(kept, before, rng.uniform(0.05, 0.1))

    def growth(self, before: Delivery) -> Delivery:
        """Nothing taken down, thirty in a hundred new."""
        return self._with_newer(before.items, before, 0.3)

    def halves(self) -> tuple[Delivery, Delivery]:
        """Two snapshots without a common item."""
        return self.delivery(np.arange(ITEMS // 2)), self.delivery(np.arange(ITEMS // 2, ITEMS))

    def _with_newer(self, kept: Rows, before: Delivery, share: float) -> Delivery:
        newest = before.items[-1] + 1
        return self.delivery(np.concatenate([kept, np.arange(newest, newest + int(share * len(before.items)))]))


def encoded(matrix: Floats, spec: EmbeddingSpec) -> Floats:
    """What leaves an encoder: of unit norm, where its last step is to normalise."""
    if spec.normalisation == "l2":
        matrix = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return np.asarray(matrix, np.float32)


def world_names(data: list[str], widths: list[int]) -> list[str]:
    """``tiktok 128``, ``simulated 512`` …; TikTok's vectors have the width they have."""
    return [f"{kind} {width}" for kind in data for width in (widths if kind != "tiktok" else [128])]


@cache
def pool(name: str, tiktok: Path) -> World:
    """The world of a name.

    Args:
        name: One of ``world_names``.
        tiktok: Directory with ``image_feat.npy`` and ``audio_feat.npy``.
    """
    kind, width = name.split()[0], int(name.split()[1])
    make = {
        "tiktok": lambda: _tiktok(tiktok),
        "simulated": lambda: _simulated(width),
        "clustered": lambda: _unit(width),
    }
    vectors = make[kind]()
    specs = {
        modality: EmbeddingSpec(
            modality=modality,
            encoder=f"{kind}-{modality}",
            revision="1",
            preprocessing="none",
            width=width,
            dtype="float16" if kind == "tiktok" else "float32",
            normalisation="l2" if kind == "clustered" else "none",
        )
        for modality in vectors
    }
    return World(name, {m: encoded(matrix, specs[m]) for m, matrix in vectors.items()}, specs)


def _tiktok(directory: Path) -> dict[str, Floats]:
    files = {"visual": "image_feat.npy", "acoustic": "audio_feat.npy"}
    return {m: np.load(directory / file, allow_pickle=False).astype(np.float32) for m, file in files.items()}


def _simulated(width: int) -> dict[str, Floats]:
    """The simulator's videos, seen as its perception sees them, by encoders of another width."""
    videos = grow(plan_of(users=1_500, videos=ITEMS, events=1_000, posts=0, listens=0, follows=0)).videos
    factors = np.hstack([videos.factors, 0.3 * videos.mood]).astype(np.float32)
    rng = np.random.default_rng(width)
    found = {}
    for modality, noise in (("visual", 0.3), ("acoustic", 0.8)):
        missed = rng.random((factors.shape[1], 1)) < 0.25
        projection = np.where(missed, 0.0, rng.normal(size=(factors.shape[1], width)))
        found[modality] = np.tanh(factors @ projection) + noise * rng.standard_normal((ITEMS, width))
    return {modality: np.asarray(matrix, np.float32) for modality, matrix in found.items()}


def _unit(width: int) -> dict[str, Floats]:
    """Clusters of unequal size in directions whose variance falls off, away from the origin, on the unit sphere."""
    rng = np.random.default_rng(10_000 + width)
    clusters, latent = 40, 96
    member = rng.choice(clusters, ITEMS, p=rng.dirichlet(np.full(clusters, 2.0)))
    scale = np.arange(1, latent + 1) ** -0.5
    hidden = scale * (rng.standard_normal((clusters, latent))[member] + 0.8 * rng.standard_normal((ITEMS, latent)))
    found = {}
    for modality in ("visual", "textual"):
        projection = rng.standard_normal((latent, width)) / np.sqrt(width)
        noise = 0.3 * rng.standard_normal((ITEMS, width)) / np.sqrt(width)
        centre = 1.5 * rng.standard_normal(width) / np.sqrt(width)
        found[modality] = np.asarray(centre + hidden @ projection + noise, np.float32)
    return found


def _ids(items: Rows) -> pa.Array:
    return pa.array([f"v{number}" for number in items.tolist()], pa.string())


def _published(items: Rows) -> Rows:
    return microseconds(START) + items * _A_VIDEO_US


def _lists(vectors: Vectors) -> pa.ListArray:
    if not len(vectors.short):
        return vector_lists(vectors.matrix)
    rows = list(vectors.matrix)
    for row in vectors.short:
        rows[row] = rows[row][:-1]
    return pa.array(rows, pa.list_(pa.float32()))
