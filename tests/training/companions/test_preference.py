"""Preference prediction: the factorisation machine by hand, what the trees choose, what is kept on disk."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import BadInput, NotFound, TrainingDiverged
from training.companions.preference import (
    FactorisationMachine,
    PreferenceConfig,
    PreferenceExamples,
    PreferenceModel,
)

CONFIG = PreferenceConfig(trees=10, leaves=4, selected=2, factors=2, steps=30)


def test_equations_11_and_12_by_hand() -> None:
    machine = FactorisationMachine(2, 2, 2)
    with torch.no_grad():
        machine.bias.fill_(0.5)
        machine.weights.copy_(torch.tensor([[1.0], [-1.0]]))
        machine.vectors.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        machine.hot_weights.copy_(torch.tensor([[0.25], [0.125]]))
        machine.hot_vectors.copy_(torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
    numbers, hot = torch.tensor([[2.0, 3.0], [2.0, 3.0]]), torch.tensor([[0], [-1]])
    # Linear 0.5 + 2 - 3; pairs: v1.v2 = 1 by 2 * 3; with column 0 also v1.h = 3 by 2 and v2.h = 2 by 3, and 0.25.
    assert machine(numbers, hot).tolist() == pytest.approx([-0.5 + 6 + 0.25 + 6 + 6, -0.5 + 6])


@pytest.fixture(scope="module")
def examples() -> tuple[PreferenceExamples, np.ndarray]:
    """Preferred where number 3 is large for men and small for women; the other four numbers say nothing."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(600, 5)).astype(np.float32)
    woman = random.integers(0, 2, 600)
    return PreferenceExamples(numbers, woman[:, None]), (numbers[:, 3] > 0) ^ (woman == 1)


@pytest.fixture(scope="module")
def fitted() -> PreferenceModel:
    """Number 2 decides alone."""
    random = np.random.default_rng(1)
    numbers = random.normal(size=(300, 4)).astype(np.float32)
    model = PreferenceModel(CONFIG)
    model.fit(PreferenceExamples(numbers, np.zeros((300, 1), np.int64)), numbers[:, 2] > 0, seed=0)
    return model


def test_the_trees_choose_what_decides(fitted: PreferenceModel) -> None:
    assert fitted.selected[0] == 2
    assert len(fitted.selected) <= 2


def test_a_pair_decides_what_neither_feature_does(examples: tuple[PreferenceExamples, np.ndarray]) -> None:
    given, preferred = examples
    # The trees see the numbers alone, in which the preference of men and of women cancels: let them keep all.
    model = PreferenceModel(CONFIG.model_copy(update={"selected": 5}))
    loss = model.fit(given, preferred, seed=0)
    assert 3 in model.selected
    assert loss < 0.5 * math.log(2)
    assert ((model.predict(given) > 0.5) == preferred).mean() > 0.95


def test_equal_seeds_are_equal_and_others_are_not(examples: tuple[PreferenceExamples, np.ndarray]) -> None:
    given, preferred = examples
    first, again, other = (PreferenceModel(CONFIG) for _ in range(3))
    for model, seed in ((first, 0), (again, 0), (other, 1)):
        model.fit(given, preferred, seed=seed)
    assert np.array_equal(first.predict(given), again.predict(given))
    assert not np.array_equal(first.predict(given), other.predict(given))


def test_a_category_that_training_did_not_have_counts_for_nothing(fitted: PreferenceModel) -> None:
    numbers = np.zeros((2, 4), np.float32)
    strange = fitted.predict(PreferenceExamples(numbers, np.array([[7], [-1]])))
    assert strange[0] == strange[1]
    assert 0 < strange[0] < 1


def test_it_is_the_same_after_a_reload(fitted: PreferenceModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "tensors.safetensors",
        "trees.txt",
    ]
    assert (tmp_path / "model" / "trees.txt").read_text().startswith("tree\n")
    loaded = PreferenceModel.load(tmp_path / "model")
    some = PreferenceExamples(np.eye(4, dtype=np.float32), np.zeros((4, 1), np.int64))
    assert np.array_equal(loaded.predict(some), fitted.predict(some))
    assert loaded.config == fitted.config
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "trees.txt").read_bytes() == (tmp_path / "model" / "trees.txt").read_bytes()


def test_damaged_directories_are_refused(fitted: PreferenceModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"stranger": 1}')
    with pytest.raises(BadInput, match=r"model: found 1 validation error .*; expected PreferenceConfig and tensors"):
        PreferenceModel.load(tmp_path / "model")
    (tmp_path / "model" / "trees.txt").unlink()
    with pytest.raises(NotFound, match=r"trees.txt: found no such file; expected a companion's directory"):
        PreferenceModel.load(tmp_path / "model")


def test_bad_examples_are_refused(fitted: PreferenceModel) -> None:
    numbers, categories = np.ones((3, 4), np.float32), np.zeros((3, 1), np.int64)
    model = PreferenceModel(CONFIG)
    with pytest.raises(BadInput, match=r"found 3 rows of numbers, 2 of categories and 3 answers"):
        model.fit(PreferenceExamples(numbers, categories[:2]), np.array([True, False, True]), seed=0)
    with pytest.raises(BadInput, match=r"found 3 preferred of 3; expected some that are preferred and some"):
        model.fit(PreferenceExamples(numbers, categories), np.ones(3, np.bool_), seed=0)
    with pytest.raises(BadInput, match=r"found 1 numbers; expected at least \d, as in training"):
        fitted.predict(PreferenceExamples(numbers[:, :1], categories))
    with pytest.raises(BadInput, match=r"found 2 categories; expected 1, as in training"):
        fitted.predict(PreferenceExamples(numbers, np.zeros((3, 2), np.int64)))


def test_infinite_features_fail_the_fit() -> None:
    random = np.random.default_rng(0)
    numbers = random.normal(size=(200, 1)).astype(np.float32)
    preferred = numbers[:, 0] > 0
    numbers[0, 0] = np.nan
    with pytest.raises(TrainingDiverged, match=r"preference model: objective: found nan; expected a finite number"):
        PreferenceModel(CONFIG).fit(PreferenceExamples(numbers, np.zeros((200, 0), np.int64)), preferred, seed=0)
