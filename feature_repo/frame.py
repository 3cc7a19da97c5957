"""What a model is fitted on: events by row number and the features of one feature service.

Behaviour stands as of the end of training, content as of the end of the data: see ADR 2.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from contracts.embeddings import EmbeddingSpec
from contracts.errors import NotFound
from contracts.home import Home
from contracts.reports import AcceptedReport
from contracts.settings import Settings
from contracts.snapshot import Snapshot, SplitInstants
from contracts.tables import ENTITY_KEYS, ENTITY_TABLES
from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.frames.content import content_of, facts_of_music, specs_of, titles_of
from feature_repo.frames.contexts import Contexts, contexts_of_posts, contexts_of_videos
from feature_repo.frames.events import Events, Pairs, count_events, events_of, occasions_of
from feature_repo.frames.history import padded
from feature_repo.frames.lookup import Lookup
from feature_repo.frames.needs import require_views, view_of_context, view_of_modality
from feature_repo.frames.networks import NETWORK_VIEWS, networks_of_users
from feature_repo.frames.newest import known_rows, newest_rows, newest_vectors
from feature_repo.offline import current_snapshot, read_snapshot, read_table
from feature_repo.raw_tables import microseconds
from feature_repo.services import RANKINGS, SERVICES, ranking_of, service_views
from feature_repo.views.history import HISTORY_LENGTH
from feature_repo.views.sequences import arrivals_of

__all__ = [
    "TrainingFrame",
    "common_vocabularies",
    "frame_of_tables",
    "load_all_events",
    "load_training_frame",
    "load_unjudged_frame",
]


@dataclass(frozen=True)
class TrainingFrame:
    """Training and validation pairs with the features of users and items, and what requests bring.

    Items are videos or music, as :data:`feature_repo.services.RANKINGS` says of the feature service. What users did
    (``history``, ``popularity``, ``networks``) is what was known before ``snapshot.split.train_until``. What items are
    (``modalities``, ``texts``) is what was known in the end, when the last row of the snapshot came in: a vector is no
    label, and items published after training ended are those that content is for.

    Where requests bring nothing, a pair stands once, in the part in which it first arrived. Where they do, a row of
    ``train`` and ``validation`` is an event with a context of its own, and a pair may stand again, in another part too:
    people listen to the same music again, and take it for another video.

    Rows number the vocabularies: U users, N items. The pairs of the test are not here, on purpose; their contexts are,
    without saying what was chosen.
    """

    snapshot: Snapshot
    feature_service: str
    users: Vocabulary
    items: Vocabulary
    train: Pairs
    """``[n, 2]`` user row and item row in order of arrival."""
    validation: Pairs
    """``[m, 2]`` likewise."""
    modalities: dict[str, npt.NDArray[np.float32]]
    """Modality → ``[N, width]`` in order of name; zeros where the item has none. Of music also genre, language, mood,
    pitch and tempo, as :func:`feature_repo.frames.content.facts_of_music` makes them."""
    missing: dict[str, npt.NDArray[np.bool_]]
    """Modality → ``[N]``, true where the item has none."""
    specs: dict[str, EmbeddingSpec]
    """Modality → what made its vectors, of those that an encoder made."""
    history: npt.NDArray[np.int64]
    """``[U, 50]`` item rows, oldest first, padded with -1 on the right."""
    popularity: npt.NDArray[np.int64]
    """``[N]`` views of videos; videos with each piece of music, or events with it where music is listened to."""
    contexts: Contexts = field(default_factory=dict)
    """Name → ``[E, width]`` of what a request brings: float32, or int64 row numbers. See
    :mod:`feature_repo.frames.contexts`."""
    train_context: npt.NDArray[np.int64] | None = None
    """``[n]`` row in ``contexts`` of each training pair; None where requests bring nothing."""
    validation_context: npt.NDArray[np.int64] | None = None
    """``[m]`` likewise of each validation pair."""
    networks: dict[str, csr_array] = field(default_factory=dict)
    """Network → ``[U, U]`` float32 weights of the edges, from row to column, known before the cut."""
    texts: tuple[str | None, ...] | None = None
    """``[N]`` the title of each item, None where it has none; None where there are no titles, or nobody asked."""
    context_specs: dict[str, EmbeddingSpec] = field(default_factory=dict)
    """Name of the embeddings → what made the vectors that ``contexts`` are made of."""
    validation_candidates: npt.NDArray[np.int64] | None = None
    """Distinct item rows that validation pairs are ranked among, where those are not all."""
    negative_candidates: npt.NDArray[np.int64] | None = None
    """Distinct item rows that negatives are drawn from, ascending, with all of the training pairs; all rows if None."""
    context_texts: tuple[str | None, ...] | None = None
    """``[E]`` the title of the video of each row of ``contexts``, None where it has none; None where requests bring no
    videos, or none has a title."""

    def require(
        self,
        subject: str,
        *,
        modalities: Iterable[str] = (),
        contexts: Iterable[str] = (),
        networks: Iterable[str] = (),
        texts: bool = False,
    ) -> None:
        """Refuse a frame that lacks what a model cannot do without.

        Args:
            subject: Who asks, e.g. ``model dl-bgm``.
            modalities: Of the items.
            contexts: Names of contexts.
            networks: Names of networks.
            texts: Whether titles of the items are needed.

        Raises:
            NotFound: Something is not there; it and the feature view that would hold it are named.
        """
        entity = ranking_of(self.feature_service).items
        absent = [
            *(
                f"modality {name} ({view_of_modality(entity, name)})"
                for name in modalities
                if name not in self.modalities
            ),
            *(f"context {name} ({view_of_context(name)})" for name in contexts if name not in self.contexts),
            *(f"network {name} (feature view {NETWORK_VIEWS}{name})" for name in networks if name not in self.networks),
            *([f"titles (table {ENTITY_TABLES[entity]})"] if texts and self.texts is None else []),
        ]
        if absent:
            raise NotFound(
                subject,
                found=f"snapshot {self.snapshot.id} of {self.snapshot.dataset!r} as {self.feature_service} "
                f"without {', '.join(absent)}",
                expected="data that have them, and a feature service that takes them",
                next_step="encode what is missing with `backbeat features encode`, or ingest data that have it",
            )


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
    """Read events from the offline tables and features from Feast, whatever the suites say about them.

    For looking only: nothing that is registered or served is made from it.

    Args:
        settings: Name the profile.
        home: Where the snapshot is.
        feature_service: Which events and which features.
        snapshot: Which data; the current snapshot if None.

    Raises:
        NotFound: The feature service is unknown, the snapshot lacks a table or an encoder's vectors that it needs, no
            event says what it ranks, or its features are not applied.
    """
    snapshot = snapshot or current_snapshot(home)
    views = service_views(home, snapshot, feature_service)
    service, ranking = SERVICES[feature_service], ranking_of(feature_service)
    require_views(home, snapshot, feature_service)
    users, items = common_vocabularies(home, snapshot, entity=ranking.items)
    events, occasions = occasions_of(home, snapshot, ranking, users, items)
    if not len(events):
        raise _no_events(snapshot, feature_service)
    train, validation, _ = events.parts(snapshot.split)
    lookup, key = Lookup(settings, home, snapshot), ENTITY_KEYS[ranking.items]
    user_ids, item_ids = (pa.array(each.ids(range(len(each))), pa.string()) for each in (users, items))

    history = lookup.at("user_id", user_ids, lookup.before_cut, [ranking.history])
    if ranking.popularity is None:
        popularity = count_events(home, snapshot, ranking, users, items)
    else:
        counts = lookup.at(key, item_ids, lookup.before_cut, [ranking.popularity])
        popularity = counts[ranking.popularity.replace(":", "__")].fill_null(0).to_numpy().astype(np.int64)

    specs = {name: spec for name, spec in specs_of(snapshot, ranking.items).items() if spec.view in views}
    content = content_of(lookup, item_ids, specs)
    if "music_content" in service.families:
        content |= facts_of_music(lookup, item_ids, np.unique(train.pairs[:, 1]))
    contexts, brought, said = Contexts(), {}, None
    if ranking.context == "video":
        said = titles_of(home, snapshot, "video", Vocabulary(occasions.ids.to_numpy(zero_copy_only=False)))
        brought = {name: spec for name, spec in specs_of(snapshot, "video").items() if spec.view in views}
        contexts = contexts_of_videos(lookup, occasions, brought)
    elif ranking.context == "posts":
        brought = specs_of(snapshot, "post")
        contexts = contexts_of_posts(lookup, occasions, brought)
    return TrainingFrame(
        snapshot=snapshot,
        feature_service=feature_service,
        users=users,
        items=items,
        train=train.pairs,
        validation=validation.pairs,
        modalities={modality: content[modality].values for modality in sorted(content)},
        missing={modality: content[modality].missing for modality in sorted(content)},
        specs=specs,
        history=padded(history[ranking.history.replace(":", "__")].combine_chunks(), items),
        popularity=popularity,
        contexts=contexts,
        train_context=train.context,
        validation_context=validation.context,
        networks=networks_of_users(lookup, users, (view for view in views if view.startswith(NETWORK_VIEWS))),
        texts=titles_of(home, snapshot, ranking.items, items) if service.texts else None,
        context_specs={spec.name: spec for spec in brought.values()},
        context_texts=said,
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
    """A frame of videos from the offline tables alone, of a snapshot whose features were not applied.

    Nothing is written. Made for data that did not pass its suites: a vector of another width than its spec's counts as
    none, those with NaN or infinite components stand as they are.

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
    train, validation, _ = events_of(home, snapshot, RANKINGS["videos"], users, items).parts(snapshot.split)
    events = read_table(home, snapshot, "interactions")
    events = events.filter(pa.array(arrivals_of(events) < microseconds(snapshot.split.train_until)))
    behaviour = newest_rows(home, snapshot, {"interactions": events}, ("user_history", "video_popularity"))
    history = np.full((len(users), HISTORY_LENGTH), UNKNOWN, np.int64)
    popularity = np.zeros(len(items), np.int64)
    for rows, table in known_rows(users, behaviour["user_history"], "user_id"):
        history[rows] = padded(table["video_ids"].combine_chunks(), items)
    for rows, table in known_rows(items, behaviour["video_popularity"], "video_id"):
        popularity[rows] = table["views"].to_numpy()
    specs = {modality: snapshot.embeddings[name] for modality, name in sorted(embeddings.items())}
    content = {modality: newest_vectors(home, snapshot, embeddings[modality], items) for modality in specs}
    return TrainingFrame(
        snapshot=snapshot,
        feature_service=feature_service,
        users=users,
        items=items,
        train=train.pairs,
        validation=validation.pairs,
        modalities={modality: each.values for modality, each in content.items()},
        missing={modality: each.missing for modality, each in content.items()},
        specs=specs,
        history=history,
        popularity=popularity,
    )


