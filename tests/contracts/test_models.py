"""The contract suite: what every model in MODELS must do, whatever it is. A new model inherits these tests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from feature_repo.services import SERVICES
from training.batches import PADDING, UserBatch
from training.evaluation import evaluate
from training.golden import check_golden
from training.learned import LearnedRecommender
from training.models import MODELS
from training.packages import load_package, write_package
from training.protocols import HeldOut
from training.recommender import Catalogue, EpochReport, FitReport, Recommender, TwoTower
from training.steady import steady_user_vectors

OPTIONS: dict[str, Any] = {
    "dimension": 16,
    "batch_size": 64,
    "learning_rate": 0.02,
    "max_epochs": 15,
    "video_dimension": 16,
}
"""For a data set this small; a model takes those it has."""

Blocks = tuple[TrainingFrame, HeldOut]


def build(name: str, frame: TrainingFrame) -> Recommender:
    entry = MODELS[name]
    options = {key: value for key, value in OPTIONS.items() if key in entry.config.model_fields}
    return entry.model(entry.config(**options), Catalogue.of(frame))


def batch(frame: TrainingFrame, rows: list[int]) -> UserBatch:
    """Users with what came with the first training event of each."""
    events = [int(np.argmax(frame.train[:, 0] == row)) for row in rows]
    return UserBatch(torch.tensor(rows), torch.from_numpy(frame.history[rows]), context_of(frame, events))


def context_of(frame: TrainingFrame, events: list[int]) -> dict[str, torch.Tensor]:
    if frame.train_context is None:
        return {}
    return {name: torch.from_numpy(table[frame.train_context[events]]) for name, table in frame.contexts.items()}


def some_of(users: UserBatch, rows: list[int]) -> UserBatch:
    return UserBatch(users.rows[rows], users.history[rows], {name: t[rows] for name, t in users.context.items()})


@pytest.fixture(scope="module")
def video_blocks(make_frame: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Blocks:
    """96 users and 64 videos in four groups, and the test pairs."""
    frame, test = make_frame(tmp_path_factory.mktemp("blocks"), missing_rows=(5,))
    return frame, HeldOut(test)


@pytest.fixture(scope="module")
def post_blocks(video_blocks: Blocks) -> Blocks:
    """The same items after posts, which show a user's group now better, now worse; user 0 never posted a picture."""
    frame, held = video_blocks
    rng, pairs = np.random.default_rng(5), np.concatenate([frame.train, frame.validation, held.pairs])
    contexts: dict[str, Any] = {}
    for name, width in {"textual": 8, "textual_handcrafted": 3, "visual": 6, "visual_handcrafted": 2}.items():
        shown = (
            rng.normal(size=(4, width))[pairs[:, 0] % 4] + 0.3 * rng.normal(size=(len(frame.users), width))[pairs[:, 0]]
        )
        shown[(pairs[:, 0] == 0) & name.startswith("visual")] = 0
        recent = np.where(shown != 0, shown + 0.5 * rng.normal(size=shown.shape), 0)
        contexts |= {f"{name}_global": shown.astype(np.float32), f"{name}_recent": recent.astype(np.float32)}
    train, validation, test = np.split(
        np.arange(len(pairs)), [len(frame.train), len(frame.train) + len(frame.validation)]
    )
    frame = replace(
        frame, feature_service="amae_v1", contexts=contexts, train_context=train, validation_context=validation
    )
    return frame, HeldOut(held.pairs, test)


@pytest.fixture(scope="module")
def video_music_blocks(music_blocks: tuple[TrainingFrame, Any]) -> Blocks:
    """Music for videos, those of the test last in the contexts."""
    frame, test = music_blocks
    videos = len(frame.contexts["video"])
    return frame, HeldOut(test, np.arange(videos - len(test), videos))


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def blocks(name: str, request: pytest.FixtureRequest) -> Blocks:
    """The frame of what the model's feature service ranks."""
    frames = {
        "videos": "video_blocks",
        "music": "video_blocks",
        "music after posts": "post_blocks",
        "background music": "video_music_blocks",
    }
    found: Blocks = request.getfixturevalue(frames[SERVICES[MODELS[name].feature_service].ranks])
    return found


@pytest.fixture(scope="module")
def frame(blocks: Blocks) -> TrainingFrame:
    return blocks[0]


