"""MMM against its equations, and without each of its sources."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import logsigmoid

from contracts.errors import NotFound
from feature_repo.frame import TrainingFrame
from training.batches import PADDING, Samples, UserBatch
from training.config import resolve_config
from training.models.mmm import Mmm
from training.models.mmm_config import PLAIN, VARIANTS, MmmConfig
from training.recommender import Catalogue

COLD_USER, COLD_ITEM, BARE_ITEM = 8, 4, 5
"""Neither has a training pair; the last has no vectors and no title either."""

SMALL: dict[str, Any] = {"dimension": 6, "filters": 4, "word_dimension": 5, "categories": 7, "shared_interests": 3}


@pytest.fixture(scope="module")
def social(frame: TrainingFrame) -> TrainingFrame:
    """The four groups, with titles that name them and ties within them."""
    rng, users, items = np.random.default_rng(2), len(frame.users), len(frame.items)
    ties = rng.random((users, users)) < 0.1
    ties &= np.arange(users)[:, None] % 4 == np.arange(users) % 4
    np.fill_diagonal(ties, False)
    ties[COLD_USER, 12] = True
    follow = ties.copy()
    follow[12:20] = False
    titles = tuple(None if item == BARE_ITEM else f"the group {'abcd'[item % 4]} song {item}" for item in range(items))
    train = frame.train[~np.isin(frame.train[:, 1], [COLD_ITEM, BARE_ITEM]) & (frame.train[:, 0] != COLD_USER)]
    history = frame.history.copy()
    history[COLD_USER] = PADDING
    return replace(
        frame,
        feature_service="mmm_v1",
        train=train,
        history=history,
        texts=titles,
        networks={"friend": csr_array(ties.astype(np.float32)), "follow": csr_array(follow.astype(np.float32))},
    )


def started(frame: TrainingFrame, **options: Any) -> Mmm:
    """Initialised, with categories, and moved away from the start so that no parameter is zero."""
    model = Mmm(MmmConfig(**{**SMALL, **options}), Catalogue.of(frame))
    generator = torch.Generator().manual_seed(0)
    model.begin(frame, generator)
    model.start_epoch(1, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.refresh()
    return model


def samples_of(frame: TrainingFrame) -> Samples:
    pairs = torch.from_numpy(frame.train[[0, 5, 9, 40]])
    negatives = torch.tensor([[1, 2], [60, 61], [7, 7], [30, COLD_ITEM]])
    return Samples(pairs[:, 0], pairs[:, 1], negatives, torch.zeros(4, 2))


def users_of(frame: TrainingFrame, *rows: int) -> UserBatch:
    return UserBatch(torch.tensor(rows), torch.from_numpy(frame.history[list(rows)]))


def judged(model: Mmm, user: int, item: int) -> Tensor:
    """u . (v + g) + b with trained vectors."""
    category = model.categories.vectors[model.categories.category[item]]
    return model.users[user] @ (model.items[item] + category) + model.bias[item, 0]


def test_scores(social: TrainingFrame) -> None:
    model, users, items = started(social), [3, 17], [2, 7, 40]
    with torch.no_grad():
        expected = torch.stack([torch.stack([judged(model, user, item) for item in items]) for user in users])
        assert torch.allclose(model.score(users_of(social, *users))[:, items], expected, atol=1e-5)


def test_the_squared_errors_of_equation_11(social: TrainingFrame) -> None:
    model, samples = started(social, unknown_weight=0.25, regularisation=0.5), samples_of(social)
    total, squares = 0.0, 0.0
    for user, item, drawn in zip(samples.users, samples.positives, samples.negatives, strict=True):
        total += (1 - judged(model, int(user), int(item)).item()) ** 2
        total += 0.25 * sum(judged(model, int(user), int(other)).item() ** 2 for other in drawn)
        shown = torch.cat([item.view(1), drawn])
        squares += model.users[user].square().sum().item() + model.items[shown].square().sum().item()
    terms = model.loss_terms(samples)
    assert set(terms) == {"squared", "l2", "content", "categories", "networks"}
    assert terms["squared"].item() == pytest.approx(total / 2 / 4, rel=1e-5)
    assert terms["l2"].item() == pytest.approx(0.5 * squares / 2 / 4, rel=1e-5)


def mapped(model: Mmm, frame: TrainingFrame, item: int) -> list[Tensor]:
    """W_m c^m of an item with vectors and a title, of each modality and the title (eqs. 5-6)."""
    found = []
    for place, name in enumerate(("acoustic", "visual")):
        vector = torch.from_numpy(frame.modalities[name][item])
        vector = vector / vector.norm() * len(vector) ** 0.5
        found.append(torch.relu(vector @ model.layers[place] + model.layer_biases[place]) @ model.maps[place])
    assert model._words is not None
    return [*found, model.text(model._words[item : item + 1])[0] @ model.maps[2]]


@pytest.mark.parametrize("contrasts", [0, 1, 2])
def test_equation_7(social: TrainingFrame, contrasts: int) -> None:
    model, samples = started(social, content_weight=0.5, content_contrasts=contrasts), samples_of(social)
    rows = samples.positives.tolist()
    total = torch.zeros(())
    for place, item in enumerate(rows):
        for code in mapped(model, social, item):
            total = total - logsigmoid(model.items[item] @ code)
        for shift in range(1, contrasts + 1):
            for code in mapped(model, social, rows[place - shift]):
                total = total - logsigmoid(-(model.items[item] @ code)) / contrasts
    assert model.loss_terms(samples)["content"].item() == pytest.approx(0.5 * total.item() / 4, rel=1e-5)


def test_content_that_is_not_there_says_nothing(social: TrainingFrame) -> None:
    model = started(social, content_contrasts=1)
    same = torch.tensor([7, 7])
    with torch.no_grad():
        assert model._unlikeness(torch.tensor([BARE_ITEM])).item() == 0
        # The same item twice is no contrast, and neither is one without content.
        assert model._unlikeness(same).item() == pytest.approx(model._unlikeness(same[:1]).item(), rel=1e-5)
        pair = model._unlikeness(torch.tensor([7, BARE_ITEM]))
        assert pair.item() == pytest.approx(model._unlikeness(same[:1]).item() / 2, rel=1e-5)


def test_what_a_step_counts_of_categories_and_networks(social: TrainingFrame) -> None:
    weights = {
        "centre_regularisation": 2.0,
        "category_regularisation": 3.0,
        "network_regularisation": 5.0,
        "neighbour_regularisation": 7.0,
        "network_prior": 11.0,
    }
    model = started(social, **weights)
    with torch.no_grad():
        near, small = model.categories.penalties()
        parts = model.networks.penalties(model.users)
        terms = model.loss_terms(samples_of(social))
    pairs = len(social.train)
    assert terms["categories"].item() == pytest.approx((2 * near + 3 * small).item() / pairs, rel=1e-5)
    expected = sum(weight * part.item() for weight, part in zip((5, 7, 11), parts, strict=True))
    assert terms["networks"].item() == pytest.approx(expected / pairs, rel=1e-5)
    assert len(model.networks.vectors) == 3


def test_the_derivatives_of_section_3_7(social: TrainingFrame) -> None:
    options = {"item_bias": False, "network_regularisation": 5.0, "neighbour_regularisation": 7.0, "network_prior": 3.0}
    model = started(
        social, **options, regularisation=0.0, content_weight=2.0, content_contrasts=0, centre_regularisation=4.0
    )
    samples, n = samples_of(social), len(social.train)
    torch.autograd.backward(sum(model.loss_terms(samples).values()))
    with torch.no_grad():
        user, item = int(samples.users[2]), int(samples.positives[2])
        asked = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        known = torch.tensor([1.0, 0.0, 0.0])
        judged = model.items[asked] + model.categories.of(asked)
        errors = (judged @ model.users[samples.users].unsqueeze(2)).squeeze(2) - known
        networks, vectors = model.networks, model.networks.vectors
        shares = torch.softmax(networks.impact.masked_fill(~networks.tied, -torch.inf), dim=0).nan_to_num()
        apart = (model.users - (shares.unsqueeze(2) * vectors).sum(0)) * networks.tied.any(0).unsqueeze(1)
        alone = (vectors - networks.neighbours()) * networks.tied.unsqueeze(2)

        assert (samples.users == user).sum() == 1
        by_user = (errors[2].unsqueeze(1) * judged[2]).sum(0) / 4 + 5 * apart[user] / n
        assert torch.allclose(model.users.grad[user], by_user, atol=1e-6)

        assert (asked == item).sum() == 1
        by_item = errors[2, 0] * model.users[user] / 4
        for code in mapped(model, social, item):
            by_item = by_item - 2 * (1 - torch.sigmoid(model.items[item] @ code)) * code / 4
        assert torch.allclose(model.items.grad[item], by_item, atol=1e-6)

        category = model.categories.category[item]
        weights = errors * (model.categories.category[asked] == category)
        small = MmmConfig().category_regularisation * model.categories.vectors[category]
        near = 4 * (model.categories.vectors[category] - model.categories.centres[category])
        by_category = (weights.sum(1, keepdim=True) * model.users[samples.users]).sum(0) / 4 + (near + small) / n
        assert torch.allclose(model.categories.vectors.grad[category], by_category, atol=1e-6)

        # In order of name: follow, friend, shared interests.
        ties = social.networks["friend"].toarray() > 0
        at = int(np.argmax(ties.sum(0)))
        by_network = -5 * shares[1, at] * apart[at] + 7 * alone[1, at] + 3 * vectors[1, at] * networks.tied[1, at]
        for other in np.flatnonzero(ties[:, at]):
            by_network = by_network - 7 * alone[1, other] / int(ties[other].sum())
        assert torch.allclose(vectors.grad[1, at], by_network / n, atol=1e-6)

        mixed = (shares.unsqueeze(2) * vectors).sum(0)[at]
        by_impact = -5 * shares[1, at] * (apart[at] @ (vectors[1, at] - mixed)) / n
        assert networks.impact.grad[1, at].item() == pytest.approx(by_impact.item(), abs=1e-6)


def test_an_item_without_a_training_pair_has_the_most_likely_vector(social: TrainingFrame) -> None:
    model = started(social, content_weight=0.5, regularisation=0.25)
    found = model.expected_items[COLD_ITEM].detach()
    with torch.no_grad():
        codes = mapped(model, social, COLD_ITEM)
        # Nowhere is log P greater than in this direction, at the best length.
        sizes = torch.linspace(0, 4, 4001).unsqueeze(1)

        def best(direction: Tensor) -> float:
            vectors = sizes * direction / direction.norm()
            likely = sum(0.5 * logsigmoid(vectors @ code) for code in codes) - 0.125 * vectors.square().sum(1)
            return likely.max().item()

        tilts = torch.randn(20, 6, generator=torch.Generator().manual_seed(1)) * 0.3 * found.norm()
        assert best(found) > max(best(found + tilt) for tilt in tilts)
        assert found.norm().item() == pytest.approx(model.items[model.item_trained].norm(dim=1).mean().item(), rel=1e-5)
        ids, others, bias = model.item_vectors().split([6, 6, 1], dim=1)
    assert not ids[COLD_ITEM].any()
    category = model.categories.category
    assert torch.allclose(others[COLD_ITEM], found + model.categories.vectors[category[COLD_ITEM]])
    assert category[BARE_ITEM] == PADDING
    assert not torch.cat([ids, others], dim=1)[BARE_ITEM].any()
    assert not model.expected_items[model.item_trained].any()
    assert torch.equal(bias, model.bias)


def test_a_user_without_a_training_pair_is_known_by_their_ties(social: TrainingFrame) -> None:
    model = started(social)
    some = UserBatch(torch.tensor([COLD_USER, PADDING]), torch.tensor([[PADDING], [3]]))
    with torch.no_grad():
        assert model.can_score(some).tolist() == [True, False]
        vectors = model.user_vectors(some)
        expected = model.networks.mixed(model.networks.neighbours())[COLD_USER]
    assert torch.equal(vectors[0], torch.cat([expected, expected, torch.ones(1)]))
    assert not vectors[1].any()
    alone = started(replace(social, networks={}))
    assert alone.can_score(some).tolist() == [False, False]


def test_categories_are_found_again_before_each_epoch(social: TrainingFrame) -> None:
    model = started(social)
    with torch.no_grad():
        model.items.copy_(torch.eye(4, 6)[torch.arange(len(social.items)) % 4] * 10)
    for epoch in range(2, 5):
        model.start_epoch(epoch, torch.Generator())
    category, known = model.categories.category, model.item_trained
    # Items at the same place have one category, whose centre is the mean of its own.
    for item in (0, 1, 2, 3):
        assert category[item] == category[item + 8]
        members = model.items[known & (category == category[item])]
        assert torch.allclose(model.categories.centres[category[item]], members.mean(0), atol=1e-5)


def test_the_start_from_factors_fits_best_as_large_as_it_is(social: TrainingFrame) -> None:
    model = Mmm(MmmConfig(**SMALL, negatives=3, unknown_weight=0.5), Catalogue.of(social))
    model.begin(social, torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = model.users @ model.items.T
        pairs = torch.from_numpy(social.train)
        known = scores[pairs[:, 0], pairs[:, 1]]

        def errors(size: float) -> float:
            drawn = 3 * 0.5 * len(pairs) * (size * scores).square().mean()
            return ((1 - size * known).square().sum() + drawn).item()

        assert errors(1.0) < min(errors(0.99), errors(1.01))
        assert model.users.square().mean().item() == pytest.approx(model.items.square().mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({}, {"content", "categories", "networks"}),
        (VARIANTS["con"], {"content"}),
        (VARIANTS["cat"], {"categories"}),
        (VARIANTS["net"], {"networks"}),
        (PLAIN, {"content", "categories", "networks"}),
        ({"precision": "bf16"}, {"content", "categories", "networks"}),
    ],
    ids=["full", *VARIANTS, "plain", "bf16"],
)
def test_variants(social: TrainingFrame, options: dict[str, Any], parts: set[str]) -> None:
    small = {name: value for name, value in SMALL.items() if name not in options}
    model = Mmm(resolve_config("mmm", MmmConfig, {**options, **small, "max_epochs": 2}), Catalogue.of(social))
    report = model.fit(social, seed=0)
    assert set(report.losses) == {"squared", "l2", *parts}
    copy = Mmm(model.config, model.catalogue)
    copy.load_state(safetensors.torch.load(safetensors.torch.save(model.state())))
    some = users_of(social, 0, COLD_USER, 42)
    with torch.no_grad():
        assert torch.equal(copy.score(some), model.score(some))
        assert model.can_score(some).tolist() == [True, "networks" in parts, True]
    again = Mmm(model.config, model.catalogue)
    again.fit(social, seed=0)
    for name, tensor in again.state().items():
        assert torch.equal(tensor, model.state()[name]), name


def bare(frame: TrainingFrame) -> TrainingFrame:
    """Without any source but the interactions."""
    return replace(frame, texts=None, networks={}, modalities={}, missing={}, specs={})


def test_the_full_model_does_without_what_the_data_lack(social: TrainingFrame) -> None:
    frame = bare(social)
    model = Mmm(MmmConfig(**{**SMALL, "shared_interests": 0}, max_epochs=1), Catalogue.of(frame))
    assert set(model.fit(frame, seed=0).losses) == {"squared", "l2", "categories", "networks"}
    assert not model.expected_items.any()
    vectors = replace(social, texts=None)
    model = Mmm(MmmConfig(**SMALL, max_epochs=1), Catalogue.of(vectors))
    assert "content" in model.fit(vectors, seed=0).losses


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (VARIANTS["con"], "without titles or vectors of the items"),
        ({**VARIANTS["net"], "shared_interests": 0}, "without networks of users"),
        ({"categories": 0, "shared_interests": 0}, "without networks of users and without titles or vectors"),
    ],
)
def test_a_variant_without_its_only_source_is_refused(
    social: TrainingFrame, options: dict[str, Any], found: str
) -> None:
    frame = bare(social)
    with pytest.raises(NotFound, match=rf"model mmm .*: found snapshot blocks as mmm_v1 {found}.*; expected data of"):
        Mmm(MmmConfig(**options), Catalogue.of(frame)).fit(frame, seed=0)
