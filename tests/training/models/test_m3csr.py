"""M3CSR's options, its ablations, missing modalities and the arrays behind its figures."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.batches import PADDING, Samples, UserBatch
from training.models.m3csr import M3csr
from training.models.m3csr_config import ABLATIONS, CONNECTED, FUSED, PLAIN, M3csrConfig
from training.recommender import Catalogue

SMALL = {"dimension": 8, "heads": 2, "clusters": 4, "popularity_bins": 5, "batch_size": 128, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def frame(make_frame: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> TrainingFrame:
    return make_frame(tmp_path_factory.mktemp("blocks"), missing_rows=(5,))[0]


def begun(frame: TrainingFrame, **options: object) -> M3csr:
    model = M3csr(M3csrConfig(**{**SMALL, **options}), Catalogue.of(frame))
    model.begin(frame, torch.Generator().manual_seed(0))
    model.refresh()
    return model


def users(frame: TrainingFrame, rows: list[int]) -> UserBatch:
    return UserBatch(torch.tensor(rows), torch.from_numpy(frame.history[rows]))


def some_samples(frame: TrainingFrame) -> Samples:
    user, positive = torch.from_numpy(frame.train[:40]).T
    negatives = torch.arange(80).view(40, 2) % len(frame.items)
    return Samples(user, positive, negatives, torch.zeros(40, 2))


@pytest.mark.parametrize(
    "options",
    [{}, PLAIN, CONNECTED, FUSED, *ABLATIONS.values()],
    ids=["full", "plain", "connected", "fused", *ABLATIONS],
)
def test_every_variant_scores_and_learns(frame: TrainingFrame, options: dict[str, object]) -> None:
    model = begun(frame, **{**options, **{name: SMALL[name] for name in SMALL if name in options}})
    terms = model.loss_terms(some_samples(frame))
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert model.items.grad.any()
    with torch.no_grad():
        assert model.score(users(frame, [0, 3])).shape == (2, len(frame.items))


def test_ablations_take_away_what_they_say(frame: TrainingFrame) -> None:
    without = {name: begun(frame, **options) for name, options in ABLATIONS.items()}
    some = users(frame, [0, 3, 9])
    assert without["without-miil"].intensities(some).tolist() == [[0.5, 0.5]] * 3
    assert without["without-gate"].content_shares().tolist() == [0.5] * 5
    assert begun(frame).item_embeddings()["visual"].shape[1] == 16
    assert without["without-cluster"].item_embeddings()["visual"].shape[1] == 8
    assert without["without-orthogonality"].loss_terms(some_samples(frame))["orthogonality"].item() == 0
    assert begun(frame).loss_terms(some_samples(frame))["orthogonality"].item() > 0


def test_a_single_modality(frame: TrainingFrame) -> None:
    model = begun(frame, modalities=("visual",))
    assert list(model.item_embeddings()) == ["id", "visual"]
    assert model.intensities(users(frame, [0, 3])).tolist() == [[1.0], [1.0]]
    blind = replace(frame, modalities={**frame.modalities, "acoustic": 9 * frame.modalities["acoustic"]})
    assert torch.equal(model.with_content(blind).item_vectors(), model.item_vectors())


def test_a_modality_that_nobody_has_is_refused(frame: TrainingFrame) -> None:
    with pytest.raises(BadInput, match="option modalities: textual: found features with acoustic, visual"):
        begun(frame, modalities=("textual", "visual"))
    # As the command line gives it.
    assert M3csrConfig(modalities="acoustic+visual").modalities == ("acoustic", "visual")


def test_a_missing_vector_has_no_part_in_either_tower(frame: TrainingFrame) -> None:
    missing = {**frame.missing, "visual": frame.missing["visual"] | (np.arange(len(frame.items)) == 7)}
    model = begun(replace(frame, missing=missing, modalities=_zeroed(frame, missing)))
    embeddings = model.item_embeddings()
    assert not embeddings["visual"][[5, 7]].any()
    assert embeddings["acoustic"][7].any()
    only = torch.tensor([[7, PADDING], [7, 8]])
    intensity = model.intensities(UserBatch(torch.tensor([PADDING, PADDING]), only))
    assert intensity[0].tolist() == [1.0, 0.0]  # acoustic alone is heard
    assert (intensity[1] > 0).all()


def test_a_modality_missing_of_all_items_trains(frame: TrainingFrame) -> None:
    missing = {**frame.missing, "visual": np.ones(len(frame.items), dtype=bool)}
    model = begun(replace(frame, missing=missing, modalities=_zeroed(frame, missing)))
    terms = model.loss_terms(some_samples(frame))
    sum(terms.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.intensities(users(frame, [0])).tolist() == [[1.0, 0.0]]


def _zeroed(frame: TrainingFrame, missing: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: vectors * ~missing[name][:, None] for name, vectors in frame.modalities.items()}


def test_an_epoch_visits_some_pairs_of_each_user(frame: TrainingFrame) -> None:
    pairs, generator = torch.from_numpy(frame.train), torch.Generator().manual_seed(0)
    visited = begun(frame, pairs_per_user=2).visits(pairs, generator)
    counts = torch.bincount(pairs[:, 0]).clamp(max=2)
    assert torch.equal(torch.bincount(pairs[visited, 0]), counts)
    assert len(begun(frame, pairs_per_user=None).visits(pairs, generator)) == len(pairs)


def test_biases_start_from_how_often_a_pair_is_visited(frame: TrainingFrame) -> None:
    model = begun(frame, popularity_bias=True, pairs_per_user=2)
    degree = np.bincount(frame.train[:, 0])
    item = int(frame.train[0, 1])
    visits = sum(min(1, 2 / degree[user]) for user, other in frame.train if other == item)
    assert model.bias[item].item() == pytest.approx(np.log1p(visits), rel=1e-5)


def test_an_items_bias_is_in_its_score(frame: TrainingFrame) -> None:
    model, some = begun(frame, popularity_bias=True), users(frame, [0, 3])
    with torch.no_grad():
        before = model.score(some)
        model.bias[4] += 2
        after = model.score(some)
    assert torch.allclose(after - before, 2 * torch.eye(len(frame.items))[4].expand(2, -1), atol=1e-5)


def test_similarities_are_added_to_the_towers_and_not_trained_with_them(frame: TrainingFrame) -> None:
    alone, fused = begun(frame), begun(frame, similarities=0.5)
    some = users(frame, [0, 3, 9])
    with torch.no_grad():
        similar = fused.similarities.score(some)
        torch.testing.assert_close(fused.score(some), alone.score(some) + 0.5 * similar)
    assert similar.std() > 0.1, "they were fitted"
    sum(fused.loss_terms(some_samples(frame)).values()).backward()
    assert all(parameter.grad is None for parameter in fused.similarities.parameters())


def test_options_are_checked() -> None:
    for wrong in ({"modalities": ()}, {"connectivity": -1}, {"pairs_per_user": 0}, {"objective": "hinge"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            M3csrConfig(**wrong)