def common_vocabularies(home: Home, *snapshots: Snapshot, entity: str = "video") -> tuple[Vocabulary, Vocabulary]:
    """Users and items of some snapshots in order of first appearance, so that row numbers mean the same in all.

    Args:
        home: Where the snapshots are.
        *snapshots: Whose.
        entity: ``video`` or ``music``: what the items are.

    Raises:
        NotFound: A snapshot has no such table.
    """
    users, items = (
        Vocabulary(pa.chunked_array(chunks, pa.string()).unique().to_numpy(zero_copy_only=False))
        for chunks in (
            [chunk for each in snapshots for chunk in _ids(home, each, kind).chunks] for kind in ("user", entity)
        )
    )
    return users, items


def load_all_events(home: Home, frame: TrainingFrame) -> Events:
    """Training, validation and test in order of arrival, with the rows of their contexts in ``frame.contexts``.

    The one way to the test split, which a frame does not hold.
    """
    return events_of(home, frame.snapshot, ranking_of(frame.feature_service), frame.users, frame.items)


def _require_interactions(snapshot: Snapshot) -> None:
    if "interactions" not in snapshot.tables:
        raise NotFound(
            f"training frame of snapshot {snapshot.id}",
            found=f"no interactions with videos in data set {snapshot.dataset!r}",
            expected="a snapshot with tables interactions and videos, which the models of the video feed are fitted on",
            next_step="ingest such data, e.g. with `backbeat ingest mmssl PATH`",
        )


def _no_events(snapshot: Snapshot, feature_service: str) -> NotFound:
    ranking = ranking_of(feature_service)
    item = ENTITY_KEYS[ranking.items]
    return NotFound(
        f"training frame {feature_service!r} of snapshot {snapshot.id}",
        found=f"no row of table {ranking.table} of data set {snapshot.dataset!r} with a known {ranking.user} and "
        f"a known {item}" + (f" of kind {ranking.kind}" if ranking.kind else ""),
        expected=f"events that say which {ranking.items} a user chose",
        next_step=f"fill {ranking.user} and {item} of {ranking.table} in and ingest again",
    )


def _ids(home: Home, snapshot: Snapshot, entity: str) -> pa.ChunkedArray:
    """Ids in order of first appearance; an entity has a row for each state that became known."""
    column = ENTITY_KEYS[entity]
    return read_table(home, snapshot, ENTITY_TABLES[entity], [column])[column].drop_null()
