"""Snapshots of other shapes: with music, listens, posts, networks and several revisions, or without videos."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from contracts.clock import utc_now
from contracts.home import Home
from contracts.reports import Finding
from contracts.settings import Settings
from contracts.snapshot import Snapshot, TableInfo
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables, table_of
from feature_repo.readers.lastfm import read_lastfm
from feature_repo.simulator import simulate
from validation.judge import judge
from validation.material import Material
from validation.naming import file_name
from validation.run import validate_snapshot


@pytest.fixture(scope="module")
def platform() -> RawTables:
    return simulate(users=120, videos=150, days=20, seed=3, events=3000)


def _findings(raw: RawTables) -> dict[str, list[Finding]]:
    snapshot = Snapshot(
        id="0" * 16,
        dataset=raw.dataset,
        source=raw.source,
        created_at=utc_now(),
        tables={name: TableInfo(rows=table.num_rows, sha256="") for name, table in raw.tables.items()},
        embeddings=raw.specs,
        split=raw.split,
    )
    verdicts = [judgement.verdict for judgement in judge(Material(snapshot, raw.tables, utc_now())).judgements]
    judged = {verdict.table for verdict in verdicts}
    assert judged == set(raw.tables) | ({"clusters"} if snapshot.video_modalities else set())
    return {verdict.table: verdict.findings for verdict in verdicts if not verdict.success}


NEEDED = {
    "interactions": ("users", "videos"),
    "listens": ("users", "music"),
    "videos": ("users", "music"),
    "posts": ("users",),
    "edges": ("users",),
    "embedding_music_acoustic": ("music",),
    "embedding_post_visual": ("users", "posts"),
    "embedding_post_visual_handcrafted": ("users", "posts"),
}


def _part(raw: RawTables, table: str) -> RawTables:
    """One table and those that it names rows of; judging all takes long."""
    names = {table, *NEEDED.get(table, ())}
    names |= {"music"} if "videos" in names else set()
    specs = {name: spec for name, spec in raw.specs.items() if f"embedding_{name}" in names}
    return replace(raw, tables={name: content for name, content in raw.tables.items() if name in names}, specs=specs)


def _spoilt(raw: RawTables, table: str, column: str, row: int, value: object) -> RawTables:
    old = raw.tables[table]
    values = old[column].to_pylist()
    values[row] = value
    index = old.schema.get_field_index(column)
    new = old.set_column(index, old.schema.field(index), pa.array(values, old.schema.field(index).type))
    return replace(raw, tables=raw.tables | {table: new})


def test_a_whole_platform_passes(platform: RawTables) -> None:
    assert _findings(platform) == {}


@pytest.mark.parametrize(
    ("table", "column", "value", "broken"),
    [
        ("listens", "music_id", "silence", "music_known"),
        ("listens", "user_id", "nobody", "user_known"),
        ("listens", "kind", "view", "kind"),
        ("listens", "weight", float("nan"), "weight"),
        ("listens", "event_time", utc_now() + timedelta(days=1), "age_hours"),
        ("posts", "user_id", "nobody", "user_known"),
        ("posts", "event_time", utc_now() + timedelta(days=1), "age_hours"),
        ("edges", "source_id", "nobody", "source_known"),
        ("edges", "target_id", "nobody", "target_known"),
        ("edges", "weight", -1.0, "weight"),
        ("videos", "author_id", "nobody", "author_known"),
        ("videos", "music_id", "silence", "music_known"),
        ("music", "event_time", utc_now() + timedelta(days=1), "age_hours"),
        ("users", "event_time", utc_now() + timedelta(days=1), "age_hours"),
        ("embedding_music_acoustic", "music_id", "silence", "known"),
        ("embedding_post_visual", "post_id", "unsaid", "known"),
        ("embedding_post_visual_handcrafted", "vector", [float("nan")] * 12, "nonfinite"),
    ],
)
def test_one_bad_row_of_a_table(platform: RawTables, table: str, column: str, value: object, broken: str) -> None:
    findings = _findings(_spoilt(_part(platform, table), table, column, 5, value))
    assert list(findings) == [table]
    assert broken in {finding.column for finding in findings[table]}


@pytest.mark.parametrize("table", ["interactions", "listens", "users", "videos", "music", "posts", "edges"])
def test_the_same_row_twice(platform: RawTables, table: str) -> None:
    rows = platform.tables[table]
    doubled = pa.concat_tables([rows, rows.slice(0, 1)])
    part = _part(platform, table)
    ((finding,),) = _findings(replace(part, tables=part.tables | {table: doubled})).values()
    assert finding.column == "repeated"


def test_a_like_may_come_at_the_moment_of_the_view(data) -> None:
    events = data.tables["interactions"]
    like = events.slice(0, 1).set_column(2, events.schema.field("kind"), pa.array(["like"]))
    data.tables["interactions"] = pa.concat_tables([events, like])
    assert _findings(data.raw) == {}


POST_COUNTS = "embedding_post_visual_handcrafted"


def _with_vectors(raw: RawTables, name: str, vectors: np.ndarray) -> RawTables:
    table = raw.tables[name]
    column = pa.array(list(vectors.astype(np.float32)), table.schema.field("vector").type)
    flat = table.set_column(table.schema.get_field_index("vector"), table.schema.field("vector"), column)
    return replace(raw, tables=raw.tables | {name: flat})


def test_counted_vectors_may_be_zero_and_equal_but_not_all_of_them(platform: RawTables) -> None:
    part = _part(platform, POST_COUNTS)
    vectors = np.zeros((part.tables[POST_COUNTS].num_rows, len(part.tables[POST_COUNTS]["vector"][0])))
    dead = _findings(_with_vectors(part, POST_COUNTS, vectors))
    assert [finding.column for finding in dead[POST_COUNTS]] == ["zero_share", "distinct"]
    one = _findings(_with_vectors(part, POST_COUNTS, vectors + 3))
    assert [finding.rule for finding in one[POST_COUNTS]] == ["the vectors are not all one and the same"]
    vectors[::20] = 1
    assert _findings(_with_vectors(part, POST_COUNTS, vectors)) == {}
    vectors[0, 0] = 1e10
    (finding,) = _findings(_with_vectors(part, POST_COUNTS, vectors))[POST_COUNTS]
    assert (finding.rule, len(finding.examples)) == ("no vector is longer than 1,000,000,000", 1)
    deep = _part(platform, "embedding_post_visual")
    shape = deep.tables["embedding_post_visual"].num_rows, len(deep.tables["embedding_post_visual"]["vector"][0])
    assert _findings(_with_vectors(deep, "embedding_post_visual", np.zeros(shape)))


@pytest.mark.parametrize("table", ["embedding_post_visual", POST_COUNTS])
def test_a_table_without_a_vector_is_a_finding(platform: RawTables, table: str) -> None:
    part = _part(platform, table)
    empty = replace(part, tables=part.tables | {table: part.tables[table].slice(0, 0)})
    assert [finding.rule for finding in _findings(empty)[table]] == ["at least one of the posts has a vector"]


def test_posts_may_lack_a_modality_and_videos_may_not(platform: RawTables) -> None:
    few = {name: platform.tables[name].slice(0, 5) for name in ("embedding_post_visual", "embedding_visual")}
    findings = _findings(replace(platform, tables=platform.tables | few))
    assert {table: [f.column for f in found] for table, found in findings.items()} == {"embedding_visual": ["present"]}


def test_a_second_revision_is_judged_beside_the_first(platform: RawTables, settings: Settings, home: Home) -> None:
    second = platform.specs["visual"].model_copy(update={"revision": "another"})
    name = f"visual@{second.digest[:8]}"
    vectors = platform.tables["embedding_visual"]
    hurt = _spoilt(
        replace(platform, tables={**platform.tables, f"embedding_{name}": vectors}),
        f"embedding_{name}",
        "video_id",
        0,
        "unseen",
    )
    hurt = replace(hurt, specs=platform.specs | {name: second})
    assert list(_findings(hurt)) == [f"embedding_{name}"]
    with home.writing("test"):
        write_snapshot(home, hurt)
    report = validate_snapshot(settings, home)
    assert not report.success
    assert (Path(report.data_docs).parent / file_name(f"visual-embedding_{name}", ".html")).is_file()


def test_music_without_its_table_is_unknown(platform: RawTables) -> None:
    tables = {name: table for name, table in platform.tables.items() if name != "music"}
    findings = _findings(replace(platform, tables=tables))
    assert {"listens", "videos", "embedding_music_acoustic"} <= set(findings)


def test_listens_are_split_where_there_are_no_interactions(platform: RawTables) -> None:
    listens, users = platform.tables["listens"], platform.tables["users"]
    known = pc.is_in(listens["user_id"], users["user_id"].slice(0, 5).combine_chunks())
    tables = {"users": users, "music": platform.tables["music"], "listens": listens.filter(known)}
    findings = _findings(RawTables(tables, {}, platform.split, "few", "tests"))
    assert findings["listens"][0].rule == "every part has at least 10 users"


def test_lastfm_passes(settings: Settings, home: Home, public_data: Path) -> None:
    with home.writing("test"):
        write_snapshot(home, read_lastfm(public_data / "lastfm-2k")[0])
    report = validate_snapshot(settings, home)
    assert report.success
    assert {(verdict.suite, verdict.table) for verdict in report.suites} >= {("splits", "listens"), ("edges", "edges")}


def test_a_table_without_its_users(platform: RawTables) -> None:
    posts = table_of(
        platform.tables["posts"].schema, np.zeros(1, np.int64), post_id=pa.array(["p"]), user_id=pa.array(["u0"])
    )
    findings = _findings(RawTables({"posts": posts}, {}, platform.split, "few", "tests"))
    assert [finding.column for finding in findings["posts"]] == ["user_known"]
