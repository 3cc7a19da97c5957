"""What a model is fitted on: interactions by row number and the features of one feature service.

Behaviour stands as of the end of training, content as of the end of the data: see ADR 2.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contracts.embeddings import EmbeddingSpec
from contracts.errors import unknown_name
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.definitions import ENTITIES
from feature_repo.offline import current_snapshot, event_period, read_table
from feature_repo.raw_tables import microseconds
from feature_repo.services import SERVICES
from feature_repo.store import require_applied
from feature_repo.views.history import HISTORY_LENGTH

__all__ = ["TrainingFrame", "load_test_pairs", "load_training_frame"]

Pairs = npt.NDArray[np.int64]

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class TrainingFrame:
    """Training and validation pairs with the features of users and videos.

    What users did (``history``, ``popularity``) is known up to ``snapshot.split.train_until``, exclusive. What videos
    are (``modalities``) is known up to the last event of the snapshot: a vector is no label, and videos published
    after training ended are those that content is for.

    Rows number the vocabularies: U users, N items. The test split is not here, on purpose.
    """

    snapshot: Snapshot
    feature_service: str
    users: Vocabulary
    items: Vocabulary
    train: Pairs
    """``[n, 2]`` user row and item row in order of time, each pair once."""
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


def load_training_frame(
    settings: Settings, home: Home, feature_service: str, snapshot: Snapshot | None = None
) -> TrainingFrame:
    """Read interactions from the offline tables and features from Feast.

    Args:
        settings: Name the profile.
        home: Where the snapshot is.
        feature_service: Which features; its modalities decide what ``modalities`` holds.
        snapshot: Which data; the current snapshot if None.

    Raises:
        NotFound: The feature service is unknown, or the snapshot's features are not applied.
    """
    if feature_service not in SERVICES:
        raise unknown_name("feature service", feature_service, SERVICES, next_step="use one of those names")
    snapshot = snapshot or current_snapshot(home)
    users, items = _vocabulary(home, snapshot, "user"), _vocabulary(home, snapshot, "video")
    train, validation, _ = _parts(home, snapshot, users, items)
    features = _features(settings, home, snapshot, feature_service, {"user": users, "video": items})
    modalities, missing = {}, {}
    for modality, spec in snapshot.video_modalities.items():
        if (column := features.get(f"{spec.view}__vector")) is not None:
            modalities[modality], missing[modality] = _matrix(column, spec.width)
    return TrainingFrame(
        snapshot=snapshot,
        feature_service=feature_service,
        users=users,
        items=items,
        train=train,
        validation=validation,
        modalities=modalities,
        missing=missing,
        specs={modality: snapshot.embeddings[modality] for modality in modalities},
        history=_padded(features["user_history__video_ids"], items),
        popularity=features["video_popularity__views"].fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64),
    )


def load_test_pairs(home: Home, frame: TrainingFrame) -> Pairs:
    """The test split, ``[k, 2]`` user row and item row; pairs that are in training or validation are left out."""
    return _parts(home, frame.snapshot, frame.users, frame.items)[2]


def _vocabulary(home: Home, snapshot: Snapshot, entity: str) -> Vocabulary:
    column = ENTITIES[entity]
    return Vocabulary(read_table(home, snapshot, f"{entity}s", [column])[column].to_numpy(zero_copy_only=False))


def _parts(home: Home, snapshot: Snapshot, users: Vocabulary, items: Vocabulary) -> tuple[Pairs, Pairs, Pairs]:
    """Training, validation and test pairs in order of time; a pair stands only where it first occurred."""
    events = read_table(home, snapshot, "interactions", ["user_id", "video_id", "event_time"])
    times = events["event_time"].cast(pa.int64()).to_numpy()
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


def _features(
    settings: Settings, home: Home, snapshot: Snapshot, service: str, vocabularies: dict[str, Vocabulary]
) -> dict[str, pa.Array]:
    """Every feature of the service as ``<view>__<feature>`` → one value per row of its entity's vocabulary."""
    store = require_applied(settings, home, snapshot)
    # Feast joins rows up to and including the instant asked for; training ends strictly before the cut.
    before_cut, last = snapshot.split.train_until - _INSTANT, event_period(home, snapshot)[1]
    content = {spec.view for spec in snapshot.video_modalities.values()}
    wanted: dict[tuple[str, datetime], list[str]] = {}
    for projection in store.get_feature_service(service).feature_view_projections:
        entity = store.get_feature_view(projection.name).entities[0]
        instant = last if projection.name in content else before_cut
        references = wanted.setdefault((entity, instant), [])
        references.extend(f"{projection.name}:{feature.name}" for feature in projection.features)
    columns: dict[str, pa.Array] = {}
    for (entity, instant), references in wanted.items():
        key, vocabulary = ENTITIES[entity], vocabularies[entity]
        asked = pd.DataFrame({key: vocabulary.ids(range(len(vocabulary))), "event_timestamp": instant})
        answer = store.get_historical_features(asked, references, full_feature_names=True).to_arrow()
        answer = answer.take(pa.array(np.argsort(_rows(vocabulary, answer[key]))))
        for name in answer.column_names:
            if name not in asked.columns:
                columns[name] = answer[name].combine_chunks()
    return columns


def _matrix(vectors: pa.Array, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Lists of floats → ``[N, width]`` and which rows had none."""
    missing = np.asarray(vectors.is_null().to_numpy(zero_copy_only=False))
    matrix = np.zeros((len(vectors), width), np.float32)
    matrix[~missing] = vectors.drop_null().flatten().to_numpy().reshape(-1, width)
    return matrix, missing


def _padded(lists: pa.Array, items: Vocabulary) -> npt.NDArray[np.int64]:
    """Lists of ids → ``[U, 50]`` item rows, padded with -1 on the right."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
    filled = np.arange(HISTORY_LENGTH) < lengths[:, None]
    history = np.full(filled.shape, UNKNOWN, np.int64)
    history[filled] = _rows(items, pa.chunked_array([lists.drop_null().flatten()]))
    known_first = np.argsort(history == UNKNOWN, axis=1, kind="stable")
    return np.take_along_axis(history, known_first, axis=1)
