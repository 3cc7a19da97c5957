"""Measuring a table of vectors once: facts of its rows, statistics of the whole, and what is kept to compare with."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from validation.statistics.blocks import Blocks, Floats, Rows
from validation.statistics.clipping import clipped_components
from validation.statistics.duplicates import near_duplicates, repeats
from validation.statistics.entities import entities_of
from validation.statistics.frame import rows_frame
from validation.statistics.geometry import Spectrum, hubs, spectrum
from validation.statistics.moments import Moments, moments
from validation.statistics.norms import norm_outlier_share, norm_statistics
from validation.statistics.rows import fingerprints, row_facts
from validation.statistics.sampling import rows_beyond, sample_rows

__all__ = ["Measured", "Profile", "dead_dimensions", "measure_vectors", "newly_dead"]

_DEAD = 1e-6
"""A dimension whose variance is below this share of the median one's does not vary."""
_LIVELY = 0.01
"""One above this share does."""
_FORMAT = 1
_FACTS, _ENTITIES, _SAMPLE, _DIMENSIONS = "profile.json", "entities.parquet", "sample.npy", "dimensions.parquet"
_NEXT_STEP = "run `backbeat validate run --force`, which writes the report and its profiles anew"


@dataclass(frozen=True)
class Profile:
    """What is kept of one measured embedding table; later snapshots are compared with it."""

    width: int
    ids: pa.Array
    """Entities with a sound vector (of the right width, finite, not zero), by its newest row ``[n]``."""
    fingerprints: npt.NDArray[np.uint64]
    """Of the vectors' bits ``[n]``."""
    norms: Floats
    """``[n]``."""
    sample_rows: Rows
    """Rows of ``ids`` whose vectors are in the sample, in order of the ids' hashes ``[m]``."""
    sample: Floats
    """``[m, width]``."""
    mean: npt.NDArray[np.float64]
    """Over all sound vectors ``[width]``; zeros where there is none."""
    variance: npt.NDArray[np.float64]
    """As ``mean``."""
    spectrum: npt.NDArray[np.float64]
    """Eigenvalues of the sample's covariance, descending; empty where it has none."""
    statistics: dict[str, float]
    """Batch statistics, finite only: what could not be measured is not in it."""
    errors: dict[str, float]
    """Statistic → its standard error, where it has one."""
    beyond_rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows of ``ids`` of new entities that are not in the sample, whose vectors are at hand as long as the snapshot is
    judged; they are not saved."""
    beyond: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """Their vectors ``[len(beyond_rows), width]``."""

    def at_hand(self) -> tuple[Rows, Floats]:
        """Rows of ``ids`` whose vectors are at hand, and these: the sample's first, then those beyond it."""
        if not len(self.beyond_rows):
            return self.sample_rows, self.sample
        return np.concatenate([self.sample_rows, self.beyond_rows]), np.concatenate([self.sample, self.beyond])

    def require_width_of(self, before: Self) -> None:
        """Refuse to be compared with vectors of another width.

        Raises:
            BadInput: The widths differ.
        """
        if before.width != self.width:
            raise BadInput(
                "comparison of an embedding table",
                found=f"vectors of {self.width} components",
                expected=f"{before.width}, as in the accepted snapshot",
                next_step="compare tables of one embedding spec",
            )

    def save(self, directory: Path) -> None:
        """Write to an existing directory, which the caller writes whole."""
        entities = {"id": self.ids, "fingerprint": pa.array(self.fingerprints), "norm": pa.array(self.norms)}
        pq.write_table(pa.table(entities), directory / _ENTITIES, compression="zstd")
        eigenvalues = np.pad(self.spectrum, (0, self.width - len(self.spectrum)), constant_values=np.nan)
        dimensions = {"mean": self.mean, "variance": self.variance, "eigenvalue": eigenvalues}
        pq.write_table(pa.table(dimensions), directory / _DIMENSIONS)
        np.save(directory / _SAMPLE, self.sample, allow_pickle=False)
        facts = {
            "format": _FORMAT,
            "width": self.width,
            "sample_rows": self.sample_rows.tolist(),
            "statistics": self.statistics,
            "errors": self.errors,
        }
        (directory / _FACTS).write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            NotFound: The directory or a file of it is missing.
            BadInput: A file is damaged, or does not go with the others.
        """
        for name in (_FACTS, _ENTITIES, _DIMENSIONS, _SAMPLE):
            if not (directory / name).is_file():
                raise NotFound(f"profile {directory}", found=f"no {name}", expected="the file", next_step=_NEXT_STEP)
        try:
            profile = cls._read(directory)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, pa.ArrowException, EOFError) as error:
            first = str(error).partition("\n")[0]
            raise _damaged(directory, f"{type(error).__name__}: {first}") from error
        problem = profile._problem()
        if problem is not None:
            raise _damaged(directory, problem)
        return profile

    @classmethod
    def _read(cls, directory: Path) -> Self:
        facts = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
        if facts["format"] != _FORMAT:
            raise ValueError(f"format {facts['format']}")
        entities, dimensions = pq.read_table(directory / _ENTITIES), pq.read_table(directory / _DIMENSIONS)
        eigenvalues = dimensions["eigenvalue"].to_numpy()
        return cls(
            width=int(facts["width"]),
            ids=pa.concat_arrays(entities["id"].chunks) if entities.num_rows else pa.array([], pa.string()),
            fingerprints=entities["fingerprint"].to_numpy(),
            norms=entities["norm"].to_numpy(),
            sample_rows=np.asarray(facts["sample_rows"], np.int64),
            sample=np.load(directory / _SAMPLE, allow_pickle=False),
            mean=dimensions["mean"].to_numpy(),
            variance=dimensions["variance"].to_numpy(),
            spectrum=eigenvalues[np.isfinite(eigenvalues)],
            statistics={str(name): float(value) for name, value in facts["statistics"].items()},
            errors={str(name): float(value) for name, value in facts["errors"].items()},
        )

    def _problem(self) -> str | None:
        """What of the parts does not go together; None where all do."""
        shapes = {
            "mean": (self.mean.shape, (self.width,)),
            "sample": (self.sample.shape, (len(self.sample_rows), self.width)),
        }
        for name, (found, expected) in shapes.items():
            if found != expected:
                return f"{name} of shape {found} where {expected} goes with the rest"
        types = {"fingerprint": self.fingerprints.dtype == np.uint64, "norm": self.norms.dtype == np.float32}
        types |= {"id": pa.types.is_string(self.ids.type), "sample": self.sample.dtype == np.float32}
        wrong = [name for name, right in types.items() if not right]
        if wrong:
            return f"{wrong[0]} of another type"
        rows = self.sample_rows
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.ids):
            return f"sampled row {rows.max()} of {len(self.ids)}"
        numbers = (self.sample, self.mean, self.variance, self.norms, list(self.statistics.values()))
        if not all(np.isfinite(part).all() for part in numbers):
            return "numbers that are not finite"
        if not np.array_equal(fingerprints(self.sample), self.fingerprints[rows]):
            return "sampled vectors that are not those of the fingerprints"
        return None


def _damaged(directory: Path, found: str) -> BadInput:
    return BadInput(f"profile {directory}", found=found, expected="a profile as it was written", next_step=_NEXT_STEP)


@dataclass(frozen=True)
class Measured:
    """One embedding table, measured."""

    rows: pd.DataFrame
    """A row per row of the table in its order, then one per owner that is not in it. Columns: the key; ``known``, the
    entity is an owner; ``present``, there is a row; ``width``, components found; ``nonfinite``, components that are NaN
    or infinite; ``zero``, no component is other than 0; ``constant``, all equal, but not 0; ``norm``, Euclidean;
    ``relative_norm``, over the median of sound vectors; ``repeated``, bit for bit what an earlier row holds for another
    entity; ``near_duplicate``, nearly so; ``fp16_error``, relative error of rounding to float16; ``clipped``,
    components at the limit of their dimension that others share. From ``nonfinite`` on null where there is no vector
    of the right width; ``relative_norm`` and ``repeated`` also where it is zero. ``near_duplicate`` and ``clipped``
    are said of the newest sound row of each entity, and False and 0 of others."""
    profile: Profile


def dead_dimensions(variance: npt.NDArray[np.float64]) -> Rows:
    """Numbers of the dimensions that do not vary: variance 0, or below a millionth of the median one's."""
    if not len(variance):
        return np.zeros(0, np.int64)
    return np.flatnonzero((variance <= 0) | (variance < _DEAD * np.median(variance)))


