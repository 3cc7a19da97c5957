"""IRIS: hand-worked scores, an oracle of plain loops, variants, missing modalities, what training reads."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts.errors import NotFound
from feature_repo.frame import TrainingFrame
from training.batches import PADDING, Samples, UserBatch
from training.config import resolve_config
from training.content import ItemVectors
from training.evaluation import evaluate
from training.losses import listed_logistic, listed_softmax, logistic
from training.models.iris import IRIS_VARIANTS, Iris, IrisConfig
from training.recommender import Catalogue
from training.ridge import ridge_similarities

QUICK: dict[str, Any] = {"dimension": 8, "attention_dimension": 4, "learning_rate": 0.02, "max_epochs": 15}


def fitted(frame: TrainingFrame, **options: Any) -> Iris:
    model = Iris(IrisConfig(**{**QUICK, "batch_size": 64, **options}), Catalogue.of(frame))
    model.fit(frame, seed=0)
    return model


@pytest.fixture(scope="module")
def blocks(make_frame: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> TrainingFrame:
    return make_frame(tmp_path_factory.mktemp("blocks"), missing_rows=(5,))[0]


@pytest.fixture(scope="module")
def model(blocks: TrainingFrame) -> Iris:
    """Trained, so that no table is all zeros and attention is not even."""
    return fitted(blocks, cold_rate=0.2)


def tiny(**options: Any) -> Iris:
    """Three items of one component: p = 1, 2, 3, q = 1, 0.5, -1, b = 0.1, 0.2, 0.3; attention exp(p q)."""
    config = IrisConfig(dimension=1, attention_dimension=1, views="none", **options)
    model = Iris(config, Catalogue(users=1, items=3, widths={}))
    with torch.no_grad():
        model.items.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
        model.witnesses.copy_(torch.tensor([[1.0], [0.5], [-1.0]]))
        model.bias.copy_(torch.tensor([[0.1], [0.2], [0.3]]))
        model.asking.fill_(1)
        model.answering.fill_(1)
    model.item_trained.fill_(True)
    model.histories.take(np.array([[0, 0], [0, 1]]))
    return model.eval()


def known_user() -> UserBatch:
    return UserBatch(torch.tensor([0]), torch.empty(1, 0, dtype=torch.int64))


def test_a_score_by_hand() -> None:
    scores = tiny().score(known_user())[0].tolist()
    # Item 2 of history {0, 1}: weights e^3 and e^1.5, similarities 3 and 1.5.
    third = 0.3 + (3 * math.exp(3) + 1.5 * math.exp(1.5)) / math.sqrt(math.exp(3) + math.exp(1.5))
    # Items 0 and 1 are left out of their own history: one other remains, and e^x x / e^(x / 2) = x e^(x / 2).
    first, second = 0.1 + 0.5 * math.exp(0.25), 0.2 + 2 * math.exp(1)
    assert scores == pytest.approx([first, second, third], rel=1e-5)


def test_beta_one_is_a_softmax_and_no_attention_a_mean() -> None:
    softmax = tiny(beta=1.0).score(known_user())[0, 2].item()
    assert softmax == pytest.approx(0.3 + (3 * math.exp(3) + 1.5 * math.exp(1.5)) / (math.exp(3) + math.exp(1.5)))
    assert tiny(beta=1.0, attention=False).score(known_user())[0, 2].item() == pytest.approx(0.3 + 2.25)
    assert tiny(beta=0.5, attention=False).score(known_user())[0, 2].item() == pytest.approx(0.3 + 4.5 / 2**0.5)


def test_the_training_loss_by_hand() -> None:
    model = tiny(loss="softmax")
    terms = model.train().loss_terms(
        Samples(torch.tensor([0]), torch.tensor([1]), torch.tensor([[2, 0]]), torch.zeros(1, 2))
    )
    # Asked about items 0 and 2, drawn for whichever user of a batch; item 1, though known, was not.
    gap = (0.1 + 0.5 * math.exp(0.25)) - model.score(known_user())[0, 2].item()
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"softmax": math.log1p(math.exp(-gap))})


def test_an_untrained_item_is_no_negative() -> None:
    model = tiny(loss="softmax").train()
    model.item_trained[2] = False
    terms = model.loss_terms(Samples(torch.tensor([0]), torch.tensor([0]), torch.tensor([[2]]), torch.zeros(1, 1)))
    assert terms["softmax"].item() == 0


def test_losses_over_a_list_by_hand() -> None:
    scores, known = torch.tensor([[0.0, math.log(3), 0.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    assert listed_softmax(scores, known).item() == pytest.approx((math.log(5 / 3) + math.log(5)) / 2)
    assert listed_softmax(scores, torch.zeros(1, 3)).item() == 0
    positive = (math.log1p(1 / 3) + math.log(2)) / 2
    assert listed_logistic(scores, known, 4).item() == pytest.approx((positive + 4 * math.log(2)) / 5)
    # One known item and K draws that are all the unknown ones: the loss of pairs.
    alone = torch.tensor([[1.0, 0.0, 0.0]])
    pairs = logistic(scores[:, 0], scores[:, 1:])
    assert listed_logistic(scores, alone, 2).item() == pytest.approx(pairs.item())
    both = torch.cat([scores, scores]), torch.cat([known, alone])
    of_first, of_second = listed_logistic(scores, known, 4), listed_logistic(scores, alone, 4)
    assert listed_logistic(*both, 4).item() == pytest.approx((2 * of_first + of_second).item() / 3)
    assert listed_logistic(scores, torch.zeros(1, 3), 4).item() == 0


def slow_score(model: Iris, history: list[int], item: int) -> float:
    """The class docstring as plain loops."""
    content, present = model._contents(torch.arange(model.catalogue.items))
    common = model.features(content, present)
    trained = model.item_trained.unsqueeze(1)
    assert model.to_target is not None
    assert model.to_witness is not None
    targets = model.items * trained + common @ model.to_target
    witnesses = model.witnesses * trained + common @ model.to_witness
    numerator = denominator = 0.0
    for other in history:
        if other == item or not (trained[other] or present[other].any()):
            continue
        energy = (targets[item] @ model.asking) @ (witnesses[other] @ model.answering)
        weight = math.exp(energy.item() / model.config.attention_dimension**0.5)
        numerator += weight * (targets[item] @ witnesses[other]).item()
        denominator += weight
    bias = (model.bias[item] * trained[item]).item()
    return bias + numerator / max(denominator, 1e-9) ** model.config.beta


def test_scores_equal_plain_loops(model: Iris, blocks: TrainingFrame) -> None:
    with torch.no_grad():
        brought = torch.tensor([[5, 63, PADDING], [7, 11, 11]])
        scores = model.score(UserBatch(torch.tensor([3, PADDING]), brought))
        own = blocks.train[blocks.train[:, 0] == 3, 1].tolist()
        for row, history in enumerate([sorted({*own, 5, 63}), [7, 11]]):
            slow = [slow_score(model, history, item) for item in range(len(blocks.items))]
            assert scores[row].tolist() == pytest.approx(slow, rel=1e-3, abs=1e-4)


def test_candidates_may_come_in_any_form_and_any_size(model: Iris, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = UserBatch(torch.tensor([3, 9, PADDING]), torch.tensor([[1, 2], [3, 4], [5, PADDING]]))
    with torch.no_grad():
        everything = model.score(batch)
        common, own = torch.tensor([9, 2, 9]), torch.tensor([[1, 3, 5], [60, 60, 2], [0, 63, 7]])
        assert torch.allclose(model.score(batch, common), everything[:, common], atol=1e-5)
        assert torch.allclose(model.score(batch, own), everything.gather(1, own), atol=1e-5)
        monkeypatch.setattr("training.models.iris._CELLS", 20)  # smaller tables: fewer users and items at a time
        assert torch.allclose(model.score(batch), everything, atol=1e-5)
        assert torch.allclose(model.score(batch, own), everything.gather(1, own), atol=1e-5)


def test_an_epoch_visits_each_user_once_by_another_pair(model: Iris) -> None:
    pairs = torch.tensor([[0, 1], [0, 2], [0, 3], [2, 5], [7, 1], [7, 2]])
    generator = torch.Generator().manual_seed(0)
    visited = [pairs[model.visits(pairs, generator)] for _ in range(20)]
    assert all(sorted(each[:, 0].tolist()) == [0, 2, 7] for each in visited)
    assert {int(item) for each in visited for item in each[each[:, 0] == 0, 1]} == {1, 2, 3}


@pytest.mark.parametrize("variant", IRIS_VARIANTS)
def test_every_variant_learns_the_groups(variant: str, blocks: TrainingFrame) -> None:
    vectors = {**blocks.modalities, "textual": blocks.modalities["visual"][:, :3]}
    missing = {**blocks.missing, "textual": blocks.missing["visual"]}
    frame = replace(blocks, modalities=vectors, missing=missing)
    model = fitted(frame, **IRIS_VARIANTS[variant])
    assert evaluate(model, frame, frame.validation)["recall_at_20"] > 0.9
    assert (model.to_target is None) == (variant == "ids")


def test_the_plain_reading_learns_too(blocks: TrainingFrame) -> None:
    model = fitted(
        blocks, initialisation="normal", loss="logistic", regularisation=1e-3, max_epochs=40, learning_rate=0.05
    )
    assert evaluate(model, blocks, blocks.validation)["recall_at_20"] > 0.9


def test_a_modality_that_the_data_lack_is_named(blocks: TrainingFrame) -> None:
    config = resolve_config("iris", IrisConfig, {"views": "textual"})
    with pytest.raises(NotFound, match=r"iris modality.*textual.*acoustic"):
        Iris(config, Catalogue.of(blocks))


def test_views_that_are_no_list_of_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"distinct names joined by `\+`"):
        IrisConfig(views="visual++textual")


def absent(frame: TrainingFrame, modality: str) -> TrainingFrame:
    """The same items without any vector of a modality."""
    vectors = {**frame.modalities, modality: np.zeros_like(frame.modalities[modality])}
    return replace(frame, modalities=vectors, missing={**frame.missing, modality: np.ones(len(frame.items), np.bool_)})


def test_a_modality_that_no_item_has_changes_nothing(blocks: TrainingFrame) -> None:
    frame = absent(blocks, "acoustic")
    model = fitted(frame)
    batch = UserBatch(torch.tensor([1]), torch.empty(1, 0, dtype=torch.int64))
    with torch.no_grad():
        before = model.score(batch)
        assert torch.isfinite(before).all()
        for name, parameter in model.features.named_parameters():
            if name in ("first.0", "own.0", "own_bias.0", "back.0"):
                parameter.fill_(7.0)
        assert torch.equal(model.score(batch), before)


def test_unseen_items_are_scored_by_what_they_contain(blocks: TrainingFrame) -> None:
    cold = np.isin(blocks.train[:, 1], [4, 8])
    views = np.bincount(blocks.train[~cold, 1], minlength=len(blocks.items))
    model = fitted(replace(blocks, train=blocks.train[~cold], popularity=views), cold_rate=0.5, max_epochs=30)
    batch = UserBatch(torch.tensor([0]), torch.empty(1, 0, dtype=torch.int64))
    with torch.no_grad():
        before = model.score(batch)[0]
        model.items[[4, 8]] = 9.0
        model.bias[[4, 8]] = 9.0
        assert torch.equal(model.score(batch)[0], before)
        content = ItemVectors(
            {name: np.concatenate([table, table[[4]]]) for name, table in blocks.modalities.items()},
            {name: np.concatenate([gone, gone[[4]]]) for name, gone in blocks.missing.items()},
        )
        longer = model.with_content(content).score(batch)[0]
    # The centre moves a little with one more item.
    assert longer[-1].item() == pytest.approx(before[4].item(), rel=0.2)
    assert longer[4].item() == longer[-1].item()


def test_content_starts_as_what_it_tells_of_the_id_vectors(blocks: TrainingFrame) -> None:
    frame = replace(blocks, train=blocks.train[~np.isin(blocks.train[:, 1], [4, 8])])
    options = {**QUICK, "initialisation": "spectral"}

    def begun(**more: Any) -> Iris:
        model = Iris(IrisConfig(**options, **more), Catalogue.of(frame))
        model.begin(frame, torch.Generator().manual_seed(0))
        return model.eval()

    silent, told = begun(), begun(content_ridge=0.5)
    batch = UserBatch(torch.tensor([0, 3]), torch.empty(2, 0, dtype=torch.int64))
    with torch.no_grad():
        before, after = silent.score(batch), told.score(batch)
        seen = told.item_trained.clone()
        assert after[:, seen].numpy() == pytest.approx(before[:, seen].numpy(), abs=1e-5)
        assert not before[:, [4, 8]].any()
        assert after[:, [4, 8]].all()
        # What is left of the ID vectors is the residual of a ridge regression: H'(Y - HP) = penalty P.
        rows = seen.nonzero().squeeze(1)
        common = told.features(*told._contents(rows))
        penalty = 0.5 * common.square().sum(0).mean()
        assert told.to_target is not None
        left = (common.T @ told.items[rows]).numpy()
        assert left == pytest.approx((penalty * told.to_target).numpy(), abs=1e-4)
    assert begun(content_ridge=0.5, views="none").to_target is None


def test_similarities_are_added_once_all_is_trained(blocks: TrainingFrame) -> None:
    options = {**IRIS_VARIANTS["fused"], "ridge_penalty": 3.0}
    alone, fused = fitted(blocks, max_epochs=1), fitted(blocks, max_epochs=1, **options)
    shape = (len(blocks.users), len(blocks.items))
    table = ridge_similarities(blocks.train, shape, penalty=3.0, activity_exponent=0.5)
    users = UserBatch(torch.tensor([0, 3]), torch.empty(2, 0, dtype=torch.int64))
    history = np.zeros((2, shape[1]), dtype=np.float32)
    for row, user in enumerate((0, 3)):
        history[row, blocks.train[blocks.train[:, 0] == user, 1]] = 1
    with torch.no_grad():
        added = (fused.score(users) - alone.score(users)).numpy()
    assert added == pytest.approx(6 * history @ table, abs=1e-4)
    assert np.abs(added).max() > 0.1


def test_who_brings_nothing_gets_nothing(model: Iris, blocks: TrainingFrame) -> None:
    nobody = UserBatch(torch.tensor([PADDING, PADDING]), torch.tensor([[PADDING], [3]]))
    assert model.can_score(nobody).tolist() == [False, True]
    assert torch.isfinite(model.score(nobody)).all()


def test_state_carries_the_histories(model: Iris, blocks: TrainingFrame) -> None:
    copy = Iris(model.config, Catalogue.of(blocks))
    copy.load_state(model.state())
    batch = UserBatch(torch.tensor([3]), torch.empty(1, 0, dtype=torch.int64))
    with torch.no_grad():
        assert torch.equal(copy.eval().score(batch), model.score(batch))


def test_gradients_reach_every_parameter(blocks: TrainingFrame) -> None:
    model = Iris(IrisConfig(**QUICK), Catalogue.of(blocks)).train()
    model.begin(blocks, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.asking.fill_(0.1)
    pairs = torch.from_numpy(blocks.train)
    users, items = pairs[::7].T.contiguous()
    negatives = torch.randint(64, (len(users), 4), generator=torch.Generator().manual_seed(0))
    losses: list[Tensor] = list(model.loss_terms(Samples(users, items, negatives, torch.zeros(len(users), 4))).values())
    torch.stack(losses).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
