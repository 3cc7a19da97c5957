"""The consumer: takes pushed batches in, lands them offline and brings the online store up to date."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa

from contracts.database import Database
from contracts.errors import BadInput
from contracts.home import Home
from contracts.job_run import JobRun, new_job
from contracts.settings import Settings
from contracts.tables import EMBEDDING_PREFIX, schema_of
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.sources import sources_of
from feature_repo.materialize import materialized_snapshot
from feature_repo.offline import current_snapshot, newest_snapshot_of
from feature_repo.store import open_store, servers_answer
from feature_repo.stream.batch import Batch
from feature_repo.stream.inbox import Delivery, open_inbox
from feature_repo.stream.landing import Landing
from feature_repo.stream.states import StreamingStates

__all__ = ["JOB_KIND", "Consumer", "Taken"]

JOB_KIND = "stream"
_WAIT_S = 0.5

_REFERENCES = {
    "interactions": {"user_id": "user", "video_id": "video"},
    "listens": {"user_id": "user", "music_id": "music"},
    "posts": {"user_id": "user"},
    "edges": {"source_id": "user", "target_id": "user"},
}
"""Pushed table → its columns that must name entities which are known."""


@dataclass
class Taken:
    """What a consumer has done so far."""

    batches: int = 0
    rows: int = 0
    refused: int = 0
    """Rows set aside, and unreadable batches."""
    online: int = 0
    """Rows written to the online store."""
    slowest_s: float = 0.0
    """The longest it took from reading a batch to its rows being online, in seconds."""
    tables: dict[str, int] = field(default_factory=dict)


class Consumer:
    """Takes in what is pushed for the current snapshot's data set; one at a time for each data set.

    A batch is confirmed after its rows have landed and are online, so a consumer killed anywhere leaves it to the
    next one, which finds it landed and writes the same online rows again.

    Args:
        settings: Name the profile.
        home: Which home.

    Raises:
        NotFound: Nothing was ingested.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._dataset = current_snapshot(home).dataset
        self._landing = Landing(home, self._dataset)
        self._inbox = open_inbox(settings, home)
        self._database = Database(settings, home)
        self._based_on: tuple[str, str] | None = None
        self._states: StreamingStates | None = None
        self._online: dict[str, OnlineView] = {}
        self.taken = Taken()

    def run(self, once: bool = False, told: Callable[[Taken], None] | None = None) -> JobRun:
        """Take batches in, as a job that others can watch, pause and cancel, until told to stop.

        Args:
            once: Stop as soon as nothing is waiting.
            told: Called at the start and after every round in which something came.

        Raises:
            Conflict: Another consumer is at work on the data set.
            ServiceUnavailable: A server of the production profile does not answer.
        """
        try:
            with new_job(self._database, JOB_KIND, self._dataset, [self._dataset]) as run, servers_answer():
                while True:
                    states = self._ready()
                    if told is not None and self.taken == Taken():
                        told(self.taken)
                    deliveries = self._inbox.waiting(0 if once else _WAIT_S)
                    if deliveries:
                        self._take(states, deliveries)
                        if told is not None:
                            told(self.taken)
                    run.detail |= asdict(self.taken)
                    run.save({}, done=self.taken.batches, total=self.taken.batches, rows=self.taken.rows)
                    if once and not deliveries:
                        break
        finally:
            self._database.close()
        return run

    def _ready(self) -> StreamingStates:
        """States on the newest snapshot, and online what has landed since, also after another snapshot took over."""
        newest = newest_snapshot_of(self._home, self._dataset)
        served = materialized_snapshot(self._database, self._home, newest.id) or newest.id
        if self._states is None or self._based_on != (newest.id, served):
            landed = self._landing.tables()
            self._states = StreamingStates(self._home, newest, landed)
            store = open_store(self._settings, self._home, served)
            self._online = {source.name: OnlineView(store, source) for source in sources_of(store)}
            self._based_on = (newest.id, served)
            for table, rows in landed.items():
                self._put_online(self._states, table, rows)
        return self._states

    def _take(self, states: StreamingStates, deliveries: list[Delivery]) -> None:
        begun = time.monotonic()
        fresh: dict[str, list[pa.Table]] = {}
        for delivery in deliveries:
            if delivery.batch is None:
                assert delivery.fault is not None
                self._landing.refuse(delivery.token.removesuffix(".parquet"), delivery.data, delivery.fault)
                self.taken.refused += 1
            elif delivery.batch.dataset != self._dataset:
                Landing(self._home, delivery.batch.dataset).land(delivery.batch)  # for the day it is current again
            else:
                batch = self._sifted(states, delivery.batch)
                if batch.rows.num_rows and self._landing.land(batch):
                    states.add(batch.table, batch.rows)
                fresh.setdefault(batch.table, []).append(batch.rows)
                self.taken.batches += 1
                self.taken.rows += batch.rows.num_rows
                self.taken.tables[batch.table] = self.taken.tables.get(batch.table, 0) + batch.rows.num_rows
        for table, parts in fresh.items():
            self._put_online(states, table, pa.concat_tables(parts))
        for delivery in deliveries:
            self._inbox.confirm(delivery)
        self.taken.slowest_s = max(self.taken.slowest_s, time.monotonic() - begun)

    def _sifted(self, states: StreamingStates, batch: Batch) -> Batch:
        """The batch without the rows that name somebody unknown; those are set aside."""
        references = _REFERENCES.get(batch.table, {})
        if batch.table.startswith(EMBEDDING_PREFIX):
            key = schema_of(batch.table).names[0]
            references = {key: key.removesuffix("_id")}
        known = np.ones(batch.rows.num_rows, bool)
        for column, entity in references.items():
            known &= states.known(entity, batch.rows[column])
        if known.all():
            return batch
        refused = Batch(batch.id, batch.dataset, batch.table, batch.rows.filter(pa.array(~known)))
        first = refused.rows.slice(0, 1).select(list(references)).to_pylist()[0]
        self._landing.refuse(
            batch.id,
            refused.to_bytes(),
            BadInput(
                f"batch {batch.id} for table {batch.table}",
                found=f"{refused.rows.num_rows:,} of {batch.rows.num_rows:,} rows that name unknown ids, the first "
                + ", ".join(f"{column} {value!r}" for column, value in first.items()),
                expected=f"ids that the data set {batch.dataset!r} has",
                next_step="push the missing users, videos or music first, then these rows again under a new batch id",
            ),
        )
        self.taken.refused += refused.rows.num_rows
        return Batch(batch.id, batch.dataset, batch.table, batch.rows.filter(pa.array(known)))

    def _put_online(self, states: StreamingStates, table: str, rows: pa.Table) -> None:
        for view, newest in states.changed(table, rows):
            if view.name in self._online:  # what is served may be an older snapshot, without the newest revisions
                self.taken.online += self._online[view.name].write(newest)
