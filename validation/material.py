"""What is judged: a snapshot's tables, and what was accepted before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, TABLES

if TYPE_CHECKING:
    from feature_repo.views.clusters import Centres
    from validation.probes import Probe
    from validation.statistics.profile import Profile

__all__ = ["CLUSTERS_TABLE", "MARGIN", "MOST_BY_ROW", "Baseline", "Material", "history_key"]

CLUSTERS_TABLE = "clusters"
"""Stands for a table where the content clusters are judged, which are computed from several."""
MARGIN = "margin_"
"""Begins the name of a statistic: how much better an item's own vector of another modality goes with it."""
MOST_BY_ROW = 0.01
"""Where a larger share of a table's rows offend, it is not the rows that are at fault."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """The last accepted snapshot of the same data set, and what accepted reports measured."""

    snapshot: Snapshot
    profiles: Mapping[str, "Profile"]
    """Digest of a spec → what was kept of its vectors."""
    history: Mapping[str, Sequence[Mapping[str, float]]]
    """:func:`history_key` → statistics in accepted reports, oldest first, at most 20; the last is of ``snapshot``."""


@dataclass(frozen=True)
class Material:
    """A snapshot with its tables at hand, and what to hold them against."""

    snapshot: Snapshot
    tables: Mapping[str, pa.Table]
    """Read when they are asked for: a table of vectors is taken once and let go."""
    now: datetime
    """The instant of the judgement."""
    baseline: Baseline | None = None
    """None where nothing was accepted yet: then absolute rules alone judge."""
    probes: Mapping[str, "Probe"] = field(default_factory=dict)
    """Name of embeddings → how items came out that were encoded again."""
    expected: Mapping[str, Mapping[str, EmbeddingSpec]] = field(default_factory=dict)
    """Who expects embeddings, such as ``champion 3`` → modality → the spec it was made for."""
    centres: "Centres | None" = None
    """Of the content clusters, where the data set has some already."""
    replaced: frozenset[str] = frozenset()
    """Tables of vectors that the accepted ones stand in for: what came since has none."""

    def rows(self, table: str) -> pa.Table:
        """A table of rows, without any where the snapshot does not have it."""
        return self.tables[table] if table in self.snapshot.tables else TABLES[table].empty_table()

    @property
    def vector_tables(self) -> list[str]:
        """The tables of vectors there are, and those there should be: in use when last accepted, or expected."""
        wanted = {EMBEDDING_PREFIX + name for name in self.snapshot.embeddings}
        if self.baseline is not None:
            wanted |= {EMBEDDING_PREFIX + spec.name for spec in self.baseline.snapshot.embeddings.values()}
        wanted |= {EMBEDDING_PREFIX + spec.name for specs in self.expected.values() for spec in specs.values()}
        return sorted(wanted)

    def spec(self, table: str) -> EmbeddingSpec:
        """The spec of a table of vectors; that of a missing one is what it should be."""
        name = table.removeprefix(EMBEDDING_PREFIX)
        if name in self.snapshot.embeddings:
            return self.snapshot.embeddings[name]
        accepted = {} if self.baseline is None else self.baseline.snapshot.embeddings
        if name in accepted:
            return accepted[name]
        return next(s for specs in self.expected.values() for s in specs.values() if s.name == name)

    def history(self, table: str) -> Sequence[Mapping[str, float]]:
        """Statistics in accepted reports of a table, or of vectors of its spec whatever their table, oldest first."""
        if self.baseline is None:
            return ()
        vectors = table.startswith(EMBEDDING_PREFIX)
        key = self.spec(table).digest if vectors else history_key(self.snapshot, table)
        return self.baseline.history.get(key or "", ())


def history_key(snapshot: Snapshot, table: str) -> str | None:
    """What a table's statistics are learned under.

    Vectors go by their spec, for a revision changes its table when it is put in use, and the content clusters by the
    specs of all of the videos' vectors. None for vectors that the snapshot does not have.
    """
    if table.startswith(EMBEDDING_PREFIX):
        spec = snapshot.embeddings.get(table.removeprefix(EMBEDDING_PREFIX))
        return None if spec is None else spec.digest
    if table == CLUSTERS_TABLE:
        return " ".join([table, *(spec.digest for spec in snapshot.video_modalities.values())])
    return table
