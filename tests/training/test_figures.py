"""The numbers of a run's figures by hand, and that each is drawn."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from contracts.vocabulary import Vocabulary
from feature_repo.frame import TrainingFrame
from training.batches import UserBatch
from training.figure_arrays import embedding_map, intensity_table, learning_curves, recall_curves
from training.figures import draw_figures
from training.internals import Internals
from training.metrics import Ranks, recall
from training.models.popularity import Popularity, PopularityConfig
from training.protocols import FULL_20, HeldOut
from training.ranking import Standing, stand
from training.recommender import Catalogue, EpochReport, Recommender

Rows = npt.NDArray[np.int64]

EPOCHS = [EpochReport(n, {"bpr": 1 / n, "l2": 0.1}, {"recall_at_20": n / 10, "ndcg_at_20": n / 20}) for n in (1, 2, 3)]


class Open(Popularity):
    """A model whose parts are given."""

    parts = Internals()

    def internals(self) -> Internals:
        return self.parts


def standing_of(pairs: list[tuple[int, int]], ranks: list[float]) -> Standing:
    users, place = np.unique([user for user, _ in pairs], return_inverse=True)
    return Standing(Ranks.of(place, np.array(ranks)), users, np.array(pairs))


def test_curves_follow_the_epochs() -> None:
    found = learning_curves(EPOCHS)
    assert found == {
        "epoch": [1, 2, 3],
        "losses": {"bpr": [1, 1 / 2, 1 / 3], "l2": [0.1] * 3},
        "validation": {"recall_at_20": [0.1, 0.2, 0.3], "ndcg_at_20": [0.05, 0.1, 0.15]},
    }
    assert learning_curves(EPOCHS[:1]) is None


def test_recall_at_every_n_is_recall(frame: TrainingFrame) -> None:
    # Ties are at ranks between two places, a user without a ranking at none; item 63 is nobody's in training.
    train = np.array([(user, item) for user in range(30) for item in range(10)] + [(0, item) for item in range(40, 60)])
    standing = standing_of([(0, 1), (0, 63), (1, 50), (2, 63), (2, 2)], [3, 4.5, 7, np.inf, np.inf])
    found = recall_curves(standing, replace(frame, train=train), 10)
    assert found["n"] == list(range(1, 11))
    assert found["recall"]["all"] == pytest.approx([recall(standing.ranks, n).mean() for n in range(1, 11)])
    assert found["recall"]["all"][4] == pytest.approx(1 / 3)
    assert found["lists"] == {"all": 3, "popular_items": 3, "tail_items": 2, "cold_items": 2}
    assert found["recall"]["cold_items"] == [0] * 4 + [0.5] * 6
    assert recall_curves(standing, frame, 100)["n"][-1] == 64, "no list is longer than the catalogue"


def test_weights_are_told_by_how_well_items_are_known(frame: TrainingFrame) -> None:
    train = np.array([(user, 0) for user in range(200)] + [(0, 1), (0, 2), (1, 2), (2, 2)])
    standing = standing_of([(0, 1), (1, 1), (3, 1), (0, 63)], [1, 2, 3, 4])
    weight = torch.full((64,), 0.9)
    weight[:3] = torch.tensor([0.1, 0.5, 0.3])

    def intensities(batch: UserBatch) -> Tensor:
        share = batch.rows / 10
        return torch.stack([share, 1 - share], dim=1)

    model = Open(PopularityConfig(), Catalogue.of(frame))
    model.fit(frame, seed=0)
    model.parts = Internals(content_weight=weight, intensities=intensities, modalities=("acoustic", "visual"))
    history = frame.history.copy()
    history[3] = -1  # cannot be scored: an intensity would mean nothing
    frame = replace(frame, train=train, history=history)
    model.can_score = lambda batch: (batch.history != -1).any(1)  # type: ignore[method-assign]
    found = intensity_table(model, frame, standing)
    assert found is not None
    assert found["bucket"] == ["0", "1", "2–3", "128+"]
    assert found["items"] == [61, 1, 1, 1]
    assert found["events"] == [1, 3, 0, 0]
    assert [box[2] for box in found["content_weight"]] == pytest.approx([0.9, 0.5, 0.3, 0.1])
    assert found["intensity"]["acoustic"][0] == pytest.approx([0] * 5)
    assert found["intensity"]["acoustic"][1] == pytest.approx(np.quantile([0, 0.1], (0.05, 0.25, 0.5, 0.75, 0.95)))
    assert found["intensity"]["visual"][2] is None
    model.parts = Internals()
    assert intensity_table(model, frame, standing) is None


def mapped(frame: TrainingFrame, items: int) -> tuple[Open, TrainingFrame]:
    """A model of items in two groups by content, and the other way round by ID."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(items) % 2 * 20.0
    model = Open(PopularityConfig(), Catalogue(users=96, items=items, widths={}))
    noise = torch.randn(2, items, 4, generator=generator)
    model.parts = Internals(
        ids=noise[0] - group.unsqueeze(1), contents=noise[1] + group.unsqueeze(1), both=torch.arange(items) > 2
    )
    return model, replace(frame, items=Vocabulary([f"v{row}" for row in range(items)]))


