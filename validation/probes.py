"""Golden probes: a few items of every embedding table encoded again, and compared with the table and with last time.

Two comparisons tell two faults apart. Stored against encoded now: rows that carry other items' vectors, another
encoder than the spec says, damaged writing. Encoded now against encoded when a report was last accepted, for items
whose media are the same: an encoder that has drifted under an unchanged revision, by other weights, other preprocessing
or another version of a library, even if the whole table was encoded anew with it.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.console import progress
from contracts.database import Database
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BackbeatError
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS
from feature_repo.encoders.probe import Reencoded, Reencoder
from validation.golden import GoldenSet
from validation.statistics.sampling import sample_rows

__all__ = ["GOLDEN", "NEWEST", "TOLERANCE", "Probe", "Probed", "not_probed", "probe_tables"]

GOLDEN = 8
"""Items of a table that are encoded again in every run, the same ones as long as they are there."""
NEWEST = 4
"""Items encoded again because they came last: an encoder breaks for what is new first."""
TOLERANCE = 0.01
"""Distance, in standard deviations of the table, below which two encodings of one item are the same."""

_SECONDS = 60.0
_BLOCK = 65_536
_RUN, _RUNS = 64, 64
"""Rows in a row, and so many of these, that standard deviations are taken from."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """How items of one embedding table came out when they were encoded again.

    Distances are root mean squares over dimensions of differences in the table's standard deviations: two items that
    have nothing to do with each other lie about 1.4 apart.
    """

    probed: int = 0
    """Items that were encoded again."""
    worst: float | None = None
    """Largest distance between stored and encoded now, of items whose media are those that were encoded; None without
    any."""
    median: float | None = None
    drift: float | None = None
    """Largest distance between encoded now and encoded when a report was last accepted, of golden items with unchanged
    media; None without any."""
    compared: int = 0
    """Golden items that ``drift`` is about."""
    farthest: tuple[tuple[str, float], ...] = ()
    """Items further than ``TOLERANCE`` from what is stored, or from last time: id and distance, the farthest first."""
    moved: tuple[tuple[str, str], ...] = ()
    """Of those: id, and the id at which the table has its vector instead."""
    stale: tuple[str, ...] = ()
    """Items whose text or media have changed since their stored vector was made."""
    unread: tuple[tuple[str, str], ...] = ()
    """Items that cannot be encoded now: id and why, such as a file that is gone."""
    seconds: float = 0.0
    """What it took, loading the weights included."""
    reason: str | None = None
    """Why nothing was probed."""

    @property
    def text(self) -> str:
        """What came out, in a sentence."""
        if self.reason is not None:
            return f"not probed: {self.reason}"
        parts = [f"{self.probed} items encoded again in {self.seconds:.1f} s"]
        if self.worst is not None:
            parts.append(f"at most {self.worst:.3g} standard deviations from the stored vectors")
        if self.drift is not None:
            parts.append(f"at most {self.drift:.3g} from last time ({self.compared} items)")
        if self.moved:
            parts.append(f"the vector of {self.moved[0][0]} stands at {self.moved[0][1]}")
        if self.stale:
            parts.append(f"media of {len(self.stale)} changed since they were encoded, such as {self.stale[0]}")
        if self.unread:
            parts.append(f"{len(self.unread)} cannot be encoded, such as {': '.join(self.unread[0])}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Probed:
    """The probes of a snapshot, and what is kept of them."""

    probes: dict[str, Probe] = field(default_factory=dict)
    """Name of the embeddings → how its items came out."""
    golden: dict[str, GoldenSet] = field(default_factory=dict)
    """Digest of the spec → what the next report is to compare with."""


def probe_tables(
    settings: Settings,
    home: Home,
    database: Database,
    snapshot: Snapshot,
    tables: Mapping[str, pa.Table],
    golden: Mapping[str, GoldenSet],
    *,
    seconds: float = _SECONDS,
) -> Probed:
    """Encode a few items of every embedding table again, and compare.

    Args:
        settings: Say on which device.
        home: Where the snapshot and its media are.
        database: With the jobs that encoded.
        snapshot: Whose tables.
        tables: Its tables by name; one of embeddings is read only if its encoder is there.
        golden: Digest of a spec → items of the last accepted report; none without one.
        seconds: For one table: no further item is begun afterwards.

    Returns:
        A probe for every table. Missing media, weights or encoders are told in it, never raised.
    """
    probes: dict[str, Probe] = {}
    kept: dict[str, GoldenSet] = {}
    for name, spec in snapshot.embeddings.items():
        began = time.monotonic()
        before = golden.get(spec.digest)
        try:
            encoder = Reencoder.of_spec(settings, home, database, snapshot, spec)
        except BackbeatError as error:
            probe, after = Probe(reason=f"{error.subject}: {error.found}"), before
        except Exception as error:  # noqa: BLE001 - whatever a library raises while it loads weights is no verdict on data
            probe, after = Probe(reason=f"its encoder cannot be loaded: {type(error).__name__}: {error}"), before
        else:
            probe, after = _probe(encoder, spec, tables[EMBEDDING_PREFIX + name], before, began, seconds)
        probes[name] = probe
        if after is not None:
            kept[spec.digest] = after
    return Probed(probes, kept)


def not_probed(snapshot: Snapshot, golden: Mapping[str, GoldenSet], reason: str) -> Probed:
    """What stands where nothing was to be encoded: no results, and the golden items of before are carried on."""
    specs = {spec.digest for spec in snapshot.embeddings.values()}
    kept = {digest: items for digest, items in golden.items() if digest in specs}
    return Probed({name: Probe(reason=reason) for name in snapshot.embeddings}, kept)


def _probe(
    encoder: Reencoder, spec: EmbeddingSpec, table: pa.Table, before: GoldenSet | None, began: float, seconds: float
) -> tuple[Probe, GoldenSet | None]:
    ids, known, vectors = (table[name] for name in (ENTITY_KEYS[spec.entity], "ingested_at", "vector"))
    golden, newest = _chosen(ids, known, encoder, before)
    found: list[Reencoded] = []
    with progress(f"encoding {spec.name} again, to compare", len(golden) + len(newest)) as advance:
        for item_id in (*golden, *newest):
            found.append(encoder.encode(item_id))
            advance(1)
            if time.monotonic() - began > seconds:
                break
    encoded = {item.id: item.vector for item in found if item.vector is not None}
    stale = tuple(item.id for item in found if item.encoded_before is False)
    scale = _scale(vectors, spec.width)
    off = {
        item_id: _distance(encoded[item_id], vector, scale)
        for item_id, vector in _stored(vectors, ids, known, list(encoded), spec.width).items()
        if item_id not in stale
    }
    drift: dict[str, float] = {}
    for item in found:
        then = None if before is None else before.get(item.id, item.content)
        if item.vector is not None and then is not None:
            drift[item.id] = _distance(item.vector, then, scale)
    worst = {item_id: max(off.get(item_id, 0.0), drift.get(item_id, 0.0)) for item_id in encoded}
    wrong = {item_id: encoded[item_id] for item_id in off if off[item_id] > TOLERANCE}
    probe = Probe(
        probed=len(encoded),
        worst=max(off.values(), default=None),
        median=float(np.median(list(off.values()))) if off else None,
        drift=max(drift.values(), default=None),
        compared=len(drift),
        farthest=tuple(
            sorted((pair for pair in worst.items() if pair[1] > TOLERANCE), key=itemgetter(1), reverse=True)
        ),
        moved=tuple(_whereabouts(vectors, ids, wrong, scale).items()),
        stale=stale,
        unread=tuple((item.id, item.reason) for item in found if item.reason is not None),
        seconds=time.monotonic() - began,
        reason=None if found else "no item of the table has text or media that its encoder reads",
    )
    return probe, _kept(found, golden, before, drift)


def _chosen(
    ids: pa.ChunkedArray, known: pa.ChunkedArray, encoder: Reencoder, before: GoldenSet | None
) -> tuple[list[str], list[str]]:
    """Golden items, those of before first, then by the smallest hash of the id; and the newest of the others."""
    order = sample_rows(ids.combine_chunks(), len(ids))
    names = ids.to_numpy()[order]
    there = set() if before is None else set(names.tolist()).intersection(before.ids)
    former = [item_id for item_id in (before.ids if before is not None else ()) if item_id in there]
    golden = _first(chain(former, names), encoder, GOLDEN, ())
    newest = names[np.argsort(-_instants(known)[order], kind="stable")]
    return golden, _first(newest, encoder, NEWEST, golden)


def _first(names: Iterable[str], encoder: Reencoder, count: int, others: Sequence[str]) -> list[str]:
    """The first of the names that have something to encode, each once and none of the others."""
    out: list[str] = []
    for name in names:
        if name not in out and name not in others and encoder.has_input(name):
            out.append(name)
            if len(out) == count:
                break
    return out


def _stored(
    vectors: pa.ChunkedArray, ids: pa.ChunkedArray, known: pa.ChunkedArray, wanted: list[str], width: int
) -> dict[str, Floats]:
    """Id → the vector of its newest row; items with an unsound one, which the rows' rules name, are left out."""
    places = pc.index_in(ids, value_set=pa.array(wanted, pa.string())).fill_null(-1).to_numpy()
    rows = np.flatnonzero(places >= 0)
    rows = rows[np.argsort(_instants(known)[rows], kind="stable")]
    newest = dict(zip(places[rows].tolist(), rows.tolist(), strict=True))
    found = {wanted[place]: _sound(vectors.slice(row, 1), width)[1] for place, row in newest.items()}
    return {item_id: matrix[0] for item_id, matrix in found.items() if len(matrix)}


