"""What is recorded of a real service: gaps after a kill, replay, Parquet, and skew, on a simulated platform."""

import os
import signal
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from backbeat.cli import invoke
from contracts.database import Database
from contracts.errors import NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.log_rows import FeatureSnapshotRow
from contracts.messages import RecommendRequest
from contracts.platform import ResponseRow
from contracts.settings import Settings, load_settings
from contracts.snapshot import Snapshot
from contracts.surfaces import BACKGROUND_MUSIC, MUSIC, VIDEO_FEED, Surface
from feature_repo.apply import apply_features
from feature_repo.materialize import materialize
from feature_repo.offline import read_table, write_snapshot
from feature_repo.simulator import simulate
from registry.lifecycle import Standing
from registry.store import ModelStore
from serving.loader import open_surfaces
from serving.replay import service_status
from serving.replaying import Replayer, recorded_lists, replay_lists
from serving.server import Server, free_port
from serving.skew import measure_skew
from serving.writers import gaps, settle_gaps
from tests.serving.load import CLIENTS, Load, worker_of
from tests.serving.waiting import until
from training.train import train
from validation.run import validate_snapshot


@dataclass(frozen=True)
class Platform:
    settings: Settings
    home: Home
    snapshot: Snapshot
    champion: str
    other: str
    old_until: datetime
    """Up to which the online store was filled first."""

    @property
    def users(self) -> list[str]:
        return [str(user) for user in read_table(self.home, self.snapshot, "users", ["user_id"])["user_id"].to_pylist()]

    def database(self) -> Database:
        return Database(self.settings, self.home)

    def serve(self, users: list[str], surface: Surface = VIDEO_FEED, video_id: str | None = None) -> list[str]:
        """Have these users answered by the engine in this process, and recorded; their response ids."""
        surfaces = open_surfaces(self.settings.model_copy(update={"serve_surfaces": surface}), self.home)
        try:
            engine = surfaces.engine(surface)
            asked = {"surface": surface, "k": 10, "exclude": ["v1"], "video_id": video_id}
            answers = [engine.answer(RecommendRequest.model_validate({"user_id": user, **asked})) for user in users]
            for answer in answers:
                engine.aside(answer)
        finally:
            surfaces.close()
        return [answer.response.response_id for answer in answers]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    root = tmp_path_factory.mktemp("logs")
    settings = load_settings(home=root / "home", device="cpu", log_features_sample=1, serve_surfaces=VIDEO_FEED)
    home = Home.open(settings)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, simulate(users=60, videos=120, music=180, days=10, seed=1, events=1_500))
        apply_features(settings, home)
        validate_snapshot(settings, home)
        last = max(read_table(home, snapshot, "interactions", ["ingested_at"])["ingested_at"].to_pylist())
        old_until = last - timedelta(days=3)
        materialize(settings, home, until=old_until)
        champion = train(settings, home, "mf", {"max_epochs": 2}, seed=0).version
        other = train(settings, home, "popularity", {}, seed=0).version
        store = ModelStore(settings, home)
        store.assign(VIDEO_FEED, Standing(aliases={"champion": champion}, states={}))
        for surface, model in ((BACKGROUND_MUSIC, "mf-bgm"), (MUSIC, "mf-amae")):
            options = {"max_epochs": 1} | ({"autoencoder_epochs": 1} if surface == MUSIC else {})
            version = train(settings, home, model, options, seed=0).version
            store.assign(surface, Standing(aliases={"champion": version}, states={}))
    return Platform(settings, home, snapshot, champion, other, old_until)


@pytest.fixture(scope="module")
def served_stale(platform: Platform) -> list[str]:
    """Lists served while the online store lacked the last three days."""
    return platform.serve(platform.users)


@pytest.fixture(scope="module")
def served(platform: Platform, served_stale: list[str]) -> list[str]:
    """Lists served once it had all."""
    materialize(platform.settings, platform.home)
    return platform.serve([*platform.users, "stranger"])


