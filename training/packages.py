"""Model packages: a directory that loads without running foreign code and can prove that it still works.

``manifest.json`` (facts and file hashes), ``weights.safetensors``, ``users.parquet`` and ``items.parquet``
(vocabularies), ``item_vectors.npy`` (float32 ``[N, D]``; of two-tower models), ``popularity.npy`` (int64 ``[N]``),
``candidate_vectors.npy`` (float32 ``[N, D]``; of scorers that do not rank all items), ``index.faiss`` (where candidates
are found by a graph),
``golden.json`` (requests with the answers the model gave when it was packed) and ``validation_users.parquet``
(metrics of each user, which versions are compared by).
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from contracts.errors import BadInput
from contracts.manifest import ModelManifest, seal, verify
from contracts.user_figures import USER_FIGURES, UserFigures
from contracts.vocabulary import Vocabulary
from training.candidate_generation import Candidates
from training.config import resolve_config
from training.golden import REMEDY, write_golden
from training.hnsw import HnswIndex
from training.models import model_entry
from training.recommender import Catalogue, Recommender, TwoTower
from training.retrieval import Index

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["LoadedPackage", "item_vectors_of", "load_package", "write_package"]

_WEIGHTS, _USERS, _ITEMS = "weights.safetensors", "users.parquet", "items.parquet"
_ITEM_VECTORS, _POPULARITY, _INDEX = "item_vectors.npy", "popularity.npy", "index.faiss"
_CANDIDATES = "candidate_vectors.npy"


@dataclass(frozen=True)
class LoadedPackage:
    """A model ready to answer, with the tables that translate its rows."""

    directory: Path
    manifest: ModelManifest
    recommender: Recommender
    users: Vocabulary
    items: Vocabulary
    item_vectors: npt.NDArray[np.float32] | None
    """``[N, D]``, row = item row; None of a scorer."""
    popularity: npt.NDArray[np.int64]
    """Training views of each item, ``[N]``."""
    index: HnswIndex | None = None
    """The graph that candidates are found by; None where they are found exactly."""
    candidate_vectors: npt.NDArray[np.float32] | None = None
    """``[N, D]``, what a scorer's candidates are found by; None where it ranks all items, and of two-tower models."""


def write_package(
    directory: Path,
    model: Recommender,
    frame: "TrainingFrame",
    manifest: ModelManifest,
    figures: UserFigures | None = None,
    index: Index | None = None,
    candidates: Candidates | None = None,
) -> ModelManifest:
    """Write a fitted model as a package and seal it.

    Args:
        directory: Empty; the caller makes it appear whole.
        model: The fitted model.
        frame: The data it was fitted on.
        manifest: The facts; hashes are filled in.
        figures: Of the users of the validation events; a package without them cannot be compared.
        index: What finds its candidates; kept in the package where it is a graph.
        candidates: Of a scorer that does not rank all items; as many as the manifest says.

    Returns:
        The sealed manifest.
    """
    # Serialised in memory first: a full disk is then an ordinary OSError with its errno, whoever writes.
    (directory / _WEIGHTS).write_bytes(safetensors.torch.save(model.state()))
    frame.users.save(directory / _USERS)
    frame.items.save(directory / _ITEMS)
    vectors = item_vectors_of(model)
    if vectors is not None:
        (directory / _ITEM_VECTORS).write_bytes(_npy(vectors))
    (directory / _POPULARITY).write_bytes(_npy(frame.popularity))
    write_golden(LoadedPackage(directory, manifest, model, frame.users, frame.items, vectors, frame.popularity), frame)
    if candidates is not None:
        (directory / _CANDIDATES).write_bytes(_npy(candidates.vectors))
        index = candidates.index
    if isinstance(index, HnswIndex):
        index.save(directory / _INDEX)
    if figures is not None:
        figures.save(directory / USER_FIGURES)
    return seal(directory, manifest)


def item_vectors_of(model: Recommender) -> npt.NDArray[np.float32] | None:
    """The item vectors of a two-tower model, ``[N, D]``; None of a scorer."""
    if not isinstance(model, TwoTower):
        return None
    with torch.inference_mode():
        vectors: npt.NDArray[np.float32] = model.item_vectors().float().cpu().numpy()
    return vectors


def load_package(directory: Path, device: str | torch.device = "cpu") -> LoadedPackage:
    """Load a package after comparing every file with its sealed hash. Runs no code from the package.

    Raises:
        NotFound: There is no manifest, or its model is unknown to this version.
        BadInput: A file is missing, surplus, altered, or does not fit the manifest.
    """
    manifest = verify(directory)
    users, items = Vocabulary.load(directory / _USERS), Vocabulary.load(directory / _ITEMS)
    for name, vocabulary in (("users", users), ("items", items)):
        if vocabulary.digest != manifest.vocabularies.get(name):
            raise BadInput(
                directory / f"{name}.parquet",
                found=f"vocabulary {vocabulary.digest[:12]}…",
                expected=f"vocabulary {str(manifest.vocabularies.get(name))[:12]}… as in the manifest",
                next_step=REMEDY,
            )
    entry = model_entry(manifest.model)
    widths = manifest.widths or {name: spec.width for name, spec in manifest.embedding_specs.items()}
    model = entry.model(
        resolve_config(manifest.model, entry.config, manifest.config),
        Catalogue(len(users), len(items), dict(sorted(widths.items())), dict(sorted(manifest.contexts.items()))),
    )
    model.load_state(_read_weights(directory / _WEIGHTS))
    model.to(device).eval()
    vectors = _read_array(directory / _ITEM_VECTORS) if isinstance(model, TwoTower) else None
    popularity = _read_array(directory / _POPULARITY)
    candidates = _read_array(directory / _CANDIDATES) if manifest.candidates else None
    for name, array in ((_ITEM_VECTORS, vectors), (_POPULARITY, popularity), (_CANDIDATES, candidates)):
        if array is not None and len(array) != len(items):
            raise BadInput(
                directory / name, found=f"{len(array):,} rows", expected=f"{len(items):,} items", next_step=REMEDY
            )
    graph = _read_graph(directory, manifest, len(items))
    return LoadedPackage(directory, manifest, model, users, items, vectors, popularity, graph, candidates)


def _read_graph(directory: Path, manifest: ModelManifest, items: int) -> HnswIndex | None:
    if manifest.index.kind == "exact":
        return None
    path = directory / _INDEX
    index = HnswIndex.load(path) if path.is_file() else None
    if index is None or len(index) != items:
        raise BadInput(
            path,
            found="no file" if index is None else f"a graph of {len(index):,} items",
            expected=f"the graph of {items:,} items that the manifest says finds its candidates",
            next_step=REMEDY,
        )
    return index


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    # Not all at once from bytes: that is one long call of C, for which a service that answers meanwhile stands still.
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except safetensors.SafetensorError as error:
        raise BadInput(path, found=str(error), expected="tensors in the safetensors format", next_step=REMEDY) from None


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise BadInput(path, found=str(error), expected="a plain array of numbers", next_step=REMEDY) from None
    return array


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
