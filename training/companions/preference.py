"""How likely a user prefers a video (IRIS, Liu 2022, section 3.3): boosted trees choose the features, a factorisation
machine weighs them and all pairs of them (eqs. 11-12, after Rendle 2010).

"Features of high impact" are here the numbers by which the trees gain most; categories enter as one-hot columns.
"""

from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding

from contracts.errors import BadInput
from training.companions.artifacts import read_companion, write_companion
from training.companions.descent import minimise

__all__ = ["FactorisationMachine", "PreferenceConfig", "PreferenceExamples", "PreferenceModel"]

_TREES = "trees.txt"


class PreferenceConfig(BaseModel):
    """Options of preference prediction."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trees: int = Field(default=50, ge=1)
    """Boosted trees that choose the features."""

    leaves: int = Field(default=15, ge=2)
    """Leaves of a tree, at most."""

    least_examples: int = Field(default=20, ge=1)
    """Examples in a leaf, at least."""

    selected: int = Field(default=32, ge=1)
    """Numbers that are kept: those of the largest gain, fewer if fewer gain anything."""

    factors: int = Field(default=8, ge=1)
    """Width h of the interaction vectors (eq. 12)."""

    steps: int = Field(default=100, ge=1)
    """Iterations of the factorisation machine's fit, at most."""

    regularisation: float = Field(default=1e-3, ge=0)
    """Weight of half the squared norm of its weights and vectors."""


class PreferenceExamples(NamedTuple):
    """n pairs of user and video."""

    numbers: npt.NDArray[np.float32]
    """Features with a size, ``[n, F]``."""
    categories: npt.NDArray[np.int64]
    """Features without, numbered from 0, ``[n, G]``; a number that training did not have counts for nothing."""


