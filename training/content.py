"""Item content as models take it in."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import normalize

from contracts.errors import BadInput

__all__ = ["concatenated_content", "content_clusters"]


def concatenated_content(modalities: Mapping[str, npt.NDArray[np.float32]], *, unit: bool) -> Tensor:
    """All modalities side by side, in order of their names.

    Args:
        modalities: Name → ``[N, width]``, zeros where an item has no vector.
        unit: Bring each modality's vectors to length 1 first; zeros stay zeros.

    Returns:
        float32 ``[N, sum of widths]``.

    Raises:
        BadInput: There are no modalities.
    """
    if not modalities:
        raise BadInput(
            "content of the snapshot's videos",
            found="no embeddings of any modality",
            expected="visual, acoustic or textual vectors, which this model needs",
            next_step="ingest data with *_feat.npy files, or train mf or lightgcn",
        )
    parts = [torch.from_numpy(modalities[name]) for name in sorted(modalities)]
    return torch.cat([normalize(part, dim=1) if unit else part for part in parts], dim=1)


def content_clusters(content: Tensor, clusters: int, seed: int) -> Tensor:
    """K-means cluster of each item by its content (M3CSR, section 4.2).

    Args:
        content: ``[N, width]``.
        clusters: Number of centres; at most N are made.
        seed: Of the initial centres.

    Returns:
        Cluster of each item, int64 ``[N]``.
    """
    # Threads would add partial sums in any order, and one seed would no longer mean one result.
    with threadpool_limits(limits=1):
        means = KMeans(n_clusters=min(clusters, len(content)), n_init=1, random_state=seed)
        return torch.from_numpy(means.fit_predict(content.numpy()).astype(np.int64))
