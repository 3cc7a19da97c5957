"""Full-ranking evaluation at the size of the TikTok test split, beside a loop over users in NumPy.

Run: ``python benchmarks/evaluation.py [--json]``. 6,130 users with one held-out item each rank 6,710 items of 64
components; both sides must give the same metrics.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from _measure import Result, median_of, report

from contracts.snapshot import Snapshot, SplitInstants
from contracts.vocabulary import Vocabulary
from feature_repo.frame import TrainingFrame
from training.evaluation import CUTOFF, evaluate
from training.models.mf import MatrixFactorisation, MfConfig
from training.recommender import Catalogue

USERS, ITEMS, TRAINING_PAIRS, HELD_OUT = 9_308, 6_710, 59_541, 6_130
TARGET_S = 2.0


def make_frame(generator: np.random.Generator) -> tuple[TrainingFrame, npt.NDArray[np.int64]]:
    """Random distinct pairs of TikTok's numbers, and held-out pairs of as many users."""
    cells = generator.choice(USERS * ITEMS, size=TRAINING_PAIRS + USERS * 2, replace=False)
    pairs = np.stack(np.divmod(cells, ITEMS), axis=1)
    train, rest = pairs[:TRAINING_PAIRS], pairs[TRAINING_PAIRS:]
    held_out = rest[np.unique(rest[:, 0], return_index=True)[1]][:HELD_OUT]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    split = SplitInstants(train_until=now, validation_until=now.replace(month=2), nominal=True)
    frame = TrainingFrame(
        snapshot=Snapshot(id="s", dataset="random", source="", created_at=now, tables={}, embeddings={}, split=split),
        feature_service="interactions_v1",
        users=Vocabulary([f"u{row}" for row in range(USERS)]),
        items=Vocabulary([f"v{row}" for row in range(ITEMS)]),
        train=train,
        validation=held_out,
        modalities={},
        missing={},
        specs={},
        history=np.full((USERS, 50), -1),
        popularity=np.bincount(train[:, 1], minlength=ITEMS),
    )
    return frame, held_out


def loop_recall(model: MatrixFactorisation, frame: TrainingFrame, held_out: npt.NDArray[np.int64]) -> float:
    """Recall@20 the plain way: one user after the other, a full sort each."""
    users, items = model.users.detach().numpy(), model.items.detach().numpy()
    by_user = frame.train[np.argsort(frame.train[:, 0], kind="stable")]
    seen = np.split(by_user[:, 1], np.cumsum(np.bincount(by_user[:, 0], minlength=USERS))[:-1])
    hits = 0
    for user, item in held_out:
        scores = items @ users[user]
        scores[seen[user]] = -np.inf
        hits += item in np.argsort(-scores)[:CUTOFF]
    return hits / len(held_out)


def main() -> None:
    """Measure both and compare their metrics."""
    generator = np.random.default_rng(0)
    frame, held_out = make_frame(generator)
    model = MatrixFactorisation(MfConfig(), Catalogue.of(frame))
    for table in (model.users, model.items):
        table.data.copy_(table.new_tensor(generator.normal(size=table.shape)))
    for trained in (model.user_trained, model.item_trained):
        trained.fill_(True)  # The plain loop asks nobody whether a vector was trained.

    recalls: dict[str, float] = {}

    def timed(name: str, measure: Callable[[], float]) -> float:
        started = time.perf_counter()
        recalls[name] = measure()
        return time.perf_counter() - started

    def ours() -> float:
        return timed("ours", lambda: evaluate(model, frame, held_out)["recall_at_20"])

    ours()
    seconds = median_of(5, ours)
    rival_seconds = timed("rival", lambda: loop_recall(model, frame, held_out))
    ok = seconds <= TARGET_S and abs(recalls["ours"] - recalls["rival"]) < 1e-9
    name = f"full ranking, {HELD_OUT:,} users x {ITEMS:,} items"
    report([Result(name, seconds, "s", "NumPy loop over users", rival_seconds, "≤ 2, equal recall", ok)])


if __name__ == "__main__":
    main()