def newly_dead(before: Profile, now: Profile) -> Rows:
    """Numbers of the dimensions that varied before and do not now.

    One that hardly varied (a hundredth of the median variance) is left out: rectified features that fire once in
    thousands of vectors may well be silent in the next thousands.
    """
    lively = before.variance > _LIVELY * np.median(before.variance)
    return np.intersect1d(np.flatnonzero(lively), dead_dimensions(now.variance))


def measure_vectors(
    embeddings: pa.Table, owners: pa.Table, key: str, spec: EmbeddingSpec, known: pa.Array | None = None
) -> Measured:
    """Measure a table of vectors, whatever is in it, a bounded number of rows at a time.

    Args:
        embeddings: An ``embedding_<name>`` table; an entity may have several rows.
        owners: The table of the entities, such as ``videos``.
        key: The column that names them.
        spec: What the table's vectors should be.
        known: Ids that the accepted snapshot has vectors of. Of a large table the sample holds few of the others, so
            vectors of up to 4,096 of them are kept at hand besides; None keeps none.

    Returns:
        Facts of all rows, and the profile over the newest sound row of each entity. Where nothing is sound, the
        profile is empty.
    """
    # Products of blocks are small: threads gain little, and lose tens of seconds where other work has the cores.
    with threadpool_limits(limits=1, user_api="blas"):
        return _measured(embeddings, owners, key, spec, known)


