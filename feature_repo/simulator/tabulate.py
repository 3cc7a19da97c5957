"""From a platform to the offline tables."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import SplitInstants
from contracts.tables import (
    EDGES,
    EMBEDDING_PREFIX,
    ENTITY_KEYS,
    ENTITY_TABLES,
    INTERACTIONS,
    LISTENS,
    MUSIC,
    POSTS,
    USERS,
    VIDEOS,
    embedding_schema,
)
from feature_repo.raw_tables import Microseconds, RawTables, numbered_ids, table_of, vector_lists
from feature_repo.simulator.catalogue import EARLIEST_DAYS
from feature_repo.simulator.draws import DAY_US, START_US, stream
from feature_repo.simulator.media import MediaPlan, media_paths
from feature_repo.simulator.moods import MOODS, label
from feature_repo.simulator.music import GENRES, LANGUAGES
from feature_repo.simulator.perception import Seen, see_music, see_posts, see_videos
from feature_repo.simulator.platform import Platform
from feature_repo.simulator.tastes import GENDERS, REGIONS
from feature_repo.simulator.texts import music_titles, named, post_texts, video_titles
from feature_repo.simulator.watching import Acts

__all__ = ["tabulate"]

_REVISION = "2"
"""Of the simulated encoders: raise it when vectors of equal settings change."""
_JOINED_LATE = 0.2
_MEDIAN_DELAY_US = 3 * DAY_US / 24


def tabulate(platform: Platform, media: MediaPlan | None = None) -> RawTables:
    """Put a platform into tables; those of posts and of listens are there if there are any.

    Args:
        platform: What happened.
        media: Which items have files; the media columns are null if None.
    """
    plan, seed = platform.plan, platform.plan.seed
    files = {} if media is None else media_paths(platform, media)
    users = numbered_ids("u", plan.users)
    videos, music = numbered_ids("v", plan.videos), numbered_ids("m", plan.music)
    tables = {
        "users": _users(platform, users),
        "videos": table_of(
            VIDEOS,
            platform.videos.published,
            video_id=videos,
            author_id=users.take(pa.array(platform.videos.author)),
            music_id=music.take(pa.array(platform.background)),
            title=video_titles(stream(seed, "video titles"), platform.videos),
            duration=pa.array(platform.videos.duration),
            **files.get("videos", {}),
        ),
        "music": _music(platform, music, files.get("music", {})),
        "interactions": _acts(platform, "interactions", platform.interactions, users, videos),
        "edges": _edges(platform, users),
    }
    if plan.listens:
        tables["listens"] = _acts(platform, "listens", platform.listens, users, music)
    seen = see_videos(stream(seed, "video vectors"), platform.videos, platform.music, platform.background)
    seen |= see_music(stream(seed, "music vectors"), platform.music)
    if plan.posts:
        tables["posts"] = _posts(platform, users, files.get("posts", {}))
        seen |= see_posts(stream(seed, "post vectors"), platform.posts)
    specs = {name: _spec(name, found, seed) for name, found in seen.items()}
    for name, found in seen.items():
        entity = specs[name].entity
        tables[EMBEDDING_PREFIX + name] = _vectors(tables[ENTITY_TABLES[entity]], entity, found)
    views = platform.interactions["view"].time
    return RawTables(
        tables=dict(sorted(tables.items())),
        specs=specs,
        split=SplitInstants(
            train_until=_moment(views[int(0.8 * len(views))]),
            validation_until=_moment(views[int(0.9 * len(views))]),
            nominal=False,
        ),
        dataset="simulated",
        source=f"simulator {plan.describe()}",
        media=None if media is None else media.directory,
    )


def _moment(time_us: np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(time_us))


def _known(platform: Platform, table: str, times: Microseconds) -> Microseconds:
    """When each row was known: at once, or for the share ``late`` after hours to days."""
    rng = stream(platform.plan.seed, f"arrival of {table}")
    late = rng.random(len(times)) < platform.plan.late
    delay = np.minimum(_MEDIAN_DELAY_US * rng.lognormal(0.0, 1.5, len(times)), 14 * DAY_US).astype(np.int64)
    return np.asarray(times + np.where(late, delay + 1, 0))


def _users(platform: Platform, ids: pa.Array) -> pa.Table:
    """Most accounts are older than the first video; one in five joined shortly before its first act."""
    people, rng = platform.people, stream(platform.plan.seed, "accounts")
    first = np.full(len(ids), np.iinfo(np.int64).max)
    acts = [*platform.interactions.values(), *platform.listens.values()]
    ties = platform.networks.values()
    for who, times in (
        (platform.videos.author, platform.videos.published),
        (platform.posts.user, platform.posts.time),
        *((act.user, act.time) for act in acts),
        *((tie.source, tie.time) for tie in ties),
        *((tie.target, tie.time) for tie in ties),
    ):
        np.minimum.at(first, who, times)
    early = START_US - (rng.uniform(EARLIEST_DAYS, 1000, len(ids)) * DAY_US).astype(np.int64)
    recent = first - (rng.uniform(0.001, 0.05, len(ids)) * DAY_US).astype(np.int64)
    joined_late = (rng.random(len(ids)) < _JOINED_LATE) & (first < START_US + platform.plan.days * DAY_US)
    return table_of(
        USERS,
        np.where(joined_late, recent, early),
        user_id=ids,
        gender=named(GENDERS, people.gender, people.gender < 0),
        age=pa.array(people.age.astype(np.int32), mask=people.age < 0),
        region=named(REGIONS, people.region, people.region < 0),
    )


def _music(platform: Platform, ids: pa.Array, files: dict[str, pa.Array]) -> pa.Table:
    music = platform.music
    return table_of(
        MUSIC,
        music.published,
        music_id=ids,
        title=music_titles(stream(platform.plan.seed, "music titles"), music),
        genre=named(GENRES, music.genre),
        language=named(LANGUAGES, music.language),
        mood=named(MOODS, label(music.mood)),
        pitch=pa.array(music.pitch),
        tempo=pa.array(music.tempo),
        **files,
    )


def _acts(platform: Platform, table: str, kinds: dict[str, Acts], users: pa.Array, items: pa.Array) -> pa.Table:
    """All kinds in one table, in order of time."""
    schema, item = (INTERACTIONS, "video_id") if table == "interactions" else (LISTENS, "music_id")
    times = np.concatenate([acts.time for acts in kinds.values()])
    order = np.argsort(times, kind="stable")
    who, what = (np.concatenate([getattr(acts, name) for acts in kinds.values()])[order] for name in ("user", "item"))
    kind = np.repeat(np.arange(len(kinds)), [len(acts) for acts in kinds.values()])[order]
    columns = {"user_id": users.take(pa.array(who)), item: items.take(pa.array(what)), "kind": named(kinds, kind)}
    weight = pa.array(np.ones(len(times), np.float32))
    return table_of(schema, times[order], _known(platform, table, times[order]), weight=weight, **columns)


def _posts(platform: Platform, users: pa.Array, files: dict[str, pa.Array]) -> pa.Table:
    posts = platform.posts
    return table_of(
        POSTS,
        posts.time,
        _known(platform, "posts", posts.time),
        post_id=numbered_ids("p", len(posts)),
        user_id=users.take(pa.array(posts.user)),
        text=post_texts(stream(platform.plan.seed, "post texts"), posts),
        **files,
    )


def _edges(platform: Platform, users: pa.Array) -> pa.Table:
    ties = platform.networks
    times = np.concatenate([tie.time for tie in ties.values()])
    order = np.argsort(times, kind="stable")
    network = np.repeat(np.arange(len(ties)), [len(tie) for tie in ties.values()])[order]
    source, target = (np.concatenate([getattr(t, name) for t in ties.values()])[order] for name in ("source", "target"))
    return table_of(
        EDGES,
        times[order],
        _known(platform, "edges", times[order]),
        network=named(ties, network),
        source_id=users.take(pa.array(source)),
        target_id=users.take(pa.array(target)),
        weight=pa.array(np.ones(len(times), np.float32)),
    )


def _vectors(owners: pa.Table, entity: str, seen: Seen) -> pa.Table:
    """Vectors are known when their owners are: the simulated encoders are older than all data."""
    key, rows = ENTITY_KEYS[entity], pa.array(seen.rows)
    own = owners.select([key, "event_time", "ingested_at"]).take(rows)
    return table_of(
        embedding_schema(entity),
        _instants(own, "event_time"),
        _instants(own, "ingested_at"),
        **{key: own[key].combine_chunks(), "vector": vector_lists(seen.vectors)},
    )


def _instants(table: pa.Table, name: str) -> Microseconds:
    return np.asarray(table[name].cast(pa.int64()).to_numpy())


def _spec(name: str, seen: Seen, seed: int) -> EmbeddingSpec:
    entity, _, modality = name.partition("_") if name.startswith(("music_", "post_")) else ("video", "", name)
    return EmbeddingSpec.model_validate(
        {
            "entity": entity,
            "modality": modality,
            "encoder": f"simulator-{name}",
            "revision": _REVISION,
            "preprocessing": f"seed {seed}",
            "width": seen.vectors.shape[1],
            "dtype": "float32",
            "normalisation": "none",
        }
    )
