import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from contracts.errors import BadInput, TrainingDiverged
from contracts.snapshot import Snapshot, SplitInstants
from contracts.vocabulary import Vocabulary
from feature_repo.frame import TrainingFrame
from feature_repo.readers.restricted_pickle import load_restricted
from training.batches import UserBatch
from training.config import RecommenderConfig
from training.evaluation import evaluate
from training.models.popularity import Popularity, PopularityConfig
from training.protocols import FULL_20, Protocol
from training.questions import QUESTIONS
from training.recommender import Catalogue, FitReport, Recommender, TwoTower

Pairs = npt.NDArray[np.int64]


class Fixed(TwoTower):
    """Two towers of given vectors."""

    def __init__(self, users: Tensor, items: Tensor) -> None:
        super().__init__(RecommenderConfig(), Catalogue(len(users), len(items), {}))
        self.register_buffer("users", users)
        self.register_buffer("items", items)

    def fit(self, frame: object, **_: object) -> FitReport:
        raise AssertionError("never fitted")

    def user_vectors(self, batch: UserBatch) -> Tensor:
        return self.users[batch.rows]

    def item_vectors(self) -> Tensor:
        return self.items

    def can_score(self, batch: UserBatch) -> Tensor:
        return batch.rows >= 0


class Scorer(Recommender):
    """The same model, not as two towers."""

    def __init__(self, users: Tensor, items: Tensor) -> None:
        super().__init__(RecommenderConfig(), Catalogue(len(users), len(items), {}))
        self.towers = Fixed(users, items)
        self.users, self.items = self.towers.users, self.towers.items

    def fit(self, frame: object, **_: object) -> FitReport:
        raise AssertionError("never fitted")

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        return self.towers.score(batch, items)

    def can_score(self, batch: UserBatch) -> Tensor:
        return self.towers.can_score(batch)


def at(*cutoffs: int) -> Protocol:
    return replace(FULL_20, cutoffs=cutoffs)


def slow(scores: list[list[float]], train: Pairs, pairs: Pairs, k: int) -> dict[str, float]:
    """The protocol in plain Python, one user at a time."""
    sums = dict.fromkeys(("recall", "precision", "ndcg", "hr", "mrr"), 0.0)
    users = sorted({int(user) for user, _ in pairs})
    for user in users:
        seen = {int(item) for u, item in train if u == user}
        wanted = {int(item) for u, item in pairs if u == user}
        ranked = sorted((i for i in range(len(scores[user])) if i not in seen), key=lambda i: -scores[user][i])[:k]
        found = [rank for rank, item in enumerate(ranked, start=1) if item in wanted]
        sums["recall"] += len(found) / len(wanted)
        sums["precision"] += len(found) / k
        sums["hr"] += bool(found)
        sums["mrr"] += 1 / found[0] if found else 0
        best = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(wanted), k) + 1))
        sums["ndcg"] += sum(1 / math.log2(rank + 1) for rank in found) / best
    return {f"{name}_at_{k}": total / len(users) for name, total in sums.items()}


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("kind", [Fixed, Scorer])
def test_agrees_with_an_independent_slow_implementation(frame: TrainingFrame, k: int, kind: type[Fixed]) -> None:
    rng = np.random.default_rng(k)
    users, items = len(frame.users), len(frame.items)
    model = kind(torch.from_numpy(rng.normal(size=(users, 3))), torch.from_numpy(rng.normal(size=(items, 3))))
    seen = set(map(tuple, frame.train.tolist()))
    drawn = {
        (int(u), int(i)) for u, i in zip(rng.integers(users, size=300), rng.integers(items, size=300), strict=True)
    }
    pairs = np.array(sorted(drawn - seen), dtype=np.int64)

    found = evaluate(model, frame, pairs, at(k))

    assert found == pytest.approx(slow((model.users @ model.items.T).tolist(), frame.train, pairs, k), abs=1e-6)


