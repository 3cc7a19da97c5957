"""Frames of every service on one platform, with networks and texts; and of data without videos."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.snapshot import SplitInstants
from contracts.tables import EDGES, LISTENS, MUSIC, USERS
from feature_repo.frame import load_all_events
from feature_repo.raw_tables import RawTables, microseconds, table_of
from feature_repo.services import RANKINGS, SERVICES
from feature_repo.simulator import generate, plan_of

CUT = datetime(2000, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def small(make_world: Callable[[RawTables], Any]) -> Any:
    raw, _ = generate(plan_of("small", 0.2, seed=1, late=0.2, videos=50, music=20, events=400))
    return make_world(raw)


@pytest.mark.parametrize("service", SERVICES)
def test_a_frame_of_every_service(small: Any, service: str) -> None:
    frame, ranking = small.frame(service), RANKINGS[SERVICES[service].ranks]
    tables = small.snapshot.tables
    assert len(frame.users) == tables["users"].rows
    assert len(frame.items) == tables["videos" if ranking.items == "video" else "music"].rows
    events = load_all_events(small.home, frame)
    test = events.parts(frame.snapshot.split)[2].pairs
    assert len(events) == len(frame.train) + len(frame.validation) + len(test)
    assert len(frame.train) > 0
    if ranking.table != "videos":  # all of the few videos were published before the cut
        assert min(len(frame.validation), len(test)) > 0
    assert (events.pairs >= 0).all()
    assert (np.diff(events.arrivals) >= 0).all()
    assert (events.times <= events.arrivals).all()
    if ranking.context is None:
        assert len(set(map(tuple, events.pairs.tolist()))) == len(events)
        assert frame.train_context is frame.validation_context is events.context is None
        assert frame.contexts == {}
    else:
        assert {len(matrix) for matrix in frame.contexts.values()} == {events.context.max() + 1}
        assert len(frame.train_context) == len(frame.train)
        assert len(frame.validation_context) == len(frame.validation)
    assert frame.history.shape == (len(frame.users), 50)
    assert (frame.history >= 0).any()
    assert frame.popularity.sum() >= len(np.unique(frame.train[:, 1]))
    assert list(frame.modalities) == sorted(frame.modalities) == list(frame.missing)
    for modality, matrix in frame.modalities.items():
        assert matrix.dtype == np.float32
        assert not matrix[frame.missing[modality]].any()
        assert matrix.any()


def test_networks_and_titles_for_mmm(small: Any) -> None:
    frame = small.frame("mmm_v1")
    assert sorted(frame.networks) == ["co_like", "follow", "repost"]
    cut = microseconds(small.snapshot.split.train_until)
    ties: dict[str, Counter[tuple[int, int]]] = {"follow": Counter(), "repost": Counter()}
    for row in small.rows("edges"):
        if max(row["event_time"], row["ingested_at"]) < cut:
            pair = frame.users.rows([row["source_id"], row["target_id"]]).tolist()
            ties[row["network"]][(pair[0], pair[1])] += row["weight"]
    for name, known in ties.items():
        matrix = frame.networks[name].tocoo()
        assert matrix.dtype == np.float32
        found = dict(zip(zip(*map(np.ndarray.tolist, matrix.coords), strict=True), matrix.data.tolist(), strict=True))
        assert all(0 < weight <= known[pair] for pair, weight in found.items()), "nothing of after the cut"
        assert len(found) > len(known) // 2, "lists are as of the midnight after a user's last act"
    assert frame.networks["co_like"].nnz > 0
    titles = {row["video_id"]: row["title"] for row in small.rows("videos")}
    assert frame.texts == tuple(titles[video] for video in frame.items.ids(range(len(frame.items))))
    assert list(frame.modalities) == ["textual", "visual"]
    assert small.frame("m3csr_v1").texts is None


def test_music_with_friends_and_no_videos(make_world: Callable[[RawTables], Any]) -> None:
    """As Last.fm is: listening counts by artist, a network of friends, nominal times."""
    before, cut = microseconds(CUT - 2 * DAY), microseconds(CUT)
    hour = 3_600_000_000
    ids = {name: pa.array([f"{name}{n}" for n in range(4)]) for name in "um"}
    listens = [(0, 1, -3), (1, 1, -2), (0, 2, -1), (0, 1, 1), (2, 0, 2), (1, 2, 30), (3, 3, -1)]
    friends = [(0, 1), (1, 0), (2, 0), (3, 2)]
    who, what, when = map(np.array, zip(*listens, strict=True))
    source, target = map(np.array, zip(*friends, strict=True))
    known = np.full(4, before)
    tables = {
        "users": table_of(USERS, known, user_id=ids["u"]),
        "music": table_of(MUSIC, known, music_id=ids["m"], title=pa.array(["Nina", None, "Ella", "Björk"])),
        "listens": table_of(
            LISTENS,
            cut + when * hour,
            user_id=ids["u"].take(pa.array(who)),
            music_id=ids["m"].take(pa.array(what)),
            kind=pa.repeat(pa.scalar("listen"), len(who)),
            weight=pa.repeat(pa.scalar(7.0, pa.float32()), len(who)),
        ),
        "edges": table_of(
            EDGES,
            np.full(len(friends), before),
            network=pa.repeat(pa.scalar("friend"), len(friends)),
            source_id=ids["u"].take(pa.array(source)),
            target_id=ids["u"].take(pa.array(target)),
            weight=pa.repeat(pa.scalar(1.0, pa.float32()), len(friends)),
        ),
    }
    split = SplitInstants(train_until=CUT, validation_until=CUT + DAY, nominal=True)
    world = make_world(RawTables(tables, {}, split, "lastfm", "test"))
    frame = world.frame("mmm_music_v1")
    assert frame.train.tolist() == [[0, 1], [1, 1], [0, 2], [3, 3]]
    assert frame.validation.tolist() == [[2, 0]], "the pair that is in training already does not stand again"
    assert load_all_events(world.home, frame).parts(frame.snapshot.split)[2].pairs.tolist() == [[1, 2]]
    assert frame.history[0, :3].tolist() == [1, 2, -1]
    assert frame.popularity.tolist() == [0, 2, 1, 1]
    wanted = np.zeros((4, 4), np.float32)
    wanted[source, target] = 1
    assert frame.networks["friend"].toarray().tolist() == wanted.tolist()
    assert frame.texts == ("Nina", None, "Ella", "Björk")
    assert frame.modalities == frame.contexts == {}
    assert frame.train_context is None
    assert world.frame("listens_v1").train.tolist() == frame.train.tolist()
