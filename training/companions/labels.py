"""Several labels of a video at once, which are correlated (IRIS, Liu 2022, sections 1 and 5).

The paper says "graph convolutional network over label co-occurrence" and prints no equation; the equations cited are
of ML-GCN (Chen et al. 2019), whose construction this is: a graph convolution over the labels makes each label's
classifier, so that labels that come together are told apart by what they do not share.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, leaky_relu

from contracts.errors import BadInput
from training.companions.artifacts import read_companion, write_companion
from training.companions.descent import minimise

__all__ = ["LabelConfig", "LabelModel", "label_graph"]


class LabelConfig(BaseModel):
    """Options of multi-label tagging."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    hidden: int = Field(default=32, ge=1)
    """Width of a label between the two graph convolutions."""

    threshold: float = Field(default=0.4, ge=0, le=1)
    """tau: P(j | i) from which label j is a neighbour of label i."""

    neighbours: float = Field(default=0.25, ge=0, lt=1)
    """p: weight of a label's neighbours, all together, beside its own; 0 leaves labels uncorrelated."""

    steps: int = Field(default=100, ge=1)
    """Iterations of the fit, at most."""

    regularisation: float = Field(default=1e-3, ge=0)
    """Weight of half the squared norm of the classifiers."""


def label_graph(labels: npt.NDArray[np.bool_], *, threshold: float, neighbours: float) -> Tensor:
    """The correlation of labels, normalised as a graph convolution needs it, float32 ``[C, C]``.

    P(j | i) is how often label j is where label i is; those from the threshold are neighbours (ML-GCN, eq. 7) and
    share the weight p, 1 - p remains the label's own (eq. 8); a label without neighbours keeps all. Then D^-1/2 A
    D^-1/2 with the row sums D, which are 1 by that construction.

    Args:
        labels: Which item carries which label, ``[n, C]``.
        threshold: tau.
        neighbours: p.
    """
    carried = torch.from_numpy(labels).float()
    together = carried.T @ carried
    given = together / together.diagonal().clamp(min=1).unsqueeze(1)
    graph = (given >= threshold) & (given > 0)
    graph.fill_diagonal_(False)
    count = graph.sum(1, keepdim=True)
    share = torch.where(count > 0, neighbours, 0.0)
    weights = share * graph / count.clamp(min=1)
    return weights + torch.diag_embed(1 - share.squeeze(1))


class LabelModel:
    """Probability of each of C labels.

    Args:
        config: Options.
    """

    def __init__(self, config: LabelConfig) -> None:
        self.config = config
        self._tensors: dict[str, Tensor] = {}

    def fit(
        self,
        features: npt.NDArray[np.float32],
        labels: npt.NDArray[np.bool_],
        *,
        seed: int,
        names: npt.NDArray[np.float32] | None = None,
    ) -> float:
        """Learn classifiers by log loss; equal seeds give equal results.

        Args:
            features: Of n items, such as IRIS's common representation, ``[n, D]``.
            labels: Which of them carries which label, ``[n, C]``.
            seed: Of the start.
            names: Vectors of the labels, such as encodings of their names, ``[C, E]``; unit vectors if None.

        Returns:
            Mean log loss on these items, regularisation included.

        Raises:
            BadInput: The arrays do not fit each other.
            TrainingDiverged: The features have NaN or infinite values.
        """
        if len(features) != len(labels) or (names is not None and len(names) != labels.shape[1]):
            raise BadInput(
                "items and labels",
                found=f"{len(features):,} rows of features, labels of shape {list(labels.shape)}"
                + ("" if names is None else f", {len(names):,} vectors of labels"),
                expected="a row of labels for each item, and a vector for each label",
                next_step="take all from the same items and labels",
            )
        count = labels.shape[1]
        inputs = torch.eye(count) if names is None else torch.from_numpy(names)
        generator = torch.Generator().manual_seed(seed)
        first, second = (
            nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape), generator=generator))
            for shape in ((inputs.shape[1], self.config.hidden), (self.config.hidden, features.shape[1]))
        )
        # Labels are rare: where they start from is their frequency.
        frequency = torch.from_numpy(labels.mean(0)).float().clamp(1e-4, 1 - 1e-4)
        bias = nn.Parameter(torch.logit(frequency))
        graph = label_graph(labels, threshold=self.config.threshold, neighbours=self.config.neighbours)
        given, carried = torch.from_numpy(features), torch.from_numpy(labels).float()

        def objective() -> Tensor:
            classifiers = _classifiers(graph, inputs, first, second)
            loss = binary_cross_entropy_with_logits(given @ classifiers.T + bias, carried)
            return loss + self.config.regularisation / 2 * classifiers.square().sum()

        loss = minimise("label model", objective, [first, second, bias], steps=self.config.steps)
        with torch.no_grad():
            self._tensors = {"classifiers": _classifiers(graph, inputs, first, second), "bias": bias.detach()}
        return loss

    def predict(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probability of each label, ``[n, C]``.

        Raises:
            BadInput: The features have another width than in training, or nothing was fitted.
        """
        width = self._tensors["classifiers"].shape[1] if self._tensors else 0
        if features.shape[1] != width or not width:
            raise BadInput(
                "features of items to label",
                found=f"{features.shape[1]} components",
                expected=f"{width}, as in training" if width else "a fitted model",
                next_step="encode the items as for training" if width else "fit it, or load one that was",
            )
        logits = torch.from_numpy(features) @ self._tensors["classifiers"].T + self._tensors["bias"]
        return torch.sigmoid(logits).numpy()

    def save(self, directory: Path) -> None:
        """Write config and classifiers into a new directory."""
        write_companion(directory, self.config, self._tensors)

    @classmethod
    def load(cls, directory: Path) -> "LabelModel":
        """What :meth:`save` wrote.

        Raises:
            NotFound: A file is missing.
            BadInput: A file is damaged.
        """
        config, tensors, _ = read_companion(directory, LabelConfig)
        model = cls(config)
        model._tensors = tensors
        return model


def _classifiers(graph: Tensor, inputs: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Two graph convolutions (ML-GCN, eq. 2), ``[C, D]``."""
    hidden = leaky_relu(graph @ inputs @ first, negative_slope=0.2)
    return graph @ hidden @ second