def test_chunks_do_not_change_the_result(
    frame: TrainingFrame, blocks: tuple[TrainingFrame, Pairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    model = Fixed(torch.from_numpy(rng.normal(size=(96, 3))), torch.from_numpy(rng.normal(size=(64, 3))))
    whole = evaluate(model, frame, blocks[1])
    monkeypatch.setattr("training.ranking._CHUNK", 7)
    assert evaluate(model, frame, blocks[1]) == pytest.approx(whole, abs=1e-12)


def test_training_items_are_no_candidates(frame: TrainingFrame) -> None:
    # The model loves what user 0 has seen, then the one held-out item: that must come first.
    held_out = int(np.setdiff1d(np.arange(len(frame.items)), frame.train[frame.train[:, 0] == 0, 1])[0])
    scores = torch.zeros(len(frame.items), 1)
    scores[frame.train[frame.train[:, 0] == 0, 1]] = 9
    scores[held_out] = 5
    model = Fixed(torch.ones(len(frame.users), 1), scores)
    assert evaluate(model, frame, np.array([[0, held_out]]), at(1)) == {
        "recall_at_1": 1.0,
        "precision_at_1": 1.0,
        "ndcg_at_1": 1.0,
        "hr_at_1": 1.0,
        "mrr_at_1": 1.0,
    }


def test_cutoff_beyond_the_catalogue(frame: TrainingFrame) -> None:
    model = Fixed(torch.ones(len(frame.users), 1), torch.arange(len(frame.items)).float().unsqueeze(1))
    found = evaluate(model, frame, frame.validation, at(1000))
    assert found["recall_at_1000"] == 1.0
    assert found["precision_at_1000"] == pytest.approx(1 / 1000)


def test_nothing_held_out_is_refused(frame: TrainingFrame) -> None:
    model = Fixed(torch.ones(len(frame.users), 1), torch.ones(len(frame.items), 1))
    with pytest.raises(BadInput, match="snapshot blocks: found no held-out pairs to rank"):
        evaluate(model, frame, np.empty((0, 2), dtype=np.int64))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", [Fixed, Scorer])
def test_scores_that_are_not_finite_are_refused(frame: TrainingFrame, kind: type[Fixed], value: float) -> None:
    items = torch.ones(len(frame.items), 1)
    items[frame.train[0, 1]] = value  # Even where the ranking leaves the item out.
    with pytest.raises(TrainingDiverged, match=f"{kind.__name__}: scores: found values from .*; expected finite"):
        evaluate(kind(torch.ones(len(frame.users), 1), items), frame, frame.validation)


def test_users_whom_the_model_cannot_score_have_no_hit(frame: TrainingFrame) -> None:
    class Half(Fixed):
        def can_score(self, batch: UserBatch) -> Tensor:
            return batch.rows % 2 == 0

    ones = torch.ones(len(frame.users), 1), torch.ones(len(frame.items), 1)
    assert evaluate(Fixed(*ones), frame, frame.validation, at(64))["recall_at_64"] == 1.0
    assert evaluate(Half(*ones), frame, frame.validation, at(64))["recall_at_64"] == 0.5


def test_protocol_names_snapshot_split_and_candidates(frame: TrainingFrame) -> None:
    protocol = QUESTIONS["videos"].fingerprint(frame.snapshot)
    assert (protocol.snapshot, protocol.cutoffs, protocol.seeds) == ("blocks", (20,), ())
    assert protocol.split.startswith("given split 2000-01-02")
    other = replace(frame, snapshot=frame.snapshot.model_copy(update={"id": "other"}))
    assert QUESTIONS["videos"].fingerprint(other.snapshot).digest != protocol.digest


def test_popularity_on_tiktok_scores_what_public_toolboxes_measured(public_data: Path) -> None:
    matrices = [load_restricted(public_data / "tiktok" / f"{name}Mat.pkl") for name in ("trn", "tst")]
    train, test = (np.stack([m.row, m.col], axis=1).astype(np.int64) for m in matrices)
    users, items = matrices[0].shape
    day = datetime(2000, 1, 2, tzinfo=UTC)
    split = SplitInstants(train_until=day, validation_until=day + timedelta(days=1), nominal=True)
    frame = TrainingFrame(
        snapshot=Snapshot(id="t", dataset="t", source="", created_at=day, tables={}, embeddings={}, split=split),
        feature_service="interactions_v1",
        users=Vocabulary([f"u{row}" for row in range(users)]),
        items=Vocabulary([f"v{row}" for row in range(items)]),
        train=train,
        validation=test,
        modalities={},
        missing={},
        specs={},
        history=np.full((users, 50), -1),
        popularity=np.bincount(train[:, 1], minlength=items),
    )
    model = Popularity(PopularityConfig(), Catalogue.of(frame))
    model.fit(frame, seed=0)
    metrics = evaluate(model, frame, test)
    assert round(metrics["recall_at_20"], 4) == 0.0597
    assert round(metrics["ndcg_at_20"], 4) == 0.0255
