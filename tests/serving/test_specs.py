"""A version is served with the embeddings it was trained on, or not at all."""

import pytest

from contracts.clock import utc_now
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput
from contracts.snapshot import Snapshot, SplitInstants
from serving.specs import require_served_specs

VISUAL = EmbeddingSpec(
    modality="visual",
    encoder="resnet",
    revision="r1",
    preprocessing="centre crop",
    width=4,
    dtype="float32",
    normalisation="l2",
)
LATER = VISUAL.model_copy(update={"revision": "r2"})


def online(**embeddings: EmbeddingSpec) -> Snapshot:
    now = utc_now()
    split = {"train_until": "2026-01-01T00:00:00Z", "validation_until": "2026-01-02T00:00:00Z", "nominal": False}
    return Snapshot(
        id="s1",
        dataset="d",
        source="here",
        created_at=now,
        tables={},
        embeddings=embeddings,
        split=SplitInstants.model_validate(split),
    )


def test_the_same_specs_are_served() -> None:
    require_served_specs("3", {"visual": VISUAL}, online(visual=VISUAL))
    require_served_specs("3", {}, online(visual=VISUAL))


def test_another_revision_beside_the_one_in_use_will_do() -> None:
    served = online(**{"visual": LATER, f"visual@{VISUAL.digest}": VISUAL})
    require_served_specs("3", {"visual": VISUAL}, served)


def test_another_revision_alone_is_refused_by_its_field() -> None:
    with pytest.raises(BadInput, match=r"version 3 with snapshot s1 online: visual.*revision 'r2'.*revision 'r1'"):
        require_served_specs("3", {"visual": VISUAL}, online(visual=LATER))


def test_embeddings_that_are_not_there_are_refused() -> None:
    with pytest.raises(BadInput, match=r"visual embedding spec: found none of that name; expected resnet of revision"):
        require_served_specs("3", {"visual": VISUAL}, online())
