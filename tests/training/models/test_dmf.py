import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from feature_repo.frame import TrainingFrame
from training.batches import Samples, UserBatch
from training.models.dmf import Dmf, DmfConfig, InteractionTowers, cosine_cross_entropy
from training.recommender import Catalogue


def towers(frame: TrainingFrame, *, rectified: bool = True, leaves_out: bool = False, exponent: float = 0) -> Any:
    """Networks of 2 users and 3 items whose weights are 1, 2, ... over the first layers and 1 over the second."""
    made = InteractionTowers(
        2, 3, inner=1, user_width=1, item_width=2, exponent=exponent, leaves_out=leaves_out, rectified=rectified
    )
    train = np.array([[0, 0], [0, 2], [1, 2], [0, 2]])
    made.begin(replace(frame, train=train), torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.user_network.first.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
        made.item_network.first.copy_(torch.tensor([[1.0], [2.0]]))
        made.user_network.second.fill_(1)
        made.item_network.second.copy_(torch.tensor([[1.0, -1.0]]))
    return made


@pytest.fixture
def small(frame: TrainingFrame) -> TrainingFrame:
    return replace(
        frame, users=type(frame.users)(["a", "b"]), items=type(frame.items)(["x", "y", "z"]), validation_context=None
    )


def test_rows_and_columns_pass_the_networks_by_hand(small: TrainingFrame) -> None:
    made = towers(small)
    # User 0 had items 0 and 2 (the repeated pair counts once): 1 + 3; user 1 had item 2: 3.
    assert made.user_vectors(torch.tensor([0, 1, 0])).tolist() == [[4], [3], [4]]
    # Item 2 was had by users 0 and 1: 1 + 2; item 1 by nobody. The second output is rectified.
    assert made.item_vectors(torch.tensor([2, 1, 0])).tolist() == [[3, 0], [0, 0], [1, 0]]
    assert towers(small, rectified=False).item_vectors(torch.tensor([2])).tolist() == [[3, -3]]


def test_a_row_is_divided_by_a_power_of_its_length(small: TrainingFrame) -> None:
    made = towers(small, exponent=0.5)
    assert made.user_vectors(torch.tensor([0, 1])).flatten().tolist() == pytest.approx([4 / math.sqrt(2), 3])


def test_the_target_is_left_out_of_its_row_and_column(small: TrainingFrame) -> None:
    users, items = torch.tensor([0, 1]), torch.tensor([2, 2])
    made = towers(small, leaves_out=True, exponent=1)
    # User 0 without item 2 keeps item 0; user 1 keeps nothing. Item 2 without user 0 keeps user 1, and the reverse.
    assert made.user_vectors(users, items).flatten().tolist() == [1, 0]
    assert made.item_vectors(items, users)[:, 0].tolist() == [2, 1]
    plain = towers(small, exponent=1)
    assert torch.equal(plain.user_vectors(users, items), plain.user_vectors(users))


def test_kept_vectors_are_those_of_all_rows(small: TrainingFrame) -> None:
    made = towers(small)
    made.refresh()
    assert made.users.tolist() == [[4], [3]]
    assert made.items.tolist() == [[1, 0], [0, 0], [3, 0]]


def test_cross_entropy_of_cosines_by_hand() -> None:
    loss = cosine_cross_entropy(torch.tensor([0.5, -0.3]), torch.tensor([[0.2, 0.0], [-1.0, 1.0]]))
    # A cosine below 1e-6 counts as 1e-6; 1 - (-1) and 1 - 0 are cut to 1 - 1e-6, 1 - 1 to 1e-6.
    likely = [0.5, 1e-6, 0.8, 1 - 1e-6, 1 - 1e-6, 1e-6]
    assert float(loss) == pytest.approx(-sum(map(math.log, likely)) / 6, rel=1e-4)


def fitted(frame: TrainingFrame, **options: Any) -> Dmf:
    config = DmfConfig(**{"dimension": 8, "batch_size": 128, "learning_rate": 0.02, "max_epochs": 3, **options})
    model = Dmf(config, Catalogue.of(frame))
    model.fit(frame, seed=0)
    return model


def test_scores_are_cosines(frame: TrainingFrame) -> None:
    model = fitted(frame)
    with torch.no_grad():
        batch = UserBatch(torch.tensor([0, 5]), torch.from_numpy(frame.history[[0, 5]]))
        users, items = model.towers.users[[0, 5]], model.towers.items
        expected = torch.nn.functional.cosine_similarity(users.unsqueeze(1), items, dim=2)
        assert torch.allclose(model.score(batch), expected, atol=1e-6)


def test_the_loss_is_of_the_prediction_that_was_asked_for(frame: TrainingFrame) -> None:
    samples = Samples(torch.tensor([3]), torch.tensor([int(frame.train[frame.train[:, 0] == 3][0, 1])]),
                      torch.tensor([[1, 2]]), torch.zeros(1, 2))  # fmt: skip
    for similarity in ("cosine", "inner"):
        model = fitted(frame, similarity=similarity, max_epochs=1, regularisation=0.5)
        with torch.no_grad():
            terms = model.loss_terms(samples)
            user = model.towers.user_vectors(samples.users, samples.positives)
            items = torch.cat(
                [
                    model.towers.item_vectors(samples.positives, samples.users),
                    model.towers.item_vectors(torch.tensor([1, 2])),
                ]
            )
        assert float(terms["l2"]) == pytest.approx(0.25 * float(user.square().sum() + items.square().sum()), rel=1e-4)
        if similarity == "cosine":
            cosines = torch.nn.functional.cosine_similarity(user, items, dim=1)
            expected = cosine_cross_entropy(cosines[:1], cosines[1:].unsqueeze(0))
        else:
            logits, labels = (items @ user.T).flatten(), torch.tensor([1.0, 0, 0])
            expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        assert float(terms["cross_entropy"]) == pytest.approx(float(expected), rel=1e-4)
