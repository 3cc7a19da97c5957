"""Which index finds a model's candidates, by the size of its catalogue and by the device."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from contracts.console import note
from training.hnsw import HnswIndex
from training.matrix_index import MatrixIndex
from training.retrieval import ExactIndex, Index

__all__ = ["LEAST_RECALL", "build_index", "index_kind", "proven_index"]

LEAST_RECALL = 0.95
"""Share of a user's exact best below which ``auto`` takes no graph: one item in a list of twenty."""


def index_kind(
    wanted: Literal["auto", "exact", "hnsw"], items: int, most_exact: int, device: torch.device
) -> Literal["exact", "hnsw"]:
    """The kind of index for a catalogue.

    Args:
        wanted: What the settings ask for; ``auto`` is exact on a GPU, which reads ten million vectors in the time that
            a graph takes for a few users, and elsewhere up to a number of items.
        items: Size of the catalogue.
        most_exact: That number.
        device: Where the model is.
    """
    if wanted != "auto":
        return wanted
    return "exact" if device.type == "cuda" or items <= most_exact else "hnsw"


def build_index(
    item_vectors: npt.NDArray[np.float32],
    kind: Literal["exact", "hnsw"],
    device: torch.device,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> Index:
    """An index over item vectors, ``[N, D]``.

    Args:
        item_vectors: One row per item.
        kind: Which.
        device: Where an exact one is; a graph is in the memory of the host.
        dtype: Of the table of an exact one.
    """
    if kind == "hnsw":
        return HnswIndex(item_vectors)
    if device.type == "cpu" and dtype == "float32":
        return ExactIndex(item_vectors)
    return MatrixIndex(item_vectors, device, getattr(torch, dtype))


def proven_index(
    index: Index,
    item_vectors: npt.NDArray[np.float32],
    users: npt.NDArray[np.float32],
    wanted: Literal["auto", "exact", "hnsw"],
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> Index:
    """The index, as widely searched as it needs, or an exact one where ``auto`` chose a graph that finds too little.

    Paths of a graph may end within a cluster of items; looking more widely does not help then.

    Args:
        index: What :func:`build_index` made for the items.
        item_vectors: ``[N, D]``.
        users: ``[B, D]``, such as will ask.
        wanted: What the settings ask for: a graph that is asked for stays, whatever it finds.
        dtype: Of the table of an exact one.
    """
    if not isinstance(index, HnswIndex):
        return index
    recall = index.widen(users)
    if recall >= LEAST_RECALL:
        return index
    found = f"the graph of {len(index):,} items finds {recall:.1%} of users' best 20 items"
    if wanted == "hnsw":
        note(f"{found}; it is kept, as BACKBEAT_INDEX asks for it")
        return index
    note(f"{found}, less than {LEAST_RECALL:.0%}; candidates will be found exactly instead")
    return build_index(item_vectors, "exact", torch.device("cpu"), dtype)
