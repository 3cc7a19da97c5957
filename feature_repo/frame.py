"""What a model is fitted on: interactions by row number and the features of one feature service, at one instant."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import Snapshot
from contracts.vocabulary import Vocabulary

__all__ = ["TrainingFrame"]


@dataclass(frozen=True)
class TrainingFrame:
    """Training and validation pairs with the features known before ``snapshot.split.train_until``.

    Rows number the vocabularies: U users, N items. The test split is not here, on purpose.
    """

    snapshot: Snapshot
    feature_service: str
    users: Vocabulary
    items: Vocabulary
    train: npt.NDArray[np.int64]
    """``[n, 2]`` user row and item row in order of time, each pair once."""
    validation: npt.NDArray[np.int64]
    """``[m, 2]`` likewise; pairs that are in ``train`` are left out."""
    modalities: dict[str, npt.NDArray[np.float32]]
    """Modality → ``[N, width]`` in order of name; zeros where the item has no vector."""
    missing: dict[str, npt.NDArray[np.bool_]]
    """Modality → ``[N]``, true where the item has no vector."""
    specs: dict[str, EmbeddingSpec]
    """Modality → what made its vectors."""
    history: npt.NDArray[np.int64]
    """``[U, 50]`` item rows, oldest first, padded with -1 on the right."""
    popularity: npt.NDArray[np.int64]
    """``[N]`` views."""
