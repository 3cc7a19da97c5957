"""What a model is fitted on: interactions by row number and the features of one feature service.

Behaviour stands as of the end of training, content as of the end of the data: see ADR 2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from contracts.clock import to_utc
from contracts.embeddings import EmbeddingSpec
from contracts.errors import NotFound
from contracts.home import Home
from contracts.reports import AcceptedReport
from contracts.settings import Settings
from contracts.snapshot import Snapshot, SplitInstants
from contracts.tables import EMBEDDING_PREFIX, TIMESTAMP
from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.definitions import ENTITIES
from feature_repo.historical import historical_features
from feature_repo.offline import current_snapshot, read_snapshot, read_table
from feature_repo.raw_tables import microseconds
from feature_repo.services import service_views
from feature_repo.views.builder import BuildContext, schema_of_view
from feature_repo.views.builders import builders_of
from feature_repo.views.catalogue import views_of
from feature_repo.views.history import HISTORY_LENGTH
from feature_repo.views.moments import MOMENT
from feature_repo.views.sequences import arrivals_of
from feature_repo.views.vectors import vector_changes

__all__ = [
    "TrainingFrame",
    "common_vocabularies",
    "frame_of_tables",
    "load_test_pairs",
    "load_training_frame",
    "load_unjudged_frame",
]

Pairs = npt.NDArray[np.int64]

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class TrainingFrame:
    """Training and validation pairs with the features of users and videos.

    What users did (``history``, ``popularity``) is what was known before ``snapshot.split.train_until``. What videos
    are (``modalities``) is what was known in the end, when the last row of the snapshot came in: a vector is no label,
    and videos published after training ended are those that content is for.

    Rows number the vocabularies: U users, N items. The test split is not here, on purpose.
    """

    snapshot: Snapshot
    feature_service: str
    users: Vocabulary
    items: Vocabulary
    train: Pairs
    """``[n, 2]`` user row and item row in order of arrival, each pair once."""
    validation: Pairs
    """``[m, 2]`` likewise; pairs that are in ``train`` are left out."""
    modalities: dict[str, npt.NDArray[np.float32]]
    """Modality → ``[N, width]`` in order of name; zeros where the item has no vector."""
    missing: dict[str, npt.NDArray[np.bool_]]
    """Modality → ``[N]``, true where the item has no vector."""
    specs: dict[str, EmbeddingSpec]
    """Modality → what made its vectors."""
    history: npt.NDArray[np.int64]
    """``[U, 50]`` item rows, oldest first, padded with -1 on the right."""
    popularity: npt.NDArray[np.int64]
    """``[N]`` views."""
    contexts: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]] = field(default_factory=dict)
    """Name → ``[E, width]`` of what a request brings: float32, or int64 row numbers."""
    train_context: npt.NDArray[np.int64] | None = None
    """``[n]`` row in ``contexts`` of each training pair; None where requests bring nothing."""
    validation_context: npt.NDArray[np.int64] | None = None
    """``[m]`` likewise of each validation pair."""
    networks: dict[str, csr_array] = field(default_factory=dict)
    """Network → ``[U, U]`` float32 weights of the edges, from row to column, known before the cut."""
    texts: tuple[str | None, ...] | None = None
    """``[N]`` a text of each item, None where it has none; None where the data have no texts at all."""


def load_training_frame(settings: Settings, home: Home, feature_service: str, report: AcceptedReport) -> TrainingFrame:
    """What a model is fitted on, of a snapshot that was let through the gate; the rest as of the next function.

    Args:
        settings: Name the profile.
        home: Where the snapshot is.
        feature_service: Which features.
        report: As :func:`contracts.reports.require_passed` gives it.
    """
    return load_unjudged_frame(settings, home, feature_service, read_snapshot(home, report.snapshot))


def load_unjudged_frame(
    settings: Settings, home: Home, feature_service: str, snapshot: Snapshot | None = None
) -> TrainingFrame:
    """Read interactions from the offline tables and features from Feast, whatever the suites say about them.

    For looking only: nothing that is registered or served is made from it.

    Args:
        settings: Name the profile.
        home: Where the snapshot is.
        feature_service: Which features; its modalities decide what ``modalities`` holds.
        snapshot: Which data; the current snapshot if None.

    Raises:
        NotFound: The feature service is unknown, the snapshot lacks a table that it needs or has no interactions with
            videos, or its features are not applied.
    """
    snapshot = snapshot or current_snapshot(home)
    views = service_views(home, snapshot, feature_service)
    _require_interactions(snapshot)
    users, items = common_vocabularies(home, snapshot)
    train, validation, _ = _parts(home, snapshot, users, items)

    def features(vocabulary: Vocabulary, key: str, moment: datetime, references: list[str]) -> pa.Table:
        ids = pa.array(vocabulary.ids(range(len(vocabulary))), pa.string())
        rows = pa.table({key: ids, MOMENT: pa.repeat(pa.scalar(moment, TIMESTAMP), len(ids))})
        return historical_features(settings, home, references, rows, snapshot)

    # A row counts up to and including the moment asked for; training ends strictly before the cut.
    before_cut = snapshot.split.train_until - _INSTANT
    history = features(users, "user_id", before_cut, ["user_history:video_ids"])
    popularity = features(items, "video_id", before_cut, ["video_popularity:views"])["video_popularity__views"]
    specs = {name: spec for name, spec in snapshot.video_modalities.items() if spec.view in views}
    modalities, missing = {}, {}
    if specs:
        content = features(items, "video_id", _last_known(home, snapshot), [spec.view for spec in specs.values()])
        for modality, spec in specs.items():
            modalities[modality], missing[modality] = _matrix(content[f"{spec.view}__vector"], spec.width)
    return TrainingFrame(
        snapshot=snapshot,
        feature_service=feature_service,
        users=users,
        items=items,
        train=train,
        validation=validation,
        modalities=modalities,
        missing=missing,
        specs=specs,
        history=_padded(history["user_history__video_ids"].combine_chunks(), items),
        popularity=popularity.fill_null(0).to_numpy().astype(np.int64),
    )


def frame_of_tables(
    home: Home,
    snapshot: Snapshot,
    feature_service: str,
    embeddings: Mapping[str, str],
    *,
    users: Vocabulary,
    items: Vocabulary,
    split: SplitInstants | None = None,
) -> TrainingFrame:
    """The same from the offline tables alone, of a snapshot whose features were not applied; nothing is written.

    Made for data that did not pass its suites: a vector of another width than its spec's counts as none, those with
    NaN or infinite components stand as they are.

    Args:
        home: Where the snapshot is.
        snapshot: Which data.
        feature_service: The name that the frame is given.
        embeddings: Modality → name of the snapshot's embeddings to take.
        users: Who has a row; events of others are left out.
        items: Which videos have one.
        split: Where to cut the events; the snapshot's own split if None.

    Raises:
        NotFound: The snapshot has no interactions with videos, or a table's file is gone.
    """
    _require_interactions(snapshot)
    if split is not None:
        snapshot = snapshot.model_copy(update={"split": split})
    train, validation, _ = _parts(home, snapshot, users, items)
    events = read_table(home, snapshot, "interactions")
    events = events.filter(pa.array(arrivals_of(events) < microseconds(snapshot.split.train_until)))
    behaviour = dict(_newest_rows(home, snapshot, events, ("user_history", "video_popularity")))
    history = np.full((len(users), HISTORY_LENGTH), UNKNOWN, np.int64)
    popularity = np.zeros(len(items), np.int64)
    for rows, table in _known(users, behaviour["user_history"], "user_id"):
        history[rows] = _padded(table["video_ids"].combine_chunks(), items)
    for rows, table in _known(items, behaviour["video_popularity"], "video_id"):
        popularity[rows] = table["views"].to_numpy()
    specs = {modality: snapshot.embeddings[name] for modality, name in sorted(embeddings.items())}
    content = {modality: _newest_vectors(home, snapshot, embeddings[modality], items) for modality in specs}
    return TrainingFrame(
        snapshot=snapshot,
        feature_service=feature_service,
        users=users,
        items=items,
        train=train,
        validation=validation,
        modalities={modality: matrix for modality, (matrix, _) in content.items()},
        missing={modality: missing for modality, (_, missing) in content.items()},
        specs=specs,
        history=history,
        popularity=popularity,
    )


def common_vocabularies(home: Home, *snapshots: Snapshot) -> tuple[Vocabulary, Vocabulary]:
    """Users and videos of some snapshots in order of first appearance, so that row numbers mean the same in all.

    Raises:
        NotFound: A snapshot has no such table.
    """
    users, items = (
        Vocabulary(pa.chunked_array(chunks, pa.string()).unique().to_numpy(zero_copy_only=False))
        for chunks in (
            [chunk for each in snapshots for chunk in _ids(home, each, entity).chunks] for entity in ("user", "video")
        )
    )
    return users, items


def load_test_pairs(home: Home, frame: TrainingFrame) -> Pairs:
    """The test split, ``[k, 2]`` user row and item row; pairs that are in training or validation are left out."""
    return _parts(home, frame.snapshot, frame.users, frame.items)[2]


def _require_interactions(snapshot: Snapshot) -> None:
    if "interactions" not in snapshot.tables:
        raise NotFound(
            f"training frame of snapshot {snapshot.id}",
            found=f"no interactions with videos in data set {snapshot.dataset!r}",
            expected="a snapshot with tables interactions and videos, which the models of the video feed are fitted on",
            next_step="ingest such data, e.g. with `backbeat ingest mmssl PATH`",
        )


def _ids(home: Home, snapshot: Snapshot, entity: str) -> pa.ChunkedArray:
    """Ids in order of first appearance; an entity has a row for each state that became known."""
    column = ENTITIES[entity]
    return read_table(home, snapshot, f"{entity}s", [column])[column].drop_null()


def _newest_rows(
    home: Home, snapshot: Snapshot, events: pa.Table, families: tuple[str, ...]
) -> Iterator[tuple[str, pa.Table]]:
    """View → its newest row of each entity, computed from some events."""
    views, builders = views_of(home, snapshot), builders_of(home, snapshot)
    context = BuildContext(snapshot, home.centres, newest=True)
    for name in families:
        rows = builders[name].build({"interactions": events}, context)
        yield name, pa.concat_tables([schema_of_view(views[name]).empty_table(), *rows])


def _known(vocabulary: Vocabulary, table: pa.Table, key: str) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """Row numbers of the entities that have one, and their rows of the table; nothing where there are none."""
    rows = vocabulary.rows(table[key].to_numpy())
    known = rows != UNKNOWN
    if known.any():
        yield rows[known], table.filter(pa.array(known))


def _newest_vectors(
    home: Home, snapshot: Snapshot, name: str, items: Vocabulary
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """``[N, width]`` and which items have none: of each, the vector of the latest event time."""
    width = snapshot.embeddings[name].width
    matrix, missing = np.zeros((len(items), width), np.float32), np.ones(len(items), np.bool_)
    table = read_table(home, snapshot, EMBEDDING_PREFIX + name)
    right = pc.equal(pc.list_value_length(table["vector"]), width).fill_null(False)
    changes = vector_changes(table.filter(right), "video_id", width)
    newest = np.r_[changes.key[1:] != changes.key[:-1], True][: len(changes.key)]
    rows = items.rows(changes.ids.take(pa.array(changes.key[newest])).to_numpy(zero_copy_only=False))
    known = rows != UNKNOWN
    matrix[rows[known]] = changes.matrix[changes.row[newest][known]]
    missing[rows[known]] = False
    return matrix, missing


def _last_known(home: Home, snapshot: Snapshot) -> datetime:
    """When the last row of a snapshot became known."""
    newest = (pc.max(read_table(home, snapshot, name, ["ingested_at"])["ingested_at"]) for name in snapshot.tables)
    return to_utc(max(moment.as_py() for moment in newest if moment.is_valid))


def _parts(home: Home, snapshot: Snapshot, users: Vocabulary, items: Vocabulary) -> tuple[Pairs, Pairs, Pairs]:
    """Training, validation and test pairs in order of arrival; a pair stands only where it first arrived.

    An event that happened before a cut and came in after it counts after it, as in histories and counts: nobody could
    have trained on it.
    """
    events = read_table(home, snapshot, "interactions", ["user_id", "video_id", "event_time", "ingested_at"])
    instants = (events[column].cast(pa.int64()).to_numpy() for column in ("event_time", "ingested_at"))
    times = np.maximum(*instants)
    pairs = np.stack([_rows(users, events["user_id"]), _rows(items, events["video_id"])], axis=1)
    order = np.argsort(times, kind="stable")
    order = order[(pairs[order] != UNKNOWN).all(axis=1)]
    pairs, times = pairs[order], times[order]
    first = np.sort(np.unique(pairs[:, 0] * len(items) + pairs[:, 1], return_index=True)[1])
    cuts = [microseconds(snapshot.split.train_until), microseconds(snapshot.split.validation_until)]
    train, validation, test = np.split(pairs[first], np.searchsorted(times[first], cuts, side="left"))
    return train, validation, test


def _rows(vocabulary: Vocabulary, ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Row number of each id, looking up every distinct id once."""
    encoded = ids.combine_chunks().dictionary_encode()
    distinct = vocabulary.rows(encoded.dictionary.to_numpy(zero_copy_only=False))
    return np.asarray(distinct[encoded.indices.to_numpy()])


def _matrix(vectors: pa.ChunkedArray, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Lists of floats → ``[N, width]`` and which rows had none."""
    missing = np.asarray(vectors.is_null())
    matrix, start = np.zeros((len(vectors), width), np.float32), 0
    for chunk in vectors.chunks:
        rows = start + np.flatnonzero(~missing[start : start + len(chunk)])
        matrix[rows] = chunk.flatten().to_numpy().reshape(-1, width)
        start += len(chunk)
    return matrix, missing


def _padded(lists: pa.Array, items: Vocabulary) -> npt.NDArray[np.int64]:
    """Lists of ids → ``[U, 50]`` item rows, padded with -1 on the right."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
    filled = np.arange(HISTORY_LENGTH) < lengths[:, None]
    history = np.full(filled.shape, UNKNOWN, np.int64)
    history[filled] = _rows(items, pa.chunked_array([lists.drop_null().flatten()]))
    known_first = np.argsort(history == UNKNOWN, axis=1, kind="stable")
    return np.take_along_axis(history, known_first, axis=1)
