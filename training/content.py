"""Item content as models take it in."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from contracts.errors import BadInput
from feature_repo.views.kmeans import k_means

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["ContentScaling", "concatenated_content", "content_clusters"]

ContentScaling = Literal["none", "unit", "centred"]
"""``none``: as the encoder wrote them. ``unit``: brought to length 1. ``centred``: less the mean over all items, which
tells them apart by nothing, then brought to length 1."""


def concatenated_content(frame: "TrainingFrame", scaling: ContentScaling) -> Tensor:
    """All modalities side by side, in order of their names.

    Args:
        frame: Gives the vectors of each modality and who has none.
        scaling: What is done to each modality's vectors first.

    Returns:
        float32 ``[N, sum of widths]``; zeros where an item has no vector.

    Raises:
        BadInput: There are no modalities.
    """
    if not frame.modalities:
        raise BadInput(
            "content of the snapshot's videos",
            found="no embeddings of any modality",
            expected="visual, acoustic or textual vectors, which this model needs",
            next_step="ingest data with *_feat.npy files, or train mf or lightgcn",
        )
    parts = []
    for name in sorted(frame.modalities):
        vectors, present = torch.from_numpy(frame.modalities[name]), torch.from_numpy(~frame.missing[name])
        if scaling == "centred":
            vectors = (vectors - vectors[present].mean(0)) * present.unsqueeze(1)
        parts.append(vectors if scaling == "none" else normalize(vectors, dim=1))
    return torch.cat(parts, dim=1)


def content_clusters(content: Tensor, clusters: int, seed: int) -> Tensor:
    """K-means cluster of each item by its content (M3CSR, section 4.2).

    Args:
        content: ``[N, width]``.
        clusters: Number of centres; at most N are made.
        seed: Of the initial centres.

    Returns:
        Cluster of each item, int64 ``[N]``.
    """
    _, labels = k_means(content.numpy(), clusters, seed)
    return torch.from_numpy(labels)
