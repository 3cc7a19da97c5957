"""Item content as models take it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from contracts.errors import BadInput
from feature_repo.views.kmeans import k_means, nearest

__all__ = [
    "ContentScaling",
    "ItemContent",
    "ItemVectors",
    "chosen_modalities",
    "concatenated_content",
    "content_clusters",
    "nearest_clusters",
]

ContentScaling = Literal["none", "unit", "centred"]
"""``none``: as the encoder wrote them. ``unit``: brought to length 1. ``centred``: less the mean over all items, which
tells them apart by nothing, then brought to length 1."""


class ItemContent(Protocol):
    """What is known of N items by their media; a training frame is such content."""

    @property
    def modalities(self) -> Mapping[str, npt.NDArray[np.floating[Any]]]:
        """Modality → vectors, float32 ``[N, width]``, or float16, e.g. mapped from a file; zeros where the item has
        none."""

    @property
    def missing(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """Modality → ``[N]``, true where the item has no vector."""


@dataclass(frozen=True)
class ItemVectors:
    """Item content by itself."""

    modalities: Mapping[str, npt.NDArray[np.floating[Any]]]
    missing: Mapping[str, npt.NDArray[np.bool_]]


def concatenated_content(content: ItemContent, scaling: ContentScaling) -> Tensor:
    """All modalities side by side, in order of their names.

    Args:
        content: Gives the vectors of each modality and who has none.
        scaling: What is done to each modality's vectors first.

    Returns:
        float32 ``[N, sum of widths]``; zeros where an item has no vector.

    Raises:
        BadInput: There are no modalities.
    """
    if not content.modalities:
        raise BadInput(
            "content of the snapshot's videos",
            found="no embeddings of any modality",
            expected="visual, acoustic or textual vectors, which this model needs",
            next_step="ingest data with *_feat.npy files, or train mf or lightgcn",
        )
    names = sorted(content.modalities)
    widths = [content.modalities[name].shape[1] for name in names]
    whole = torch.empty(len(content.modalities[names[0]]), sum(widths))
    # Into its place one after the other: no second copy of all of them.
    for name, part in zip(names, torch.split(whole, widths, dim=1), strict=True):
        vectors = torch.from_numpy(np.asarray(content.modalities[name], np.float32))
        present = torch.from_numpy(~content.missing[name])
        if scaling == "centred" and present.any():
            vectors = (vectors - vectors[present].mean(0)) * present.unsqueeze(1)
        part.copy_(vectors if scaling == "none" else normalize(vectors, dim=1))
    return whole


def chosen_modalities(widths: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """The widths of some modalities, in order of name.

    Raises:
        BadInput: The features have no modality of that name.
    """
    if absent := [name for name in names if name not in widths]:
        raise BadInput(
            f"option modalities: {', '.join(absent)}",
            found=f"features with {', '.join(widths) or 'no modality'}",
            expected="modalities that the features have",
            next_step="choose among those with `--set modalities=…`, or encode what is missing",
        )
    return {name: width for name, width in sorted(widths.items()) if name in names}


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


def nearest_clusters(content: Tensor, held: Tensor, clusters: Tensor) -> Tensor:
    """The cluster that items belong to, of those that other items were put in.

    Args:
        content: Of the items in question, ``[n, width]``.
        held: Content of the items with a cluster, ``[N, width]``; the mean of a cluster's items is its centre.
        clusters: Cluster of each of those, int64 ``[N]``.

    Returns:
        int64 ``[n]``.
    """
    labels, member, size = torch.unique(clusters, return_inverse=True, return_counts=True)
    centres = torch.zeros(len(labels), held.shape[1]).index_add_(0, member, held) / size.unsqueeze(1)
    chosen, _ = nearest(content.numpy(), centres.numpy())
    found: Tensor = labels[torch.from_numpy(chosen)]
    return found
