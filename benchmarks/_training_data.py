"""Frames that training is measured on: of files in the MMSSL layout, made up in TikTok's numbers, or of any arrays."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.home import Home
from contracts.settings import load_settings
from contracts.snapshot import Snapshot, SplitInstants
from contracts.vocabulary import Vocabulary
from feature_repo.frame import TrainingFrame, common_vocabularies, frame_of_tables, load_all_events
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl

__all__ = ["HISTORY", "frame_of", "frame_of_files", "synthetic_frame"]

USERS, ITEMS, TRAIN, VALIDATION, TEST, WIDTH = 9_308, 6_710, 59_541, 3_051, 6_130, 128
"""TikTok's."""

HISTORY = 50
LATENT = 16

Rows = npt.NDArray[np.int64]


def frame_of_files(path: Path) -> tuple[TrainingFrame, Rows]:
    """The frame and the test pairs of a directory in the MMSSL layout; the home it takes is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="backbeat-bench-") as folder:
        home = Home.open(load_settings(home=Path(folder) / "home", device="cpu"))
        snapshot, _ = write_snapshot(home, read_mmssl(path))
        users, items = common_vocabularies(home, snapshot)
        names = {spec.modality: name for name, spec in snapshot.embeddings.items()}
        frame = frame_of_tables(home, snapshot, "interactions_v1", names, users=users, items=items)
        *_, test = load_all_events(home, frame).parts(snapshot.split)
    return frame, test.pairs


def synthetic_frame(generator: np.random.Generator) -> tuple[TrainingFrame, Rows]:
    """A frame and test pairs of TikTok's numbers. Users choose by tastes of 16 dimensions and by popularity, and
    content is what such tastes are about, with noise."""
    tastes, about = (generator.normal(size=(count, LATENT)).astype(np.float32) for count in (USERS, ITEMS))
    liked = generator.gumbel(size=ITEMS).astype(np.float32)
    events = TRAIN + VALIDATION + TEST
    counts = 3 + generator.multinomial(events - 3 * USERS, generator.dirichlet(np.full(USERS, 0.5)))
    chosen = []
    for user, count in enumerate(counts):
        noise = generator.gumbel(size=ITEMS).astype(np.float32)
        best = np.argpartition(-(about @ tastes[user] + liked + noise), count)[:count]
        chosen.append(np.stack([np.full(count, user), generator.permutation(best)], axis=1))
    pairs = np.concatenate(chosen)
    first = np.cumsum(counts) - counts
    order = np.arange(len(pairs))
    held = generator.permutation(np.setdiff1d(order, first))  # Each user keeps a training pair.
    held = held[np.unique(pairs[held, 0], return_index=True)[1]]
    held = generator.permutation(held)[: VALIDATION + TEST]
    content = {
        name: about @ generator.normal(size=(LATENT, WIDTH)).astype(np.float32)
        + generator.normal(size=(ITEMS, WIDTH)).astype(np.float32)
        for name in ("acoustic", "visual")
    }
    train = pairs[np.setdiff1d(order, held)]
    return frame_of(train, pairs[held[:VALIDATION]], USERS, ITEMS, content), pairs[held[VALIDATION:]]


def frame_of(
    train: Rows, validation: Rows, users: int, items: int, content: dict[str, npt.NDArray[np.float32]]
) -> TrainingFrame:
    """A frame of arrays; every item has every modality."""
    history = np.full((users, HISTORY), -1)
    by_user = train[np.argsort(train[:, 0], kind="stable")]
    counts = np.bincount(by_user[:, 0], minlength=users)
    place = np.arange(len(by_user)) - (np.cumsum(counts) - counts)[by_user[:, 0]]
    shown = place < HISTORY
    history[by_user[shown, 0], place[shown]] = by_user[shown, 1]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    split = SplitInstants(train_until=now, validation_until=now.replace(month=2), nominal=True)
    return TrainingFrame(
        snapshot=Snapshot(id="s", dataset="made up", source="", created_at=now, tables={}, embeddings={}, split=split),
        feature_service="interactions_v1",
        users=Vocabulary([f"u{row}" for row in range(users)]),
        items=Vocabulary([f"v{row}" for row in range(items)]),
        train=train,
        validation=validation,
        modalities=content,
        missing={name: np.zeros(items, bool) for name in content},
        specs={},
        history=history,
        popularity=np.bincount(train[:, 1], minlength=items),
    )