def _measured(
    embeddings: pa.Table, owners: pa.Table, key: str, spec: EmbeddingSpec, known: pa.Array | None
) -> Measured:
    blocks = Blocks(embeddings["vector"], spec.width)
    facts = row_facts(blocks)
    sound = blocks.right & (facts.nonfinite == 0) & (facts.norm > 0)
    entities = entities_of(embeddings, owners, key, sound)
    newest = np.flatnonzero(entities.newest)
    ids = entities.ids.take(pa.array(newest))
    sampled = sample_rows(ids)
    sample = blocks.take(newest[sampled])
    beyond = rows_beyond(ids, sampled, known)
    centre = sample.mean(axis=0, dtype=np.float64) if len(sample) else np.zeros(spec.width)
    found = moments(blocks, entities.newest, centre.astype(np.float32))

    moving = blocks.right & (facts.norm > 0)
    repeated = repeats(facts.fingerprint, entities.numbers, moving)
    again = repeats(facts.fingerprint, entities.numbers, entities.newest)
    distinct = ~again[newest]
    near = np.zeros(len(again), bool)
    typical = float(np.sqrt(2 * found.variance.sum()))
    kept = newest[distinct]
    near[kept] = near_duplicates(blocks, kept, found.codes[distinct], found.order[distinct], typical)
    clipped = clipped_components(blocks, entities.newest & ~again, found)

    # A norm of float32 components may lie beyond float32.
    norms = np.minimum(facts.norm[newest], np.finfo(np.float32).max).astype(np.float32)
    shape = spectrum(sample)
    values, errors = _statistics(norms, sample, shape)
    values |= entities.statistics
    if blocks.right.any():
        values["zero_share"] = float((facts.norm[blocks.right] == 0).mean())
        values["constant_share"] = float(facts.constant[blocks.right].mean())
    if len(newest):
        values["repeated_share"] = float(again[newest].mean())
        values["near_duplicate_share"] = float(near[newest].mean())
        values["norm_outlier_share"] = norm_outlier_share(norms)
        values["clipped_share"] = float((clipped[newest] > 0).mean())
    if len(newest) > 1:
        values["dead_dimensions"] = float(len(dead_dimensions(found.variance)))
        values["relative_spread"] = _relative_spread(found)
    profile = Profile(
        width=spec.width,
        ids=ids,
        fingerprints=facts.fingerprint[newest],
        norms=norms,
        sample_rows=sampled,
        sample=sample,
        mean=found.mean,
        variance=found.variance,
        spectrum=np.zeros(0) if shape is None else shape.eigenvalues,
        statistics=values,
        errors=errors,
        beyond_rows=beyond,
        beyond=blocks.take(newest[beyond]),
    )
    median = float(np.median(facts.norm[newest])) if len(newest) else np.nan
    return Measured(rows_frame(key, blocks, entities, facts, median, repeated, near, clipped), profile)


def _relative_spread(found: Moments) -> float:
    """Standard deviation of the vectors over their root mean square: near 0 where all are one vector and some noise."""
    spread = float(found.variance.sum())
    square = spread + float((found.mean**2).sum())
    return float(np.sqrt(spread / square)) if square > 0 else 0.0


def _statistics(norms: Floats, sample: Floats, shape: Spectrum | None) -> tuple[dict[str, float], dict[str, float]]:
    """Statistics that have a standard error, and these."""
    measured = norm_statistics(norms)
    if shape is not None:
        measured["effective_rank"] = shape.effective_rank, shape.effective_rank_error
        measured["top_eigenvalue_share"] = shape.top_share, shape.top_share_error
    near = hubs(sample) if shape is not None else None
    if near is not None:
        measured["hub_share"] = near.share, near.share_error
        measured["hub_concentration"] = near.concentration, near.concentration_error
        measured["hubness_skewness"] = near.skewness, near.skewness_error
    finite = {name: pair for name, pair in measured.items() if np.isfinite(pair).all()}
    return {name: value for name, (value, _) in finite.items()}, {name: error for name, (_, error) in finite.items()}