def test_a_store_that_is_older_than_the_tables_is_reported_with_its_age(
    platform: Platform, served_stale: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(platform.database()) as database:
        report = measure_skew(platform.settings, platform.home, database, VIDEO_FEED, sample=1_000)
    assert report.requests == len(served_stale)
    history = report.features["user_history:video_ids"]
    assert history.states["older"] > 20
    assert history.states["newer"] == history.states["different"] == 0
    assert history.compared == len(served_stale)
    assert history.behind_s is not None
    # What was superseded was superseded in the last three days of the platform.
    since_end = (datetime.now(platform.old_until.tzinfo) - platform.old_until).total_seconds()
    assert since_end - 3 * 86_400 - 60 < history.behind_s["median"] <= history.behind_s["maximum"] < since_end
    assert {each.state for each in report.examples} <= {"older", "missing"}
    where = ["--home", str(platform.home.root)]
    assert invoke(["logs", "skew", "--limit", "0.01", *where]) == 1
    assert "older" in capsys.readouterr().out
    assert invoke(["logs", "skew", "--limit", "1", *where])["worst"] == report.worst


def test_what_is_served_as_the_tables_say_has_no_skew(platform: Platform, served: list[str]) -> None:
    with closing(platform.database()) as database, database.session() as session:
        times = select(FeatureSnapshotRow.at).where(FeatureSnapshotRow.response_id.in_(served))
        since = min(session.scalars(times).all())
        report = measure_skew(platform.settings, platform.home, database, VIDEO_FEED, sample=1_000, since=since)
    assert (report.requests, report.unread, report.worst, report.examples) == (len(served), 0, 0.0, [])


def test_lists_are_reproduced_to_the_last_bit(
    platform: Platform, served: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--home", str(platform.home.root)]
    replayed = invoke(["replay", "--sample", "1000", *where])
    assert replayed["reproduced"] == replayed["lists"] >= len(served)
    assert (replayed["same_items"], replayed["not_replayed"]) == (1.0, {})
    one = invoke(["replay", served[0], "--json", *where])
    assert (one["lists"], one["reproduced"]) == (1, 1)
    assert "lists reproduced bit for bit by the versions that served them" in capsys.readouterr().out


def test_another_version_makes_other_lists(
    platform: Platform, served: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    replayed = invoke(["replay", "--version", platform.other, "--home", str(platform.home.root)])
    assert replayed["version"] == platform.other
    assert replayed["broken"] == 0
    assert replayed["lists"] - replayed["reproduced"] > 0
    assert 0 < replayed["same_items"] < 1
    first = replayed["differences"][0]
    assert (first["served"], first["elsewhere"]) == (platform.champion, False)
    assert "of the served items are in the list now" in capsys.readouterr().out


def test_a_list_that_is_not_what_was_served_is_shown_and_ends_with_an_error(
    platform: Platform, served: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(platform.database()) as database:
        with database.session() as session:
            row = session.get(ResponseRow, served[1])
            assert row is not None
            true, items = row.items, [dict(item) for item in row.items]
            items[2]["score"] = items[2]["score"] + 2**-40
            row.items = items
        try:
            assert invoke(["replay", served[1], "--home", str(platform.home.root)]) == 1
            assert f"{served[1]} of version {platform.champion}: place 3 was" in capsys.readouterr().out
            recorded = recorded_lists(database, VIDEO_FEED, [served[1]])
            replayer = Replayer(platform.settings, platform.home, database)
            replayer.computed_on["torch"] = "another"
            (difference,) = replay_lists(replayer, recorded).differences
            assert (difference.place, difference.elsewhere) == (2, True)
        finally:
            with database.session() as session:
                row = session.get(ResponseRow, served[1])
                assert row is not None
                row.items = true


def test_lists_that_cannot_be_replayed(platform: Platform, served: list[str]) -> None:
    with closing(platform.database()) as database:
        (recorded,) = recorded_lists(database, VIDEO_FEED, [served[2]])
        replayer = Replayer(platform.settings, platform.home, database)
        newcomer = [{"item_id": "newcomer", "score": 1.0, "step": "model"}]
        gone = [{**vars(recorded), "items": newcomer}, {**vars(recorded), "version": "77"}]
        report = replay_lists(replayer, [type(recorded)(**each) for each in gone])
        assert (report.lists, report.broken, sorted(report.not_replayed.values())) == (0, 0, [1, 1])
        assert any("an item that came to it just then" in why for why in report.not_replayed)
        with pytest.raises(NotFound):
            replay_lists(replayer, [recorded], version="77")
        with pytest.raises(NotFound, match="no served list of that id"):
            recorded_lists(database, VIDEO_FEED, ["nobody's"])
        with pytest.raises(NotFound, match="found none"):
            recorded_lists(database, "music", sample=10)
        with pytest.raises(NotFound, match="found none since"):
            measure_skew(
                platform.settings, platform.home, database, "music", 10, since=datetime.now(platform.old_until.tzinfo)
            )
        with database.session() as session:
            session.delete(session.get(FeatureSnapshotRow, served[3]))
        with pytest.raises(NotFound, match="a list whose features were not kept"):
            recorded_lists(database, VIDEO_FEED, [served[3]])


def test_what_the_tables_know_only_since_is_newer_and_what_was_not_read_is_no_skew(
    platform: Platform, served: list[str]
) -> None:
    with closing(platform.database()) as database:
        before = measure_skew(platform.settings, platform.home, database, VIDEO_FEED, sample=1_000)
        with database.session() as session:
            kept = [session.get_one(FeatureSnapshotRow, response_id) for response_id in served[5:40]]
            times = [row.at for row in kept]
            for row in kept[1:]:
                row.at = platform.old_until
            kept[0].missing = [{"feature": "user_history", "reason": "late"}]
        after = measure_skew(platform.settings, platform.home, database, VIDEO_FEED, sample=1_000)
        with database.session() as session:
            for response_id, at in zip(served[5:40], times, strict=True):
                session.get_one(FeatureSnapshotRow, response_id).at = at
            session.get_one(FeatureSnapshotRow, served[5]).missing = []
    one, other = (report.features["user_history:video_ids"] for report in (before, after))
    assert one.states["newer"] == 0 < other.states["newer"]
    assert other.states["different"] == 0
    assert (after.unread, other.compared) == (1, one.compared - 1)


@pytest.mark.parametrize(
    ("mode", "options", "arms"),
    [
        ("exploration", ["--epsilon", "0.5", "--top", "20"], {"champion", "shuffled"}),
        ("interleaving", [], {"interleaved"}),
        ("ab", ["--weight", "0.5"], {"champion", "challenger"}),
    ],
)
def test_lists_of_an_experiment_are_drawn_again_as_they_were(
    platform: Platform, served: list[str], mode: str, options: list[str], arms: set[str]
) -> None:
    where = ["--reason", "test", "--home", str(platform.home.root)]
    versus = [] if mode == "exploration" else ["--challenger", platform.other]
    invoke(["ab", "start", f"e-{mode}", "--mode", mode, *versus, *options, *where])
    try:
        mixed = platform.serve(platform.users)
    finally:
        invoke(["ab", "stop", f"e-{mode}", *where])
    with closing(platform.database()) as database:
        with database.session() as session:
            rows = session.scalars(select(ResponseRow).where(ResponseRow.id.in_(mixed))).all()
            assert {row.arm for row in rows} == arms
        report = replay_lists(
            Replayer(platform.settings, platform.home, database), recorded_lists(database, VIDEO_FEED, mixed)
        )
    assert (report.lists, report.reproduced, report.not_replayed) == (len(mixed), len(mixed), {})


def test_what_was_withdrawn_then_is_left_out_again(platform: Platform, served: list[str]) -> None:
    with closing(platform.database()) as database, database.session() as session:
        row = session.get(ResponseRow, served[4])
        assert row is not None
        user, best = row.user_id, [item["item_id"] for item in row.items[:2]]
    where = ["--reason", "test", "--home", str(platform.home.root)]
    invoke(["videos", "withdraw", *best, *where])
    try:
        (without,) = platform.serve([user])
    finally:
        invoke(["videos", "admit", *best, *where])
    replayed = invoke(["replay", without, "--home", str(platform.home.root)])
    assert (replayed["lists"], replayed["reproduced"]) == (1, 1)
    with closing(platform.database()) as database:
        (recorded,) = recorded_lists(database, VIDEO_FEED, [without])
        assert set(best) <= set(recorded.computed_on["left_out"])
        assert not {item["item_id"] for item in recorded.items} & set(best)


@pytest.mark.parametrize(("surface", "views"), [(BACKGROUND_MUSIC, "video_"), (MUSIC, "user_")])
def test_lists_of_music_are_replayed_and_what_their_requests_bring_is_compared(
    platform: Platform, served: list[str], surface: Surface, views: str
) -> None:
    video = str(read_table(platform.home, platform.snapshot, "videos", ["video_id"])["video_id"][0])
    ids = platform.serve(platform.users[:20], surface, video if surface == BACKGROUND_MUSIC else None)
    where = ["--surface", surface, "--home", str(platform.home.root)]
    replayed = invoke(["replay", *where])
    assert (replayed["lists"], replayed["reproduced"]) == (20, 20)
    skew = invoke(["logs", "skew", *where])
    brought = [name for name in skew["features"] if name.startswith(views) and name.endswith(":vector")]
    assert brought
    assert (skew["requests"], skew["worst"]) == (20, 0.0)
    with closing(platform.database()) as database, database.session() as session:
        present = [
            row for row in (session.get(FeatureSnapshotRow, each) for each in ids) if row and row.query["context"]
        ]
        assert len(present) >= 2
        altered = [dict(row.query) for row in present[:2]]
        view = next(iter(altered[0]["context"]))
        altered[0]["context"] = {}
        vector = altered[1]["context"].pop(view, None) or [0.0]
        altered[1]["context"] = altered[1]["context"] | {view: [value + 1 for value in vector]}
        present[0].query, present[1].query = altered
    states = invoke(["logs", "skew", *where])["features"][f"{view}:vector"]["states"]
    assert (states["missing"], states["different"]) == (1, 1)


def written(database: Database, load: Load) -> set[str]:
    """Which lists that the clients received are among the records."""
    with database.session() as session:
        return set(session.scalars(select(ResponseRow.id).where(ResponseRow.id.in_(load.ids))))


def status_of_next(server: Server) -> dict[str, Any] | None:
    """What the worker says that the supervisor started in place of the one before; None while there is none."""
    with suppress(ServiceUnavailable):
        return service_status(server.url)
    return None


def test_a_killed_worker_leaves_out_less_than_a_second_and_a_stopped_one_nothing(
    platform: Platform, served: list[str]
) -> None:
    with (
        Server(platform.settings, platform.home, "127.0.0.1", free_port()) as server,
        closing(platform.database()) as database,
    ):
        worker = worker_of(platform.home)
        with Load(server.url, platform.users) as load:
            while len(load.ids) < 300:
                time.sleep(0.01)
            os.kill(worker, signal.SIGKILL)
        missing = len(set(load.ids) - written(database, load))
        (said,) = until(lambda: status_of_next(server), 120)["records"]["gaps_before"]
        (gap,) = [each for each in gaps(database) if each.pid == worker]
        assert said == gap.as_dict()
        assert gap.cause == "killed"
        assert gap.lists is not None
        # What was on its way when the process ended is counted, and was never received.
        assert missing <= gap.lists <= missing + CLIENTS
        assert gap.since is not None
        assert gap.until is not None
        assert datetime.fromisoformat(gap.until) - datetime.fromisoformat(gap.since) <= timedelta(seconds=1)
        found = invoke(["logs", "gaps", "--home", str(platform.home.root)])["gaps"]
        assert [each["lists"] for each in found if each["pid"] == worker] == [gap.lists]

        with Load(server.url, platform.users) as load:
            while len(load.ids) < 50:
                time.sleep(0.01)
        server.stop()
        settle_gaps(database, platform.home.logs)
        assert gaps(database) == [gap]
        assert written(database, load) == set(load.ids)
        assert not list(platform.home.logs.glob("writer.*"))
