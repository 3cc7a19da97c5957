"""What requests bring, from the views of an online store to what a model was fitted with."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from contracts.embeddings import EmbeddingSpec
from contracts.errors import ServiceUnavailable
from contracts.manifest import ModelManifest
from contracts.messages import MissingFeature, RecommendRequest, RecommendResponse
from contracts.vocabulary import Vocabulary
from serving.answering import Answering
from serving.contexts import Brings, RequestContexts, views_of_manifest
from serving.lineup import Lineup
from serving.recommend import Ranker
from training.packages import LoadedPackage


class Store:
    """Two views: one with a vector of every id but 'nobody', one without any; a third has no server behind it."""

    def __init__(self) -> None:
        self.moments: list[datetime | None] = []

    def matrices(
        self, views: Collection[str], ids: Sequence[str], moment: datetime | None = None
    ) -> dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
        self.moments.append(moment)
        if "down" in views:
            raise ServiceUnavailable("store", found="silence", expected="an answer", next_step="start it")
        found = {}
        for view in {"full", "empty"} & set(views):
            there = np.array([each != "nobody" and view == "full" for each in ids])
            found[view] = np.where(there[:, None], np.float32([0.5, 0.1]), 0).astype(np.float32), there
        return found


def test_a_view_says_nothing_of_whom_it_does_not_know() -> None:
    store = Store()
    reader = RequestContexts(store, lambda: ["full", "empty", "gone"])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    vector = (0.5, float(np.float32(0.1)))
    assert reader.read(["u1", "nobody", "u1"], moment) == [{"full": vector}, {}, {"full": vector}]
    assert store.moments == [moment]


def test_a_store_that_fails_is_heard_of() -> None:
    with pytest.raises(ServiceUnavailable):
        RequestContexts(Store(), lambda: ["down"]).read(["u1"])


def test_views_are_wanted_as_versions_come() -> None:
    views: set[str] = set()
    reader = RequestContexts(Store(), lambda: views)
    assert not reader.wanted
    views.add("full")
    assert reader.wanted


def test_what_is_not_there_is_zeros_and_a_video_has_its_number() -> None:
    brings = Brings({"video": 1, "visual": 2}, {"visual": "full"}, Vocabulary(["v0", "v1"]))
    made = brings.of([{"full": (1.0, 2.0)}, {"another": (3.0,)}, {}], ["v1", "v9", None])
    assert made == [
        {"visual": (1.0, 2.0), "video": (1,)},
        {"visual": (0.0, 0.0), "video": (-1,)},
        {"visual": (0.0, 0.0), "video": (-1,)},
    ]


def test_without_the_versions_data_all_videos_are_strangers() -> None:
    assert Brings({"video": 1}, {}).of([{}], ["v0"]) == [{"video": (-1,)}]


def test_a_version_that_reads_nothing_is_given_nothing() -> None:
    assert Brings({}, {}).of([{"full": (1.0,)}], ["v1"]) == [{}]


def test_an_answer_without_what_the_request_brings_says_so(
    ranker: Ranker, histories: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(ranker.package.recommender), "can_score", lambda _, batch: batch.rows >= 0)
    answering = Answering("background-music")

    def answer(view: str, *videos: str) -> list[RecommendResponse]:
        lineup = Lineup(ranker, histories(), contexts=RequestContexts(Store(), lambda: [view]))
        asked = [
            RecommendRequest(surface="background-music", user_id="stranger", video_id=video, k=2) for video in videos
        ]
        answers = answering.answers(lineup, asked)
        assert [each.query.video_id for each in answers] == list(videos)
        return [each.response for each in answers]

    there, unknown = answer("full", "v1", "nobody")
    assert there.missing == []
    assert unknown.missing == [MissingFeature(feature="video_content", reason="absent")]
    assert {each.reason for each in there.fallbacks + unknown.fallbacks} == {"unknown_user"}
    (unread,) = answer("down", "v1")
    assert unread.missing == [MissingFeature(feature="video_content", reason="failed")]
    assert {each.reason for each in unread.fallbacks} == {"missing_features"}
    assert len(unread.items) == 2
    answering.close()


def spec(entity: str, modality: str) -> EmbeddingSpec:
    return EmbeddingSpec.model_validate(
        {
            "entity": entity,
            "modality": modality,
            "encoder": "e",
            "revision": "1",
            "preprocessing": "none",
            "width": 2,
            "dtype": "float32",
            "normalisation": "none",
        }
    )


def test_views_are_those_that_the_frame_was_made_from(package: LoadedPackage) -> None:
    def manifest(service: str, specs: Sequence[EmbeddingSpec], **contexts: int) -> ModelManifest:
        named = {each.name: each for each in specs}
        changed = {"feature_service": service, "embedding_specs": named, "contexts": contexts}
        return package.manifest.model_copy(update=changed)

    video, music, post = spec("video", "visual"), spec("music", "acoustic"), spec("post", "visual")
    bgm = manifest("dl_bgm_v1", [video, music], video=1, visual=2)
    assert views_of_manifest(bgm) == {"visual": video.view}
    amae = manifest("amae_v1", [music, post], visual_global=2, visual_recent=2)
    ending = f"visual_{post.digest[:8]}"
    assert views_of_manifest(amae) == {
        "visual_global": f"user_social_{ending}",
        "visual_recent": f"user_context_{ending}",
    }
    assert views_of_manifest(manifest("vbpr_v1", [video])) == {}