def _scale(vectors: pa.ChunkedArray, width: int) -> Doubles:
    """Standard deviation of every dimension, ``[width]``, from evenly spread rows.

    Of a dimension that hardly varies it is a thousandth of its size, and a ten-thousandth of all dimensions': a
    difference there that is no rounding is still large.
    """
    runs = -(-len(vectors) // _RUN)
    starts = np.unique(np.linspace(0, runs - 1, min(runs, _RUNS)).astype(np.int64)) * _RUN
    parts = [_sound(vectors.slice(start, _RUN), width)[1] for start in starts.tolist()]
    sample = np.concatenate([np.empty((0, width), np.float32), *parts]).astype(np.float64)
    if not len(sample):
        return np.ones(width)
    size = np.sqrt(np.mean(np.square(sample), axis=0))
    floor = np.maximum(1e-3 * size, 1e-4 * np.sqrt(np.mean(np.square(size))))
    scale = np.maximum(sample.std(axis=0), floor)
    return np.where(scale > 0, scale, 1.0)


def _distance(left: Floats, right: Floats, scale: Doubles) -> float:
    return float(np.sqrt(np.mean(np.square((left.astype(np.float64) - right) / scale))))


def _whereabouts(
    vectors: pa.ChunkedArray, ids: pa.ChunkedArray, wrong: Mapping[str, Floats], scale: Doubles
) -> dict[str, str]:
    """Id → the id at which the table has the vector that the item is encoded to; those found only."""
    found: dict[str, str] = {}
    reach = TOLERANCE * np.sqrt(len(scale)) * scale[0]  # no vector within the tolerance differs more in one dimension
    for start in range(0, len(vectors) if wrong else 0, _BLOCK):
        rows, matrix = _sound(vectors.slice(start, _BLOCK), len(scale))
        for item_id, vector in wrong.items():
            for near in np.flatnonzero(np.abs(matrix[:, 0] - vector[0]) <= reach).tolist():
                other = ids[start + int(rows[near])].as_py()
                if other != item_id and _distance(matrix[near], vector, scale) <= TOLERANCE:
                    found.setdefault(item_id, other)
    return found


def _sound(vectors: pa.ChunkedArray, width: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Rows whose vectors are of the right width and finite, ``[n]``, and these vectors, ``[n, width]``."""
    right = pc.fill_null(pc.equal(pc.list_value_length(vectors), width), False)
    values = vectors.filter(right).combine_chunks().flatten()
    matrix = np.asarray(values.to_numpy(zero_copy_only=False), np.float32).reshape(-1, width)
    finite = np.isfinite(matrix).all(axis=1)
    return np.flatnonzero(right.to_numpy())[finite], matrix[finite]


def _instants(times: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(times.cast(pa.int64()).to_numpy())


def _kept(
    found: list[Reencoded], golden: list[str], before: GoldenSet | None, drift: Mapping[str, float]
) -> GoldenSet | None:
    """What the next report is to compare the golden items with.

    The first encoding that was accepted stays as long as the item and its media are the same: so an encoder that drifts
    little by little is told in the end. An item that cannot be encoded now keeps what it had.
    """
    rows: dict[str, tuple[str, Floats]] = {}
    if before is not None:
        rows = {
            item_id: (content, vector)
            for item_id, content, vector in zip(before.ids, before.contents, before.vectors, strict=True)
        }
    for item in found:
        if item.vector is not None and drift.get(item.id, np.inf) > TOLERANCE:
            rows[item.id] = item.content, item.vector
    kept = [item_id for item_id in golden if item_id in rows]
    if not kept:
        return before
    contents, vectors = zip(*(rows[item_id] for item_id in kept), strict=True)
    return GoldenSet(tuple(kept), tuple(contents), np.stack(vectors))
