"""Posts' features and those of the moment, against loops over all rows that are too plain to be wrong."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput
from contracts.snapshot import Snapshot, SplitInstants
from contracts.tables import POSTS, embedding_schema
from feature_repo.raw_tables import table_of, vector_lists
from feature_repo.views.builder import BuildContext
from feature_repo.views.catalogue import FAMILIES, View
from feature_repo.views.moments import CONTEXT_WINDOW, MomentView, on_demand, user_context, video_trend
from feature_repo.views.posts import user_posts, user_social

DAY, HOUR = CONTEXT_WINDOW, 3_600_000_000
NOW = datetime(2025, 3, 1, tzinfo=UTC)
SPEC = EmbeddingSpec(
    entity="post",
    modality="textual",
    encoder="hand",
    revision="1",
    preprocessing="none",
    width=2,
    dtype="float32",
    normalisation="none",
)
SNAPSHOT = Snapshot(
    id="x",
    dataset="x",
    source="x",
    created_at=NOW,
    tables={},
    embeddings={"post_textual": SPEC},
    split=SplitInstants(train_until=NOW, validation_until=NOW + timedelta(days=1), nominal=False),
)
CONTEXT = BuildContext(SNAPSHOT, Path())


def view(family: str) -> View:
    return View(f"{family}_x", "user", FAMILIES[family].features, Path(), spec=SPEC, derived=True, family=family)


class Post(NamedTuple):
    id: int
    user: int
    happened: int
    known: int


class Vector(NamedTuple):
    post: int
    value: int
    happened: int
    known: int


def tables_of(posts: list[Post], vectors: list[Vector]) -> dict[str, pa.Table]:
    def column(values: list[int]) -> Any:
        return np.array(values, np.int64)

    return {
        "posts": table_of(
            POSTS,
            column([p.happened for p in posts]),
            column([p.known for p in posts]),
            post_id=pa.array([f"p{p.id}" for p in posts], pa.string()),
            user_id=pa.array([f"u{p.user}" for p in posts], pa.string()),
        ),
        "embedding_post_textual": table_of(
            embedding_schema("post"),
            column([v.happened for v in vectors]),
            column([v.known for v in vectors]),
            post_id=pa.array([f"p{v.post}" for v in vectors], pa.string()),
            vector=vector_lists(np.array([[v.value, -2 * v.value] for v in vectors], np.float32).reshape(-1, 2)),
        ),
    }


def known_vectors(posts: list[Post], vectors: list[Vector], user: int, moment: int) -> list[tuple[int, int]]:
    """Instant and vector of each post of a user that counts at a moment."""
    found = []
    for post_id in {post.id for post in posts}:
        first = min((p for p in posts if p.id == post_id), key=lambda p: (p.known, p.happened, posts.index(p)))
        seen = [v for v in vectors if v.post == post_id and v.known <= moment]
        if first.user == user and first.known <= moment and seen:
            newest = max(enumerate(seen), key=lambda pair: (pair[1].happened, pair[1].known, pair[0]))[1]
            found.append((first.happened, newest.value))
    return found


def mean(values: list[int]) -> list[float]:
    total = sum(values)
    return [float(np.float32(total / len(values))), float(np.float32(-2 * total / len(values)))]


def row_at(rows: list[dict[str, Any]], user: int, moment: int) -> dict[str, Any]:
    """The newest row at a moment, as a point-in-time join finds it."""
    known = [r for r in rows if r["user_id"] == f"u{user}" and r["event_time"] <= moment]
    return max(known, key=lambda r: r["event_time"], default={})


def rows_of(chunks: Iterator[pa.Table]) -> list[dict[str, Any]]:
    rows = []
    for chunk in chunks:
        instants = [chunk[name].cast(pa.int64()).to_pylist() for name in ("event_time", "ingested_at")]
        assert instants[0] == instants[1]
        rows += [row | {"event_time": t} for row, t in zip(chunk.to_pylist(), instants[0], strict=True)]
    keys = [(row["user_id"], row["event_time"]) for row in rows]
    assert keys == sorted(set(keys)), "sorted, and one row for each user and instant"
    return rows


INSTANTS = [0, 1, HOUR, DAY - 1, DAY, DAY + 1, 2 * DAY, 2 * DAY + HOUR]
instants = st.sampled_from(INSTANTS)
delays = st.sampled_from([0, 0, 0, 1, HOUR, DAY, DAY + 1])
posts_strategy = st.lists(
    st.builds(lambda i, u, t, d: Post(i, u, t, t + d), st.integers(0, 6), st.integers(0, 1), instants, delays),
    max_size=9,
)
vectors_strategy = st.lists(
    st.builds(lambda i, v, t, d: Vector(i, v, t, t + d), st.integers(0, 7), st.integers(-50, 50), instants, delays),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(posts_strategy, vectors_strategy)
def test_means_over_all_posts_and_over_the_last_day_equal_the_oracle(posts: list[Post], vectors: list[Vector]) -> None:
    """Late posts, late vectors, posts without one, repeated posts and vectors encoded again; a microsecond counts."""
    tables = tables_of(posts, vectors)
    social = rows_of(user_social(view("user_social"), SNAPSHOT).build(tables, CONTEXT))
    recent = rows_of(user_posts(view("user_posts"), SNAPSHOT).build(tables, CONTEXT))
    rows: list[Post | Vector] = [*posts, *vectors]
    changes = {t for row in rows for t in (row.happened, row.known)}
    moments: list[int] = sorted({t + d + e for t in changes for d in (0, DAY) for e in (-1, 0, 1)})
    asked = list(itertools.product((0, 1), moments))
    state: dict[str, list[Any]] = {"times": [], "vectors": [], "vector": []}
    expected: list[tuple[Any, Any]] = []
    for user, moment in asked:
        known = known_vectors(posts, vectors, user, moment)
        overall = row_at(social, user, moment)
        assert overall.get("posts", 0) == len(known)
        assert overall.get("vector") == (mean([v for _, v in known]) if known else None)
        held = row_at(recent, user, moment)
        live = held if held and held["event_time"] >= moment - DAY else {}  # the view's TTL
        state["times"].append(live.get("times"))
        state["vectors"].append(live.get("vectors"))
        state["vector"].append(overall.get("vector"))
        window = [v for t, v in known if moment - DAY < t <= moment]
        expected.append((mean(window), len(window)) if window else (overall.get("vector"), 0 if known else None))
    for family, build, every in (("user_social", user_social, social), ("user_posts", user_posts, recent)):
        newest = rows_of(build(view(family), SNAPSHOT).build(tables, replace(CONTEXT, newest=True)))
        last = {row["user_id"]: row for row in every}
        assert newest == [last[name] for name in sorted(last)]
    types = {"times": pa.list_(pa.int64()), "vectors": pa.list_(pa.float32()), "vector": pa.list_(pa.float32())}
    arrays = {name: pa.array(values, types[name]) for name, values in state.items()}
    found = user_context(arrays, np.array([moment for _, moment in asked], np.int64))
    assert list(zip(found["vector"].to_pylist(), found["posts"].to_pylist(), strict=True)) == expected


def by_hand() -> tuple[list[Post], list[Vector]]:
    posts = [Post(0, 0, 0, 0), Post(1, 0, HOUR, HOUR), Post(2, 0, DAY, 2 * DAY), Post(3, 1, HOUR, HOUR)]
    vectors = [Vector(0, 2, 0, 0), Vector(1, 4, HOUR, 2 * HOUR), Vector(2, 9, DAY, DAY)]
    return posts, vectors


def test_rows_by_hand() -> None:
    """Two posts, one of which arrives a day late, and a post of another user that has no vector."""
    tables = tables_of(*by_hand())
    social = rows_of(user_social(view("user_social"), SNAPSHOT).build(tables, CONTEXT))
    assert [(r["user_id"], r["event_time"], r["vector"], r["posts"]) for r in social] == [
        ("u0", 0, [2.0, -4.0], 1),
        ("u0", 2 * HOUR, [3.0, -6.0], 2),
        ("u0", 2 * DAY, [5.0, -10.0], 3),
    ]
    recent = rows_of(user_posts(view("user_posts"), SNAPSHOT).build(tables, CONTEXT))
    assert [(r["event_time"], r["times"], r["vectors"]) for r in recent] == [
        (0, [0], [2.0, -4.0]),
        (2 * HOUR, [0, HOUR], [2.0, -4.0, 4.0, -8.0]),
    ]


def test_chunks_do_not_change_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    posts = [Post(i, int(rng.integers(4)), t, t + int(rng.integers(3)) * HOUR) for i, t in enumerate(range(0, 90, 1))]
    vectors = [Vector(p.id, int(rng.integers(1000)), p.happened, p.known) for p in posts]
    tables = tables_of(posts, vectors)
    for build in (user_social, user_posts):
        builder = build(view(build.__name__), SNAPSHOT)
        whole = rows_of(builder.build(tables, CONTEXT))
        with monkeypatch.context() as patch:
            patch.setattr("feature_repo.views.posts._BLOCK_BYTES", 100)
            chunks = list(builder.build(tables, CONTEXT))
            assert len(chunks) > 10
            assert rows_of(iter(chunks)) == whole
        split = {name: pa.concat_tables([t[:17], t[17:50], t[50:]]) for name, t in tables.items()}
        assert rows_of(builder.build(split, CONTEXT)) == whole
        alone = []
        for user in range(4):
            mine = [p for p in posts if p.user == user]
            ids = {p.id for p in mine}
            alone += rows_of(builder.build(tables_of(mine, [v for v in vectors if v.post in ids]), CONTEXT))
        assert alone == whole, "the rows of one user are computed from the rows of that user"


@pytest.mark.parametrize("build", [user_social, user_posts])
def test_no_posts_no_rows(build: Any) -> None:
    assert rows_of(build(view(build.__name__), SNAPSHOT).build(tables_of([], []), CONTEXT)) == []
    assert rows_of(build(view(build.__name__), SNAPSHOT).build(tables_of(by_hand()[0], []), CONTEXT)) == []


def test_vectors_of_another_width_are_refused() -> None:
    tables = tables_of(*by_hand())
    vectors = tables["embedding_post_textual"]
    wrong = pa.array([[1.0], [1.0, 2.0], [1.0, 2.0]], pa.list_(pa.float32()))
    broken = vectors.set_column(1, vectors.schema.field("vector"), wrong)
    with pytest.raises(BadInput, match="vectors of 1 to 2 components; expected 2 components"):
        list(user_social(view("user_social"), SNAPSHOT).build(tables | {"embedding_post_textual": broken}, CONTEXT))
    gaps = vectors.set_column(1, vectors.schema.field("vector"), pa.array([[1.0, None]] * 3, pa.list_(pa.float32())))
    with pytest.raises(BadInput, match="with nulls"):
        list(user_posts(view("user_posts"), SNAPSHOT).build(tables | {"embedding_post_textual": gaps}, CONTEXT))


def lists(kind: pa.DataType, *values: Any) -> pa.Array:
    return pa.array(values, pa.list_(kind))


def test_trend_counts_clock_hours() -> None:
    """Moment 169 h 30 min: its own hour, the 24 and the 168 hours up to it; nothing known, and no publication."""
    hours = [0, HOUR, 2 * HOUR, 145 * HOUR, 146 * HOUR, 168 * HOUR, 169 * HOUR, 170 * HOUR]
    state = {
        "hours": lists(pa.int64(), hours, None, None, hours[:1]),
        "hour_views": lists(pa.int64(), [1, 2, 4, 8, 16, 32, 64, 128], None, None, [5]),
        "hour_likes": lists(pa.int64(), [0, 0, 1, 0, 1, 0, 3, 9], None, None, [5]),
        "published_at": pa.array([HOUR // 2, None, 169 * HOUR, None], pa.int64()),
    }
    found = video_trend(state, np.full(4, 169 * HOUR + HOUR // 2))
    assert found["views_1h"].to_pylist() == [64, None, 0, 0]
    assert found["views_24h"].to_pylist() == [16 + 32 + 64, None, 0, 0]
    assert found["views_168h"].to_pylist() == [4 + 8 + 16 + 32 + 64, None, 0, 0]
    assert found["likes_1h"].to_pylist() == [3, None, 0, 0]
    assert found["likes_24h"].to_pylist() == [4, None, 0, 0]
    assert found["likes_168h"].to_pylist() == [5, None, 0, 0]
    assert found["age_hours"].to_pylist() == [169.0, None, 0.5, None]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 400), st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12),
    st.integers(0, 400 * HOUR),
)
def test_trend_equals_the_oracle(buckets: dict[int, tuple[int, int]], moment: int) -> None:
    hours = sorted(buckets)
    state = {
        "hours": lists(pa.int64(), [h * HOUR for h in hours]),
        "hour_views": lists(pa.int64(), [buckets[h][0] for h in hours]),
        "hour_likes": lists(pa.int64(), [buckets[h][1] for h in hours]),
        "published_at": pa.array([0], pa.int64()),
    }
    found = video_trend(state, np.array([moment]))
    for width in (1, 24, 168):
        inside = [h for h in hours if moment // HOUR - width < h <= moment // HOUR]
        assert found[f"views_{width}h"].to_pylist() == [sum(buckets[h][0] for h in inside)]
        assert found[f"likes_{width}h"].to_pylist() == [sum(buckets[h][1] for h in inside)]


@pytest.mark.parametrize("kind", ["lists", "arrays"])
def test_on_demand_gives_the_same_as_the_function(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames as Feast makes them: nulls as None or NaN, lists as lists or arrays, other columns between."""
    monkeypatch.setattr("feature_repo.views.moments._BLOCK_BYTES", 40)
    state = {
        "times": lists(pa.int64(), [0, HOUR], None, [2 * HOUR], []),
        "vectors": lists(pa.float32(), [1, 2, 3, 4], None, [5, 6], []),
        "vector": lists(pa.float32(), [9, 9], None, [8, 8], [7, 7]),
    }
    moment = np.array([DAY, DAY, 3 * HOUR, 0])
    expected = user_context(state, moment)
    assert expected["vector"].to_pylist() == [[3.0, 4.0], None, [5.0, 6.0], [7.0, 7.0]]
    assert expected["posts"].to_pylist() == [1, None, 1, 0]
    context = MomentView("user_context_textual_abc", "user_context")
    frame = pd.DataFrame({"moment": moment, "user_id": list("abcd")}, index=[3, 1, 4, 5])
    for feature, source in context.state.items():
        values = state[feature].to_pylist() if kind == "lists" else state[feature].to_pandas().tolist()
        frame[f"{source}__{feature}"] = pd.Series(values, index=frame.index, dtype=object)
    answer = on_demand(context.name, context.family, frame)
    assert sorted(answer.columns) == ["posts", f"{context.name}__posts", f"{context.name}__vector", "vector"]
    for feature, column in expected.items():
        found = pa.array(answer[f"{context.name}__{feature}"], column.type, from_pandas=True)
        assert found.to_pylist() == column.to_pylist()
        assert pa.array(answer[feature], column.type, from_pandas=True).to_pylist() == column.to_pylist()


def test_on_demand_trend_with_gaps() -> None:
    trend = MomentView("video_trend", "video_trend")
    frame = pd.DataFrame({"moment": [HOUR, HOUR]})
    for feature, source in trend.state.items():
        frame[f"{source}__{feature}"] = [1_700_000_000_000_123, np.nan] if feature == "published_at" else [[HOUR], None]
    answer = on_demand(trend.name, trend.family, frame)
    assert answer["views_1h"].tolist() == [HOUR, pd.NA]
    assert sorted(answer.columns) == sorted(trend.features)
    assert answer["age_hours"].isna().tolist() == [False, True]