@pytest.fixture(scope="module")
def validation(frame: TrainingFrame) -> HeldOut:
    return HeldOut(frame.validation, frame.validation_context)


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
    scores = model.score(batch(frame, [0, 1, 2]))
    assert scores.shape == (3, len(frame.items))
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert isinstance(model, TwoTower) == (model.shape == "two-tower")
    if isinstance(model, TwoTower):
        users, items = model.user_vectors(batch(frame, [0, 1, 2])), model.item_vectors()
        assert users.shape == (3, items.shape[1])
        assert items.shape[0] == len(frame.items)
        assert users.dtype == items.dtype == torch.float32
        assert torch.isfinite(users).all()
        assert torch.isfinite(items).all()


def test_score_is_the_inner_product_of_two_towers(model: Recommender, frame: TrainingFrame) -> None:
    some = batch(frame, [4, 9])
    if isinstance(model, TwoTower):
        assert torch.allclose(model.score(some), model.user_vectors(some) @ model.item_vectors().T)


def test_candidates_score_as_among_all_items(model: Recommender, frame: TrainingFrame) -> None:
    some, common, own = batch(frame, [4, 9]), torch.tensor([7, 0, 33]), torch.tensor([[1, 60], [60, 2]])
    scores = model.score(some)
    assert torch.allclose(model.score(some, common), scores[:, common], atol=1e-5)
    assert torch.allclose(model.score(some, own), scores.gather(1, own), atol=1e-5)


