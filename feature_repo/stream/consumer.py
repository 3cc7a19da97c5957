"""The consumer: takes pushed batches in, lands them offline and brings the online store up to date."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.job_run import JobRun, new_job
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, TIMESTAMP, schema_of
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.sources import sources_of
from feature_repo.materialize import materialized_snapshot
from feature_repo.offline import current_snapshot, newest_snapshot_of, read_snapshot
from feature_repo.raw_tables import microseconds
from feature_repo.store import open_store, servers_answer
from feature_repo.stream.batch import Batch
from feature_repo.stream.inbox import Delivery, open_inbox
from feature_repo.stream.landing import Landing, other_encoder, table_in
from feature_repo.stream.states import StreamingStates
from feature_repo.views.catalogue import OF_MODALITIES, views_of

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
    repeated: int = 0
    """Rows of batches that had landed before."""
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
        self.dataset = current_snapshot(home).dataset
        self._landing = Landing(home, self.dataset)
        self._inbox = open_inbox(settings, home, self.dataset)
        self._database = Database(settings, home)
        self._based_on: tuple[str, str | None] | None = None
        self._states: StreamingStates | None = None
        self._newest = newest_snapshot_of(home, self.dataset)
        self._clock = 0  # microseconds
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
            with new_job(self._database, JOB_KIND, self.dataset, [self.dataset]) as run, servers_answer():
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
        while True:
            newest = newest_snapshot_of(self._home, self.dataset)
            served = materialized_snapshot(self._database, self._home, newest.id)
            if self._states is not None and self._based_on == (newest.id, served):
                return self._states
            landed = self._landing.tables(newest)
            if newest_snapshot_of(self._home, self.dataset).id != newest.id:
                continue  # a merge took files away that this snapshot does not have
            self._newest, self._states = newest, StreamingStates(self._home, newest, landed)
            self._clock = max(self._clock, self._states.known_until)
            store = open_store(self._settings, self._home, served or newest.id)
            alike = self._alike(newest, served or newest.id)
            self._online = {each.name: OnlineView(store, each) for each in sources_of(store) if each.name in alike}
            self._based_on = (newest.id, served)
            for table, rows in landed.items():
                self._put_online(self._states, table, rows)

    def _alike(self, newest: Snapshot, served: str) -> set[str]:
        """Views that mean the same in the newest snapshot and in the served one, which may have other encoders."""
        if served == newest.id:
            return set(views_of(self._home, newest))
        try:
            older = read_snapshot(self._home, served)
        except NotFound:  # its tables were removed; its online features are still there
            return {name for name, view in views_of(self._home, newest).items() if view.family not in OF_MODALITIES}
        ours, theirs = views_of(self._home, newest), views_of(self._home, older)
        same_encoders = newest.video_modalities == older.video_modalities
        return {name for name in ours.keys() & theirs.keys() if same_encoders or ours[name].family not in OF_MODALITIES}

    def _take(self, states: StreamingStates, deliveries: list[Delivery]) -> None:
        begun = time.monotonic()
        fresh: dict[str, list[pa.Table]] = {}
        for delivery in deliveries:
            if delivery.batch is None:
                assert delivery.fault is not None
                self._landing.refuse(delivery.token.removesuffix(".parquet"), delivery.data, delivery.fault)
                self.taken.refused += 1
                continue
            batch = self._stamped(self._sifted(states, delivery.batch))
            if batch.rows.num_rows:
                kept = self._landing.land(batch)
                fresh.setdefault(kept.table, []).append(kept.rows)
                if kept is batch:
                    states.add(batch.table, batch.rows)
                    self.taken.rows += batch.rows.num_rows
                    self.taken.tables[batch.table] = self.taken.tables.get(batch.table, 0) + batch.rows.num_rows
                elif kept.rows.drop_columns("ingested_at").equals(batch.rows.drop_columns("ingested_at")):
                    self.taken.repeated += batch.rows.num_rows
                else:
                    self._refuse(
                        delivery.batch, batch.rows, "reused", "rows under an id that others landed under before"
                    )
            self.taken.batches += 1
        for table, parts in fresh.items():
            self._put_online(states, table, pa.concat_tables(parts))
        for delivery in deliveries:
            self._inbox.confirm(delivery)
        self.taken.slowest_s = max(self.taken.slowest_s, time.monotonic() - begun)

    def _sifted(self, states: StreamingStates, batch: Batch) -> Batch:
        """The batch without the rows that cannot be taken in; those are set aside with the reason."""
        table = table_in(self._newest, batch)
        if batch.dataset != self.dataset or table is None:
            reason = other_encoder(batch, self._newest) if table is None else None
            self._refuse(batch, batch.rows, "elsewhere", f"rows of the data set {batch.dataset!r}", reason)
            return replace(batch, rows=batch.rows.slice(0, 0))
        references = _REFERENCES.get(table, {})
        if table.startswith(EMBEDDING_PREFIX):
            key = schema_of(table).names[0]
            references = {key: key.removesuffix("_id")}
        known = np.ones(batch.rows.num_rows, bool)
        for column, entity in references.items():
            known &= states.known(entity, batch.rows[column])
        other = known & states.contradicted(table, batch.rows)
        named = ", ".join(references)
        self._refuse(batch, batch.rows.filter(pa.array(~known)), "unknown", f"an unknown {named}")
        self._refuse(batch, batch.rows.filter(pa.array(other)), "differs", "another row of a key that is there already")
        return replace(batch, table=table, rows=batch.rows.filter(pa.array(known & ~other)))

    def _stamped(self, batch: Batch) -> Batch:
        """The batch, known from now on: one clock that never goes back, so that what is taken in later is newer."""
        self._clock = max(self._clock, microseconds(utc_now()))
        happened = np.asarray(batch.rows["event_time"].cast(pa.int64()))
        known = pa.array(np.maximum(happened, self._clock)).cast(TIMESTAMP)
        schema = batch.rows.schema
        rows = batch.rows.set_column(schema.get_field_index("ingested_at"), schema.field("ingested_at"), known)
        return replace(batch, rows=rows)

    def _refuse(self, batch: Batch, rows: pa.Table, tag: str, what: str, reason: BadInput | None = None) -> None:
        if not rows.num_rows:
            return
        first = rows.slice(0, 1).to_pylist()[0]
        shown = ", ".join(f"{name} {value!r}" for name, value in first.items() if isinstance(value, str))
        told = reason or BadInput(
            f"batch {batch.id} for table {batch.table}",
            found=f"{what} in {rows.num_rows:,} of {batch.rows.num_rows:,} rows, the first {shown}",
            expected=f"rows about users, videos and music that the data set {self.dataset!r} has, each said once",
            next_step="push what is missing first, then these rows again under a new batch id",
        )
        self._landing.refuse(f"{batch.table}.{batch.id}.{tag}", replace(batch, rows=rows).to_bytes(), told)
        self.taken.refused += rows.num_rows

    def _put_online(self, states: StreamingStates, table: str, rows: pa.Table) -> None:
        for view, newest in states.changed(table, rows):
            if view.name in self._online:  # what is served may be an older snapshot, without the newest revisions
                self.taken.online += self._online[view.name].write(newest)
