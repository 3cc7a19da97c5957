"""The contract suite: what every model in MODELS must do, whatever it is. A new model inherits these tests."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.batches import PADDING, UserBatch
from training.evaluation import evaluate
from training.learned import LearnedRecommender
from training.models import MODELS
from training.recommender import Catalogue, EpochReport, FitReport, Recommender

OPTIONS: dict[str, Any] = {"dimension": 16, "batch_size": 128, "learning_rate": 0.02, "max_epochs": 15}
"""For a data set this small; a model takes those it has."""


def build(name: str, frame: TrainingFrame) -> Recommender:
    entry = MODELS[name]
    options = {key: value for key, value in OPTIONS.items() if key in entry.config.model_fields}
    return entry.model(entry.config(**options), Catalogue.of(frame))


def batch(frame: TrainingFrame, rows: list[int]) -> UserBatch:
    return UserBatch(torch.tensor(rows), torch.from_numpy(frame.history[rows]))


@pytest.fixture(scope="module")
def blocks(
    make_frame: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingFrame, npt.NDArray[np.int64]]:
    return make_frame(tmp_path_factory.mktemp("blocks"), missing_rows=(5,))


@pytest.fixture(scope="module")
def frame(blocks: tuple[TrainingFrame, npt.NDArray[np.int64]]) -> TrainingFrame:
    return blocks[0]


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted(name: str, frame: TrainingFrame) -> tuple[Recommender, FitReport, list[EpochReport]]:
    model, epochs = build(name, frame), list[EpochReport]()
    return model, model.fit(frame, seed=0, on_epoch=epochs.append), epochs


@pytest.fixture
def model(fitted: tuple[Recommender, FitReport, list[EpochReport]]) -> Recommender:
    return fitted[0]


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def test_shapes_and_types(model: Recommender, frame: TrainingFrame) -> None:
    users, items = model.user_vectors(batch(frame, [0, 1, 2])), model.item_vectors()
    assert users.shape == (3, items.shape[1])
    assert items.shape[0] == len(frame.items)
    assert users.dtype == items.dtype == torch.float32
    assert torch.isfinite(users).all()
    assert torch.isfinite(items).all()


def test_score_is_the_inner_product(model: Recommender, frame: TrainingFrame) -> None:
    some = batch(frame, [4, 9])
    assert torch.allclose(model.score(some), model.user_vectors(some) @ model.item_vectors().T)


def test_batch_equals_single(model: Recommender, frame: TrainingFrame) -> None:
    rows = [3, 50, 3, 95]
    together = model.user_vectors(batch(frame, rows))
    alone = torch.cat([model.user_vectors(batch(frame, [row])) for row in rows])
    assert torch.allclose(together, alone, atol=1e-6)


def test_width_of_the_padding_does_not_matter(model: Recommender, frame: TrainingFrame) -> None:
    wide = batch(frame, [1, 2])
    narrow = UserBatch(wide.rows, wide.history[:, :10])
    assert torch.allclose(model.user_vectors(wide), model.user_vectors(narrow), atol=1e-6)


def test_empty_input(model: Recommender, frame: TrainingFrame) -> None:
    nobody = UserBatch(torch.empty(0, dtype=torch.int64), torch.empty(0, 50, dtype=torch.int64))
    assert model.user_vectors(nobody).shape == (0, model.item_vectors().shape[1])
    assert model.score(nobody).shape == (0, len(frame.items))
    assert model.can_score(nobody).shape == (0,)


def test_unknown_users_are_a_path_not_an_exception(model: Recommender, frame: TrainingFrame) -> None:
    history = torch.from_numpy(frame.history[[0, 0, 1]]).clone()
    history[1] = PADDING
    mixed = UserBatch(torch.tensor([PADDING, PADDING, 1]), history)
    vectors, able = model.user_vectors(mixed), model.can_score(mixed)
    assert torch.isfinite(vectors).all()
    assert able[2]
    assert not vectors[~able].any()
    assert torch.allclose(vectors[2], model.user_vectors(batch(frame, [1]))[0], atol=1e-6)


def test_beats_chance(model: Recommender, name: str, blocks: tuple[TrainingFrame, npt.NDArray[np.int64]]) -> None:
    frame, test = blocks
    # 57 candidates each, of which 9 are of the user's own group: chance is 20/57, the structure gives nearly 1.
    recall = evaluate(model, frame, test)["recall_at_20"]
    assert recall > (0.9 if name != "popularity" else 0.2)


def test_reload_equality(model: Recommender, name: str, frame: TrainingFrame) -> None:
    copy = build(name, frame)
    copy.load_state(safetensors.torch.load(safetensors.torch.save(model.state())))
    some = batch(frame, [0, 7, 42])
    assert torch.equal(copy.user_vectors(some), model.user_vectors(some))
    assert torch.equal(copy.item_vectors(), model.item_vectors())


def test_weights_of_another_size_are_refused(model: Recommender, frame: TrainingFrame) -> None:
    larger = type(model)(model.config, Catalogue(len(frame.users), len(frame.items) + 1, Catalogue.of(frame).widths))
    with pytest.raises(BadInput, match=rf"weights of {type(model).__name__}: tensor '\w+': found .*; expected .*"):
        larger.load_state(model.state())


def test_missing_and_surplus_weights_are_refused(model: Recommender, name: str, frame: TrainingFrame) -> None:
    state = model.state()
    first = sorted(state)[0]
    with pytest.raises(BadInput, match=f"tensor '{first}': found no such tensor"):
        build(name, frame).load_state({key: value for key, value in state.items() if key != first})
    with pytest.raises(BadInput, match=r"tensor 'stranger': found float32 \[1\]; expected no such tensor"):
        build(name, frame).load_state({**state, "stranger": torch.zeros(1)})


def test_the_report_is_of_the_state_kept(
    fitted: tuple[Recommender, FitReport, list[EpochReport]], frame: TrainingFrame
) -> None:
    model, report, epochs = fitted
    assert evaluate(model, frame, frame.validation) == pytest.approx(report.validation, abs=1e-9)
    assert report.validation["recall_at_20"] == max(epoch.validation["recall_at_20"] for epoch in epochs)


def test_two_runs_with_one_seed_are_identical(
    fitted: tuple[Recommender, FitReport, list[EpochReport]], name: str, frame: TrainingFrame
) -> None:
    again, epochs = build(name, frame), list[EpochReport]()
    torch.randn(3)  # Somebody else's use of the global generator must not matter.
    with torch.enable_grad():
        again.fit(frame, seed=0, on_epoch=epochs.append)
    assert epochs == fitted[2]
    for tensor, (_, other) in zip(again.state().values(), fitted[0].state().items(), strict=True):
        assert torch.equal(tensor, other)


def test_another_seed_is_another_model(name: str, model: Recommender, frame: TrainingFrame) -> None:
    other = build(name, frame)
    with torch.enable_grad():
        other.fit(frame, seed=1)
    same = all(torch.equal(a, b) for a, b in zip(other.state().values(), model.state().values(), strict=True))
    assert same == (name == "popularity")


@pytest.fixture(scope="module")
def fitted_with_strangers(name: str, frame: TrainingFrame) -> tuple[Recommender, TrainingFrame]:
    """A model fitted on data in which user 0 has watched nothing, and nobody has watched videos 4 and 5."""
    cold = (frame.train[:, 0] == 0) | np.isin(frame.train[:, 1], [4, 5])
    history = np.where(np.isin(frame.history, [4, 5]), PADDING, frame.history)
    history[0] = PADDING
    history = np.take_along_axis(history, np.argsort(history == PADDING, axis=1, kind="stable"), axis=1)
    train = frame.train[~cold]
    views = np.bincount(train[:, 1], minlength=len(frame.items))
    strangers = replace(frame, train=train, history=history, popularity=views)
    model = build(name, strangers)
    with torch.enable_grad():
        model.fit(strangers, seed=0)
    return model, strangers


def test_nothing_is_said_to_users_without_training_events(
    fitted_with_strangers: tuple[Recommender, TrainingFrame], name: str
) -> None:
    model, frame = fitted_with_strangers
    some = batch(frame, [0, 1])
    assert model.can_score(some).tolist() == [name == "popularity", True]
    assert model.user_vectors(some)[0].any() == (name == "popularity")
    # With a history meanwhile, a model that reads it treats the user as any other whom it does not know.
    later = UserBatch(torch.tensor([0, PADDING]), torch.tensor([[7, 11], [7, 11]]))
    assert torch.equal(*model.user_vectors(later))
    assert model.can_score(later).unique().numel() == 1


def test_videos_without_training_events_keep_no_random_id_vector(
    fitted_with_strangers: tuple[Recommender, TrainingFrame],
) -> None:
    model, _ = fitted_with_strangers
    if not isinstance(model, LearnedRecommender):
        return
    # In every model that has one, the ID part comes first.
    ids, others = model.item_vectors().tensor_split([model.config.dimension], dim=1)
    assert not ids[[4, 5]].any()
    assert ids[[0, 1, 2, 3]].any(1).all()
    assert others.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fits_and_scores_on_a_gpu(name: str, frame: TrainingFrame) -> None:
    model = build(name, frame).to("cuda")
    with torch.enable_grad():
        model.fit(frame, seed=0)
    assert evaluate(model, frame, frame.validation)["recall_at_20"] > (0.9 if name != "popularity" else 0.2)