def test_a_map_keeps_neighbours_together(frame: TrainingFrame) -> None:
    model, frame = mapped(frame, 123)
    found = embedding_map(model, frame, seed=1)
    assert found is not None
    assert found["item_id"].to_pylist() == [f"v{row}" for row in range(3, 123)]
    group = np.arange(3, 123) % 2 == 1
    assert not set(found["cluster"].to_numpy()[group]) & set(found["cluster"].to_numpy()[~group])
    for side in ("id", "content"):
        points = np.stack([found[f"{side}_{axis}"].to_numpy() for axis in "xy"], axis=1)
        centres = np.stack([points[group].mean(0), points[~group].mean(0)])
        nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(1) == 0
        assert (nearest == group).mean() > 0.95
    assert embedding_map(model, frame, seed=1) == found
    few, frame = mapped(frame, 102)
    assert embedding_map(few, frame, seed=1) is None, "99 items are too few"


def test_a_map_of_many_items_shows_some(frame: TrainingFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.figure_arrays._MOST_OF_A_MAP", 101)
    found = embedding_map(*mapped(frame, 300), seed=0)
    assert found is not None
    assert len(set(found["item_id"].to_pylist())) == 101


@pytest.mark.parametrize("name", ["m3csr", "vbpr", "popularity"])
def test_figures_are_drawn_with_their_numbers(
    blocks: tuple[TrainingFrame, Rows],
    fit: Callable[[TrainingFrame, str], Recommender],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr("training.figure_arrays.FEWEST_OF_A_MAP", 40)
    frame, test = blocks
    model = fit(frame, name)
    standing = stand(model, frame, HeldOut(test), FULL_20, depth=64)
    drawn = draw_figures(tmp_path, f"{name} on blocks", model, frame, standing, EPOCHS, seed=0)
    expected = {
        "m3csr": ["curves", "recall_at_n", "intensity", "embeddings"],
        "vbpr": ["curves", "recall_at_n", "embeddings"],
        "popularity": ["curves", "recall_at_n"],
    }
    assert drawn == expected[name]
    assert {path.stem for path in tmp_path.iterdir()} == set(drawn)
    for each in drawn:
        with Image.open(tmp_path / f"{each}.png") as picture:
            assert picture.width >= 600
            assert len(picture.convert("RGB").resize((95, 39)).getcolors(10_000)) > 20, "something is on it"
    assert json.loads((tmp_path / "curves.json").read_text()) == learning_curves(EPOCHS)
    if name == "m3csr":
        weights = json.loads((tmp_path / "intensity.json").read_text())
        assert list(weights["intensity"]) == ["acoustic", "visual"]
        assert sum(weights["items"]) == 64
    if name != "popularity":
        points = pq.read_table(tmp_path / "embeddings.parquet")
        assert len(points) == int(model.internals().both.sum()) < 64  # type: ignore[union-attr]
