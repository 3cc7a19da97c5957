"""One service, three surfaces: real versions trained on a simulated platform, real requests, a post a moment ago."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from backbeat.cli import invoke
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.messages import RecommendRequest
from contracts.platform import ResponseRow
from contracts.settings import Settings, load_settings
from contracts.snapshot import Snapshot
from contracts.surfaces import BACKGROUND_MUSIC, MUSIC, VIDEO_FEED
from feature_repo.apply import apply_features
from feature_repo.frame import TrainingFrame, load_unjudged_frame
from feature_repo.materialize import materialize
from feature_repo.offline import read_table, write_snapshot
from feature_repo.online import OnlineFeatures
from feature_repo.services import ranking_of
from feature_repo.simulator import simulate
from feature_repo.stream.consumer import Consumer
from feature_repo.stream.push import push
from registry.lifecycle import Standing
from registry.store import ModelStore
from serving.building import build_ranker
from serving.contexts import RequestContexts, views_of_manifest
from serving.features import SurfaceFeatures
from serving.loader import open_surfaces
from serving.recommend import Query, Ranker
from serving.replay import service_status, whole_status
from serving.server import Server, free_port
from tests.serving.raw_events import moments_of, posted_since, videos_of
from tests.serving.waiting import until
from training.candidate_generation import candidate_vectors
from training.packages import load_package
from training.train import train
from validation.run import validate_snapshot


@dataclass(frozen=True)
class Platform:
    """A home with a champion on each surface, and a shadow on that of background music."""

    settings: Settings
    home: Home
    snapshot: Snapshot
    store: ModelStore

    def point(self, surface: str, **aliases: str | None) -> None:
        self.store.assign(surface, Standing(aliases=aliases, states={}))

    def ranker(self, surface: str, alias: str = "champion") -> Ranker:
        version = self.store.get(surface, alias)
        return build_ranker(
            self.settings, self.home, version.version, load_package(self.store.package_path(version), "cpu")
        )

    def frame(self, ranker: Ranker) -> TrainingFrame:
        service = ranker.package.manifest.feature_service
        return load_unjudged_frame(self.settings, self.home, service, self.snapshot)

    def features(self, ranker: Ranker) -> SurfaceFeatures:
        manifest = ranker.package.manifest
        online = OnlineFeatures(self.settings, self.home, manifest.snapshot)
        return SurfaceFeatures(online, ranking_of(manifest.feature_service).history)

    def ids(self, table: str, column: str) -> list[str]:
        return [str(each) for each in read_table(self.home, self.snapshot, table, [column])[column].to_pylist()]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    root = tmp_path_factory.mktemp("surfaces")
    settings = load_settings(home=root / "home", device="cpu", serve_follow=0.2, scorer_candidates=40)
    home = Home.open(settings)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, simulate(users=60, videos=240, music=180, days=10, seed=1, events=1_000))
        apply_features(settings, home)
        validate_snapshot(settings, home)
        materialize(settings, home)
        store = ModelStore(settings, home)
        made = Platform(settings, home, snapshot, store)
        made.point(VIDEO_FEED, champion=train(settings, home, "popularity").version)
        first, second = (train(settings, home, model, {"max_epochs": 2}).version for model in ("dl-bgm", "mf-bgm"))
        made.point(BACKGROUND_MUSIC, champion=first, shadow=second)
        train(settings, home, "mf-amae", {"max_epochs": 2, "autoencoder_epochs": 1})
    return made


@pytest.fixture(scope="module")
def url(platform: Platform) -> Iterator[str]:
    """The service; it starts while no version is champion of music."""
    settings, home = platform.settings, platform.home
    with Server(settings, home, settings.serve_host, free_port(settings.serve_host)) as server:
        yield server.url


def ask(url: str, **fields: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/recommend", json=fields, trust_env=False, timeout=30).raise_for_status().json()
    assert isinstance(answer, dict)
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_surface_is_taken_up_when_it_gets_its_first_champion(platform: Platform, url: str) -> None:
    asked = {"surface": MUSIC, "user_id": "u1", "k": 5}
    if MUSIC not in whole_status(url)["surfaces"]:
        refused = httpx.post(f"{url}/recommend", json=asked, trust_env=False)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
        assert "no version is champion" in refused.json()["error"]["found"]
    take_up_music(platform, url)
    answer = ask(url, **asked)
    assert (answer["surface"], answer["model"]) == (MUSIC, "mf-amae")


def take_up_music(platform: Platform, url: str) -> None:
    platform.point(MUSIC, champion="1")
    until(lambda: MUSIC in whole_status(url)["surfaces"])


def test_each_surface_answers_with_its_own_items(platform: Platform, url: str) -> None:
    take_up_music(platform, url)
    videos, music = set(platform.ids("videos", "video_id")), set(platform.ids("music", "music_id"))
    feed = ask(url, user_id="u1", k=5)
    assert (feed["surface"], set(ids(feed)) <= videos) == (VIDEO_FEED, True)
    background = ask(url, surface=BACKGROUND_MUSIC, user_id="u1", video_id="v3", k=5)
    assert (background["surface"], set(ids(background)) <= music) == (BACKGROUND_MUSIC, True)
    listening = ask(url, surface=MUSIC, user_id="u1", k=5)
    assert (listening["surface"], set(ids(listening)) <= music) == (MUSIC, True)
    assert {item["step"] for answer in (background, listening) for item in answer["items"]} == {"model"}


def test_the_service_ranks_as_the_package_does_on_its_own_frame(platform: Platform, url: str) -> None:
    ranker = platform.ranker(BACKGROUND_MUSIC)
    frame = platform.frame(ranker)
    user = next(user for user in frame.users.ids(range(len(frame.users))) if history_of(platform, ranker, user))
    history = history_of(platform, ranker, user)
    manifest = ranker.package.manifest
    reader = RequestContexts(platform.features(ranker), lambda: views_of_manifest(manifest).values())
    query = Query(user, history, (), 10, video_id="v7", context=reader.read(["v7"])[0])
    answer = ask(url, surface=BACKGROUND_MUSIC, user_id=user, video_id="v7", k=10)
    assert [(item["item_id"], item["score"]) for item in answer["items"]] == [
        (item.item_id, item.score) for item in ranker.rank(query)
    ]
    assert ids(answer) != ids(ask(url, surface=BACKGROUND_MUSIC, user_id=user, video_id="v8", k=10))


def test_music_for_a_video_may_be_ranked_among_candidates(platform: Platform) -> None:
    whole = platform.ranker(BACKGROUND_MUSIC)
    frame = platform.frame(whole)
    assert (whole.package.manifest.shape, whole.package.manifest.candidates) == ("scorer", 0), "too few of so few"
    package = replace(
        whole.package,
        manifest=whole.package.manifest.model_copy(update={"candidates": 40}),
        candidate_vectors=candidate_vectors(frame.train, (len(frame.users), len(frame.items))),
    )
    ranker = build_ranker(platform.settings, platform.home, "1", package)
    user = next(user for user in frame.users.ids(range(len(frame.users))) if history_of(platform, whole, user))
    with closing(platform.features(whole)) as features:
        reader = RequestContexts(features, lambda: views_of_manifest(package.manifest).values())
        contexts = reader.read(["v7", "v8"])
    queries = [
        Query(each, history_of(platform, whole, each), (), 40, video_id=video, context=context)
        for each in (user, "nobody")
        for video, context in zip(("v7", "v8"), contexts, strict=True)
    ]
    for query, ranking in zip(queries, ranker.recommend(queries), strict=True):
        scores = {item.item_id: item.score for item in whole.rank(replace(query, k=500))}
        found = [(item.item_id, item.step) for item in ranking.items]
        assert {step for _, step in found} == {"model"}
        assert [item.score for item in ranking.items] == pytest.approx([scores[name] for name, _ in found], rel=1e-5)
        assert found == [(item.item_id, item.step) for item in ranker.rank(query)]
    assert {item.item_id for item in ranker.rank(queries[0])} != {item.item_id for item in ranker.rank(queries[2])}


def history_of(platform: Platform, ranker: Ranker, user: str) -> tuple[str, ...]:
    with closing(platform.features(ranker)) as features:
        return tuple(features.user_history([user])[0])


def test_what_a_user_took_before_may_be_taken_again_for_another_video(platform: Platform) -> None:
    ranker = platform.ranker(BACKGROUND_MUSIC)
    users = [user for user in ranker.package.users.ids(range(60)) if history_of(platform, ranker, user)]
    shown = ranker.rank(Query(users[0], history_of(platform, ranker, users[0]), (), 500))
    assert len(shown) == len(ranker.items)
    excluded = shown[0].item_id
    assert excluded not in {i.item_id for i in ranker.rank(Query(users[0], (), (excluded,), 500))}


def test_music_that_was_heard_is_left_out(platform: Platform, url: str) -> None:
    take_up_music(platform, url)
    ranker = platform.ranker(MUSIC)
    user = next(user for user in ranker.package.users.ids(range(60)) if history_of(platform, ranker, user))
    assert not set(ids(ask(url, surface=MUSIC, user_id=user, k=500))) & set(history_of(platform, ranker, user))


@pytest.mark.parametrize("surface", [BACKGROUND_MUSIC, MUSIC])
def test_the_served_batch_is_that_of_the_frame(platform: Platform, url: str, surface: str) -> None:
    """For events that nothing new of their user followed, the store has what the frame was made from."""
    take_up_music(platform, url)
    ranker = platform.ranker(surface)
    frame, manifest = platform.frame(ranker), ranker.package.manifest
    assert frame.validation_context is not None
    rows, users = frame.validation_context, frame.users.ids(frame.validation[:, 0])
    moments = moments_of(platform.home, platform.snapshot, frame, surface)
    if surface == MUSIC:
        quiet = [
            row
            for row, user in enumerate(users)
            if not posted_since(platform.home, platform.snapshot, user, moments[row])
        ]
        videos: list[str | None] = [None] * len(users)
    else:
        quiet = list(range(len(users)))
        videos = list(videos_of(platform.home, platform.snapshot, frame))
    assert len(quiet) >= 3
    with closing(platform.features(ranker)) as features:
        reader = RequestContexts(features, lambda: views_of_manifest(manifest).values())
        for row in quiet:
            asked = users[row] if videos[row] is None else str(videos[row])
            (context,) = reader.read([asked], moments[row] - timedelta(microseconds=1))
            query = Query(users[row], (), (), 5, video_id=videos[row], context=context)
            batch = ranker.batch([query])
            assert batch.rows.tolist() == [frame.validation[row, 0]]
            for name, table in frame.contexts.items():
                np.testing.assert_allclose(batch.context[name].numpy()[0], table[rows[row]], rtol=1e-6, err_msg=name)
            assert any(batch.context[name].any() for name in batch.context)


def test_a_post_of_a_moment_ago_counts(platform: Platform, url: str) -> None:
    take_up_music(platform, url)
    ranker = platform.ranker(MUSIC)
    views = views_of_manifest(ranker.package.manifest).values()
    with closing(platform.features(ranker)) as features:
        users = ranker.package.users.ids(range(60))
        posted = RequestContexts(features, lambda: views).read(users)
        user = next(user for user, context in zip(users, posted, strict=True) if context.keys() == set(views))
    before = ask(url, surface=MUSIC, user_id=user, k=20)
    assert before["missing"] == []
    specs = {name: spec for name, spec in platform.snapshot.embeddings.items() if spec.entity == "post"}
    moment = utc_now() - timedelta(seconds=1)
    post = {"post_id": ["post of a moment ago"], "event_time": [moment]}
    pushed = {"posts": pa.table(post | {"user_id": [user], "text": ["a song"]})}
    for name, spec in specs.items():
        vectors = [np.linspace(3, -3, spec.width, dtype=np.float32).tolist()]
        pushed[f"embedding_{name}"] = pa.table(post | {"vector": pa.array(vectors, pa.list_(pa.float32()))})
    with platform.home.writing("test"):
        for name, rows in pushed.items():
            push(platform.settings, platform.home, name, rows)
        Consumer(platform.settings, platform.home).run(once=True)
    after = ask(url, surface=MUSIC, user_id=user, k=20)
    assert [item["score"] for item in after["items"]] != [item["score"] for item in before["items"]]
    with closing(platform.features(ranker)) as features:
        reader = RequestContexts(features, lambda: views)
        now, tomorrow = (reader.read([user], utc_now() + ahead)[0] for ahead in (timedelta(), timedelta(hours=25)))
        query = Query(user, history_of(platform, ranker, user), (), 20, context=now)
    assert [(item["item_id"], item["score"]) for item in after["items"]] == [
        (item.item_id, item.score) for item in ranker.rank(query)
    ]
    recent = [view for view in now if view.startswith("user_context")]
    assert len(recent) == len(specs)
    assert all(now[view] != tomorrow[view] for view in recent), "tomorrow it is no longer recent"


def test_an_unknown_video_and_an_unknown_user(url: str) -> None:
    answer = ask(url, surface=BACKGROUND_MUSIC, user_id="u1", video_id="of nobody", k=3)
    assert answer["missing"] == [{"feature": "video_content", "reason": "absent"}]
    assert len(answer["items"]) == 3
    answer = ask(url, surface=BACKGROUND_MUSIC, user_id="never seen", video_id="of nobody", k=3)
    assert [item["step"] for item in answer["items"]] == ["popular"] * 3
    assert answer["fallbacks"] == [{"step": "popular", "reason": "unknown_user"}]
    known = ask(url, surface=BACKGROUND_MUSIC, user_id="never seen", video_id="v3", k=3)
    assert {item["step"] for item in known["items"]} == {"model"}, "what the video is like is enough"


def test_a_batch_has_a_video_for_each_user(url: str) -> None:
    asked = {"surface": BACKGROUND_MUSIC, "k": 4}
    users, videos = ["u1", "u2", "u1"], ["v3", "v4", "of nobody"]
    body = {**asked, "user_ids": users, "video_ids": videos}
    batch = httpx.post(f"{url}/recommend/batch", json=body, trust_env=False).raise_for_status().json()["responses"]
    for answer, user, video in zip(batch, users, videos, strict=True):
        single = ask(url, **asked, user_id=user, video_id=video)
        assert (answer["items"], answer["missing"]) == (single["items"], single["missing"])


FOR_A_VIDEO = {"surface": BACKGROUND_MUSIC, "user_id": "u1", "video_id": "v1"}


@pytest.mark.parametrize(
    ("path", "body", "subject"),
    [
        ("", {"surface": BACKGROUND_MUSIC, "user_id": "u1"}, "request field 'video_id'"),
        ("", {"surface": MUSIC, "user_id": "u1", "video_id": "v1"}, "request field 'video_id'"),
        ("", {"user_id": "u1", "video_id": "v1"}, "request field 'video_id'"),
        ("", {"surface": "radio", "user_id": "u1"}, "request field 'surface'"),
        ("/batch", {"surface": BACKGROUND_MUSIC, "user_ids": ["u1"]}, "request field 'video_ids'"),
        ("/batch", {"surface": BACKGROUND_MUSIC, "user_ids": ["u1"], "video_ids": ["v1", "v2"]}, "'video_ids'"),
        ("/batch", {"user_ids": ["u1"], "video_ids": ["v1"]}, "request field 'video_ids'"),
        ("", {**FOR_A_VIDEO, "filters": {"longest": 9}}, "shortest"),
        (
            "",
            {"surface": BACKGROUND_MUSIC, "user_id": "u1", "video_id": "v1", "filters": {"authors": ["u2"]}},
            "authors",
        ),
    ],
)
def test_what_a_surface_cannot_be_asked(url: str, path: str, body: dict[str, Any], subject: str) -> None:
    answer = httpx.post(f"{url}/recommend{path}", json=body, trust_env=False)
    assert answer.status_code == 400
    assert subject in answer.json()["error"]["subject"]


def test_filters_and_exclusions_of_music(platform: Platform, url: str) -> None:
    asked = {"surface": BACKGROUND_MUSIC, "user_id": "u1", "video_id": "v3"}
    every = ids(ask(url, **asked, k=500))
    assert ids(ask(url, **asked, k=3, exclude=every[:2])) == every[2:5]
    assert ids(ask(url, **asked, k=3, filters={"music": every[4:6]})) == every[4:6]
    published = dict(zip(platform.ids("music", "music_id"), times_of_music(platform), strict=True))
    middle = sorted(published.values())[len(published) // 2]
    new = [music for music in every if published[music] >= middle]
    assert ids(ask(url, **asked, k=500, filters={"published_since": middle.isoformat()})) == new


def times_of_music(platform: Platform) -> list[Any]:
    return list(read_table(platform.home, platform.snapshot, "music", ["event_time"])["event_time"].to_pylist())


def test_neighbours_of_the_last_music_stand_in(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = platform.ranker(BACKGROUND_MUSIC)
    monkeypatch.setattr(type(ranker.package.recommender), "can_score", lambda _, batch: batch.rows < -1)
    last = ranker.items.ids([5])
    (ranking,) = ranker.recommend([Query("nobody", tuple(last), (), 5)])
    assert {item.step for item in ranking.items} == {"neighbours"}
    assert last[0] not in {item.item_id for item in ranking.items}, "nothing is its own neighbour"
    around = (("m9" if "m9" in ranker.items.ids(range(180)) else last[0], 2.0),)
    (ranking,) = ranker.recommend([Query("nobody", (), (), 5)], lambda _: [around])
    assert [item.step for item in ranking.items] == ["network", *["popular"] * 4]


def test_the_shadow_of_a_surface_gets_the_same_video(platform: Platform, url: str) -> None:
    until(lambda: service_status(url, BACKGROUND_MUSIC)["shadows"])
    answered = service_status(url, BACKGROUND_MUSIC)["shadow"]["answered"]
    answer = ask(url, surface=BACKGROUND_MUSIC, user_id="u2", video_id="v11", k=10)
    until(lambda: service_status(url, BACKGROUND_MUSIC)["shadow"]["answered"] > answered)
    until(lambda: service_status(url, BACKGROUND_MUSIC)["records"]["pending"] == 0)
    home = ["--home", str(platform.home.root)]
    report = invoke(["shadow", "report", "--surface", BACKGROUND_MUSIC, *home])
    assert (report["surface"], report["errors"]) == (BACKGROUND_MUSIC, 0)
    traced = invoke(["trace", answer["response_id"], *home])
    assert f"{BACKGROUND_MUSIC}/1" in str(traced)
    with closing(Database(platform.settings, platform.home)) as database, database.session() as session:
        row = session.get_one(ResponseRow, answer["response_id"])
        assert (row.surface, row.video_id) == (BACKGROUND_MUSIC, "v11")
        assert [item["item_id"] for item in row.items] == ids(answer)


def test_feedback_on_music(url: str) -> None:
    answer = ask(url, surface=BACKGROUND_MUSIC, user_id="u2", video_id="v12", k=2)
    event = {"event_id": "e1", "kind": "click", "item_id": ids(answer)[0], "at": utc_now().isoformat()}
    body = {"response_id": answer["response_id"], "events": [event]}
    receipt = httpx.post(f"{url}/feedback", json=body, trust_env=False, timeout=30).raise_for_status().json()
    assert receipt["events"] == [{"event_id": "e1", "state": "stored", "late": False}]


def test_metrics_name_the_surface(platform: Platform, url: str) -> None:
    take_up_music(platform, url)
    shown = httpx.get(f"{url}/metrics", trust_env=False).text
    for surface in (VIDEO_FEED, BACKGROUND_MUSIC, MUSIC):
        assert f'backbeat_serving_champion{{surface="{surface}"}} 1.0' in shown


def test_a_surface_whose_champion_is_damaged_keeps_no_other_from_serving(platform: Platform) -> None:
    platform.point(MUSIC, champion="1")
    settings = platform.settings.model_copy(update={"serve_surfaces": f"{VIDEO_FEED},{MUSIC}", "serve_follow": 3600})
    weights = platform.store.package_path(platform.store.get(MUSIC, "champion")) / "weights.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1])
    try:
        surfaces = open_surfaces(settings, platform.home)
    finally:
        weights.write_bytes(kept)
    try:
        assert list(surfaces.status()["surfaces"]) == [VIDEO_FEED]
        assert surfaces.engine(VIDEO_FEED).answer(RecommendRequest(user_id="u1", k=3)).response.surface == VIDEO_FEED
        with pytest.raises(ServiceUnavailable, match=r"version 1: .*weights.safetensors: found SHA-256"):
            surfaces.engine(MUSIC)
        with pytest.raises(NotFound, match="not served here"):
            surfaces.engine(BACKGROUND_MUSIC)
    finally:
        surfaces.close()