class FactorisationMachine(nn.Module):
    """y(x) = w_0 + sum of w_i x_i + sum over i < j of (v_i . v_j) x_i x_j (eqs. 11-12).

    Args:
        numbers: Number of features that have a value.
        categories: Number of one-hot columns, of all categories together.
        factors: Width h of the vectors v.
    """

    def __init__(self, numbers: int, categories: int, factors: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.weights = nn.Parameter(torch.zeros(numbers, 1))
        self.vectors = nn.Parameter(torch.zeros(numbers, factors))
        self.hot_weights = nn.Parameter(torch.zeros(categories, 1))
        self.hot_vectors = nn.Parameter(torch.zeros(categories, factors))

    def forward(self, numbers: Tensor, hot: Tensor) -> Tensor:
        """y of n examples, ``[n]``.

        Args:
            numbers: ``[n, numbers]``.
            hot: The one-hot columns that are 1, int64 ``[n, G]``; -1 for none.
        """
        there = (hot >= 0).unsqueeze(2)
        rows = hot.clamp(min=0)
        linear = (numbers @ self.weights).squeeze(1)
        sums, squares = numbers @ self.vectors, numbers.square() @ self.vectors.square()
        if rows.shape[1] and len(self.hot_weights):
            linear = linear + (embedding(rows, self.hot_weights) * there).sum((1, 2))
            vectors = embedding(rows, self.hot_vectors) * there
            sums, squares = sums + vectors.sum(1), squares + vectors.square().sum(1)
        # Rendle 2010, lemma 3.1: the sum over pairs is half of the square of the sum less the sum of squares.
        return self.bias + linear + 0.5 * (sums.square() - squares).sum(1)


class PreferenceModel:
    """Trees and a factorisation machine, fitted one after the other.

    Args:
        config: Options.
    """

    def __init__(self, config: PreferenceConfig) -> None:
        self.config = config
        self.selected: npt.NDArray[np.int64] = np.empty(0, np.int64)
        """The numbers that are kept, largest gain first, ``[s]``."""
        self._trees = ""
        self._scale = torch.ones(2, 0)
        self._starts = torch.zeros(1, dtype=torch.int64)
        self._machine = FactorisationMachine(0, 0, config.factors)

    def fit(self, examples: PreferenceExamples, preferred: npt.NDArray[np.bool_], *, seed: int) -> float:
        """Choose the features, then weigh them by log loss; equal seeds give equal results.

        Args:
            examples: n pairs.
            preferred: Which of them the user preferred, ``[n]``.
            seed: Of the trees and of the vectors' start.

        Returns:
            Mean log loss on these examples, regularisation included.

        Raises:
            BadInput: The arrays do not fit each other, or all examples have one answer.
            TrainingDiverged: The features have NaN or infinite values.
        """
        self._require_answers(examples, preferred)
        self._trees, gains = _grown(self.config, examples.numbers, preferred, seed)
        order = np.argsort(-gains, kind="stable")[: self.config.selected]
        self.selected = order[gains[order] > 0]
        kept = torch.from_numpy(examples.numbers[:, self.selected])
        spread = kept.std(0, correction=0)
        self._scale = torch.stack([kept.mean(0), torch.where(spread > 0, spread, 1)])
        sizes = examples.categories.max(0, initial=-1) + 1
        self._starts = torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]))
        self._machine = self._empty()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for vectors in (self._machine.vectors, self._machine.hot_vectors):
                vectors.copy_(torch.empty(vectors.shape).normal_(0, 0.1, generator=generator))
        numbers, hot = self._inputs(examples)
        answers = torch.from_numpy(preferred).float()

        def objective() -> Tensor:
            fit = binary_cross_entropy_with_logits(self._machine(numbers, hot), answers)
            # w_0 is left free.
            squares = [part.square().sum() for name, part in self._machine.named_parameters() if name != "bias"]
            return fit + self.config.regularisation / 2 * torch.stack(squares).sum()

        return minimise("preference model", objective, self._machine.parameters(), steps=self.config.steps)

    def predict(self, examples: PreferenceExamples) -> npt.NDArray[np.float32]:
        """Probability that each is preferred, ``[n]``.

        Raises:
            BadInput: There are other features than in training.
        """
        if len(self.selected) and examples.numbers.shape[1] <= self.selected.max():
            self._refuse("numbers", examples.numbers.shape[1], f"at least {self.selected.max() + 1}")
        if examples.categories.shape[1] != len(self._starts) - 1:
            self._refuse("categories", examples.categories.shape[1], str(len(self._starts) - 1))
        with torch.inference_mode():
            logits: Tensor = self._machine(*self._inputs(examples))
        return torch.sigmoid(logits).numpy()

    def save(self, directory: Path) -> None:
        """Write config, trees in LightGBM's text format, and tensors into a new directory."""
        tensors = dict(self._machine.state_dict())
        tensors |= {"scale": self._scale, "starts": self._starts, "selected": torch.from_numpy(self.selected)}
        write_companion(directory, self.config, tensors, {_TREES: self._trees})

    @classmethod
    def load(cls, directory: Path) -> "PreferenceModel":
        """What :meth:`save` wrote.

        Raises:
            NotFound: A file is missing.
            BadInput: A file is damaged.
        """
        config, tensors, texts = read_companion(directory, PreferenceConfig, (_TREES,))
        model = cls(config)
        model._trees = texts[_TREES]
        model.selected = tensors.pop("selected").numpy()
        model._scale, model._starts = tensors.pop("scale"), tensors.pop("starts")
        model._machine = model._empty()
        model._machine.load_state_dict(tensors)
        return model

    def _empty(self) -> FactorisationMachine:
        return FactorisationMachine(len(self.selected), int(self._starts[-1]), self.config.factors)

    def _inputs(self, examples: PreferenceExamples) -> tuple[Tensor, Tensor]:
        numbers = (torch.from_numpy(examples.numbers[:, self.selected]) - self._scale[0]) / self._scale[1]
        categories = torch.from_numpy(examples.categories)
        known = (categories >= 0) & (categories < self._starts.diff())
        return numbers, torch.where(known, categories + self._starts[:-1], -1)

    def _require_answers(self, examples: PreferenceExamples, preferred: npt.NDArray[np.bool_]) -> None:
        lengths = {len(examples.numbers), len(examples.categories), len(preferred)}
        if len(lengths) > 1:
            raise BadInput(
                "examples of preference",
                found=f"{len(examples.numbers):,} rows of numbers, {len(examples.categories):,} of categories and "
                f"{len(preferred):,} answers",
                expected="as many of each",
                next_step="take all three from the same pairs",
            )
        if preferred.all() or not preferred.any():
            raise BadInput(
                "examples of preference",
                found=f"{int(preferred.sum()):,} preferred of {len(preferred):,}",
                expected="some that are preferred and some that are not",
                next_step="add pairs with the other answer, such as videos that were shown and skipped",
            )

    def _refuse(self, what: str, found: int, expected: str) -> None:
        raise BadInput(
            "examples of preference",
            found=f"{found} {what}",
            expected=f"{expected}, as in training",
            next_step="build the features as for training",
        )


def _grown(
    config: PreferenceConfig, numbers: npt.NDArray[np.float32], preferred: npt.NDArray[np.bool_], seed: int
) -> tuple[str, npt.NDArray[np.float64]]:
    """Boosted trees as text, and what each number gains them, ``[F]``."""
    if numbers.shape[1] == 0:
        return "", np.empty(0)
    options: dict[str, Any] = {
        "objective": "binary",
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.least_examples,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(numbers, preferred.astype(np.float32), params={"verbosity": -1})
    trees = lightgbm.train(options, data, num_boost_round=config.trees)
    return trees.model_to_string(), np.asarray(trees.feature_importance("gain"), np.float64)