def test_batch_equals_single(model: Recommender, frame: TrainingFrame) -> None:
    rows = [3, 50, 3, 95]
    together = model.score(batch(frame, rows))
    alone = torch.cat([model.score(batch(frame, [row])) for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_user_vectors_have_the_same_bits_whoever_else_is_asked(model: Recommender, frame: TrainingFrame) -> None:
    if isinstance(model, TwoTower):
        rows = [3, 50, 3, 95, 7, 8, 9, 10, 11, 12]
        alone = torch.cat([steady_user_vectors(model, batch(frame, [row])) for row in rows])
        assert torch.equal(steady_user_vectors(model, batch(frame, rows)), alone)
        assert torch.allclose(alone, model.user_vectors(batch(frame, rows)), atol=1e-5)


def test_width_of_the_padding_does_not_matter(model: Recommender, frame: TrainingFrame) -> None:
    wide = batch(frame, [1, 2])
    narrow = replace(wide, history=wide.history[:, :10])
    assert torch.allclose(model.score(wide), model.score(narrow), atol=1e-5)


def test_empty_input(model: Recommender, frame: TrainingFrame) -> None:
    nobody = some_of(batch(frame, [0]), [])
    assert model.score(nobody).shape == (0, len(frame.items))
    assert model.can_score(nobody).shape == (0,)
    if isinstance(model, TwoTower):
        assert model.user_vectors(nobody).shape == (0, model.item_vectors().shape[1])


def test_unknown_users_are_a_path_not_an_exception(model: Recommender, frame: TrainingFrame) -> None:
    known = batch(frame, [0, 0, 1])
    history = known.history.clone()
    history[1] = PADDING
    mixed = UserBatch(torch.tensor([PADDING, PADDING, 1]), history, known.context)
    scores, able = model.score(mixed), model.can_score(mixed)
    assert torch.isfinite(scores).all()
    assert able[2]
    if isinstance(model, TwoTower):
        assert not model.user_vectors(mixed)[~able].any()
    assert torch.allclose(scores[2], model.score(batch(frame, [1]))[0], atol=1e-5)


def test_beats_chance(model: Recommender, name: str, blocks: Blocks) -> None:
    frame, test = blocks
    # 57 candidates each, of which 9 are of the user's own group: chance is 20/57, the structure gives nearly 1.
    recall = evaluate(model, frame, test)["recall_at_20"]
    assert recall > (0.9 if name != "popularity" else 0.2)


def test_reload_equality(model: Recommender, name: str, frame: TrainingFrame) -> None:
    copy = build(name, frame)
    copy.load_state(safetensors.torch.load(safetensors.torch.save(model.state())))
    some = batch(frame, [0, 7, 42])
    assert torch.equal(copy.score(some), model.score(some))
    assert torch.equal(copy.can_score(some), model.can_score(some))


def test_weights_of_another_size_are_refused(model: Recommender, frame: TrainingFrame) -> None:
    larger = type(model)(model.config, replace(Catalogue.of(frame), items=len(frame.items) + 1))
    with pytest.raises(BadInput, match=rf"weights of {type(model).__name__}: tensor '[\w.]+': found .*; expected .*"):
        larger.load_state(model.state())


def test_missing_and_surplus_weights_are_refused(model: Recommender, name: str, frame: TrainingFrame) -> None:
    state = model.state()
    first = sorted(state)[0]
    with pytest.raises(BadInput, match=f"tensor '{first}': found no such tensor"):
        build(name, frame).load_state({key: value for key, value in state.items() if key != first})
    with pytest.raises(BadInput, match=r"tensor 'stranger': found float32 \[1\]; expected no such tensor"):
        build(name, frame).load_state({**state, "stranger": torch.zeros(1)})


def test_the_report_is_of_the_state_kept(
    fitted: tuple[Recommender, FitReport, list[EpochReport]], frame: TrainingFrame, validation: HeldOut
) -> None:
    model, report, epochs = fitted
    assert evaluate(model, frame, validation) == pytest.approx(report.validation, abs=1e-9)
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
    assert same == (name in ("popularity", "user-knn", "item-knn"))


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
    if frame.train_context is not None:
        strangers = replace(strangers, train_context=frame.train_context[~cold])
    model = build(name, strangers)
    with torch.enable_grad():
        model.fit(strangers, seed=0)
    return model, strangers


def test_nothing_is_said_to_users_without_training_events(
    fitted_with_strangers: tuple[Recommender, TrainingFrame], name: str
) -> None:
    model, frame = fitted_with_strangers
    some = batch(frame, [0, 1])
    # A request that brings something may be answered by that alone.
    assert model.can_score(some).tolist() == [name == "popularity" or bool(frame.contexts), True]
    if isinstance(model, TwoTower):
        assert model.user_vectors(some)[0].any() == model.can_score(some)[0]
    # With a history meanwhile, a model that reads it treats the user as any other whom it does not know.
    context = context_of(frame, [0, 0])
    later = UserBatch(torch.tensor([0, PADDING]), torch.tensor([[7, 11], [7, 11]]), context)
    assert torch.allclose(*model.score(later), atol=1e-6)
    assert model.can_score(later).unique().numel() == 1


def test_videos_without_training_events_keep_no_random_id_vector(
    fitted_with_strangers: tuple[Recommender, TrainingFrame], name: str
) -> None:
    model, _ = fitted_with_strangers
    if not isinstance(model, LearnedRecommender) or not isinstance(model, TwoTower) or name == "fm-bgm":
        return  # A factorisation machine adds the ID vector to those of the features: a test of its own looks at it.
    # In every model that has one, the ID part comes first.
    ids, others = model.item_vectors().tensor_split([model.config.dimension], dim=1)
    assert not ids[[4, 5]].any()
    assert ids[[0, 1, 2, 3]].any(1).all()
    assert others.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fits_and_scores_on_a_gpu(name: str, frame: TrainingFrame, validation: HeldOut) -> None:
    model = build(name, frame).to("cuda")
    with torch.enable_grad():
        model.fit(frame, seed=0)
    assert evaluate(model, frame, validation)["recall_at_20"] > (0.9 if name != "popularity" else 0.2)


def test_its_package_answers_as_it_did(
    name: str,
    fitted: tuple[Recommender, FitReport, list[EpochReport]],
    frame: TrainingFrame,
    manifest_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    model = fitted[0]
    write_package(tmp_path, model, frame, manifest_of(name, model, frame))
    package = load_package(tmp_path)
    assert (package.users, package.items) == (frame.users, frame.items)
    assert package.popularity.tolist() == frame.popularity.tolist()
    asked = batch(frame, [3, 40, 90])
    with torch.inference_mode():
        assert torch.allclose(package.recommender.score(asked), model.score(asked), atol=1e-6)
    if isinstance(model, TwoTower):
        assert np.array_equal(package.item_vectors, model.item_vectors().detach().numpy())
    else:
        assert package.item_vectors is None
    assert check_golden(package) == 10
