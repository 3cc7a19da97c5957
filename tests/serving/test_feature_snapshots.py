"""What is kept of a sampled request is the whole query, and the sample hangs on the response's id alone."""

import json
import uuid
from datetime import UTC, datetime

import torch

from contracts.clock import utc_now
from contracts.messages import Filters, MissingFeature, RecommendResponse
from contracts.settings import load_settings
from serving.answering import Answer
from serving.feature_snapshots import FeatureSampler, computed_on, left_out_of, newest_of, read_query
from serving.recommend import Query

QUERY = Query(
    "u1",
    ("v1", "v2"),
    ("v3",),
    7,
    Filters(music=("m1",), shortest=0.1, published_since=datetime(2026, 1, 2, tzinfo=UTC)),
    around=(("v4", 0.1 + 0.2), ("v5", 1e-9)),
    video_id="v9",
    context={"video_visual_1": (0.1, float(torch.tensor(1 / 3)))},
)
CPU = torch.device("cpu")


def answer(response_id: str, query: Query = QUERY) -> Answer:
    response = RecommendResponse(
        response_id=response_id,
        surface="background-music",
        model="m",
        version="1",
        items=[],
        missing=[MissingFeature(feature="user_history", reason="late")],
    )
    return Answer(response, query, 1.0, 2.0, utc_now())


def sampler(share: float) -> FeatureSampler:
    return FeatureSampler(load_settings(log_features_sample=share), CPU)


def test_the_query_comes_back_as_it_was() -> None:
    asked = answer(uuid.uuid4().hex)
    row = sampler(1).row(asked, {"v8", "v7"}, "snapshot-2")
    assert row is not None
    again = read_query(json.loads(json.dumps(row.query)))
    assert (tuple(again.history), tuple(again.exclude)) == (QUERY.history, QUERY.exclude)
    for name in ("user_id", "k", "filters", "around", "video_id", "context"):
        assert getattr(again, name) == getattr(QUERY, name)
    assert (row.surface, row.user_id, row.at) == ("background-music", "u1", asked.read_at)
    assert row.missing == [{"feature": "user_history", "reason": "late"}]
    assert (left_out_of(row.computed_on), newest_of(row.computed_on)) == (["v7", "v8"], "snapshot-2")
    assert row.computed_on.items() >= computed_on(load_settings(), CPU).items()


def test_the_share_of_requests_is_as_set_and_the_choice_is_the_ids() -> None:
    ids = [uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128).hex for number in range(4_000)]
    quarter, half, none = sampler(0.25), sampler(0.5), sampler(0)
    kept = [each for each in ids if quarter.row(answer(each), ()) is not None]
    assert 850 < len(kept) < 1_150
    assert kept == [each for each in ids if sampled(quarter, each)]
    assert all(sampled(half, each) for each in kept)
    assert not any(sampled(none, each) for each in ids)
    # Shadows are drawn by the first digits: both samples are about equally frequent within the other.
    both = sum(int(each[:8], 16) < 2**31 for each in kept)
    assert 0.4 < both / len(kept) < 0.6


def sampled(chooser: FeatureSampler, response_id: str) -> bool:
    return chooser.row(answer(response_id), ()) is not None
