"""Model packages: a directory that loads without running foreign code and can prove that it still works.

``manifest.json`` (facts and file hashes), ``weights.safetensors``, ``users.parquet`` and ``items.parquet``
(vocabularies), ``item_vectors.npy`` (float32 ``[N, D]``), ``popularity.npy`` (int64 ``[N]``) and ``golden.json``
(requests with the answers the model gave when it was packed).
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from contracts.errors import BadInput
from contracts.manifest import ModelManifest, seal, verify
from contracts.vocabulary import Vocabulary
from feature_repo.views.history import HISTORY_LENGTH
from training.batches import PADDING, UserBatch
from training.config import resolve_config
from training.models import model_entry
from training.recommender import Catalogue, Recommender, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["LoadedPackage", "check_golden", "load_package", "user_batch", "write_package"]

_WEIGHTS, _USERS, _ITEMS = "weights.safetensors", "users.parquet", "items.parquet"
_ITEM_VECTORS, _POPULARITY, _GOLDEN = "item_vectors.npy", "popularity.npy", "golden.json"

_GOLDEN_USERS = 8
_GOLDEN_K = 10
_TOLERANCE = 1e-4
"""Allowed difference of a golden score, absolute and relative."""

_REMEDY = "train the version again, or restore its artifacts; do not promote it"


@dataclass(frozen=True)
class LoadedPackage:
    """A model ready to answer, with the tables that translate its rows."""

    directory: Path
    manifest: ModelManifest
    recommender: Recommender
    users: Vocabulary
    items: Vocabulary
    item_vectors: npt.NDArray[np.float32]
    """``[N, D]``, row = item row."""
    popularity: npt.NDArray[np.int64]
    """Training views of each item, ``[N]``."""


def write_package(
    directory: Path, model: Recommender, frame: "TrainingFrame", manifest: ModelManifest
) -> ModelManifest:
    """Write a fitted model as a package and seal it.

    Args:
        directory: Empty; the caller makes it appear whole.
        model: The fitted model.
        frame: The data it was fitted on.
        manifest: The facts; hashes are filled in.

    Returns:
        The sealed manifest.
    """
    # Serialised in memory first: a full disk is then an ordinary OSError with its errno, whoever writes.
    (directory / _WEIGHTS).write_bytes(safetensors.torch.save(model.state()))
    frame.users.save(directory / _USERS)
    frame.items.save(directory / _ITEMS)
    assert isinstance(model, TwoTower), "a scorer has no item vectors"
    with torch.inference_mode():
        vectors = model.item_vectors().float().cpu().numpy()
    (directory / _ITEM_VECTORS).write_bytes(_npy(vectors))
    (directory / _POPULARITY).write_bytes(_npy(frame.popularity))
    package = LoadedPackage(directory, manifest, model, frame.users, frame.items, vectors, frame.popularity)
    requests = _golden_requests(frame)
    document = [
        {**request, "can_score": answer.can_score, "items": answer.items, "scores": answer.scores.tolist()}
        for request, answer in zip(requests, _answer(package, requests), strict=True)
    ]
    (directory / _GOLDEN).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return seal(directory, manifest)


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
                next_step=_REMEDY,
            )
    entry = model_entry(manifest.model)
    widths = {name: manifest.embedding_specs[name].width for name in sorted(manifest.embedding_specs)}
    model = entry.model(
        resolve_config(manifest.model, entry.config, manifest.config),
        Catalogue(users=len(users), items=len(items), widths=widths),
    )
    model.load_state(_read_weights(directory / _WEIGHTS))
    model.to(device).eval()
    vectors, popularity = _read_array(directory / _ITEM_VECTORS), _read_array(directory / _POPULARITY)
    for name, array in ((_ITEM_VECTORS, vectors), (_POPULARITY, popularity)):
        if len(array) != len(items):
            raise BadInput(
                directory / name, found=f"{len(array):,} rows", expected=f"{len(items):,} items", next_step=_REMEDY
            )
    return LoadedPackage(directory, manifest, model, users, items, vectors, popularity)


def user_batch(package: LoadedPackage, user_ids: Sequence[str], histories: Sequence[Sequence[str]]) -> UserBatch:
    """Translate raw ids for the model: unknown users become -1, unknown videos are left out.

    Args:
        package: Gives the vocabularies.
        user_ids: B raw user ids.
        histories: Raw video ids each user has seen, oldest first; as many of the newest known ones
            count as a history holds.
    """
    flat = package.items.rows([video for history in histories for video in history])
    history = np.full((len(user_ids), HISTORY_LENGTH), PADDING, dtype=np.int64)
    start = 0
    for row, videos in enumerate(histories):
        known = flat[start : start + len(videos)]
        known = known[known >= 0][-HISTORY_LENGTH:]
        history[row, : len(known)] = known
        start += len(videos)
    return UserBatch(torch.from_numpy(package.users.rows(list(user_ids))), torch.from_numpy(history))


def check_golden(package: LoadedPackage) -> int:
    """Replay the golden requests.

    An item may change places with another of equal score; scores may differ by 1e-4.

    Returns:
        Number of requests replayed.

    Raises:
        BadInput: There are fewer than eight, or an answer differs from the recorded one.
    """
    path = package.directory / _GOLDEN
    requests = json.loads(path.read_text(encoding="utf-8"))
    if len(requests) < _GOLDEN_USERS:
        raise BadInput(
            path, found=f"{len(requests)} golden requests", expected=f"at least {_GOLDEN_USERS}", next_step=_REMEDY
        )
    for request, answer in zip(requests, _answer(package, requests), strict=True):
        subject = f"golden request of user {request['user_id']!r} in {path}"
        if answer.can_score != request["can_score"] or len(answer.items) != len(request["items"]):
            raise BadInput(
                subject,
                found=f"{len(answer.items)} items, can_score {answer.can_score}",
                expected=f"{len(request['items'])} items, can_score {request['can_score']}",
                next_step=_REMEDY,
            )
        wanted = package.items.rows(request["items"])
        found = np.stack([answer.scores, answer.all_scores[wanted]])
        expected = np.asarray(request["scores"])
        if not np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE) or (wanted < 0).any():
            worst = float(np.abs(found - expected).max())
            raise BadInput(
                subject,
                found=f"scores up to {worst:.3g} away from the recorded ones",
                expected=f"the recorded answer within {_TOLERANCE:g}",
                next_step=_REMEDY,
            )
    return len(requests)


def _golden_requests(frame: "TrainingFrame") -> list[dict[str, Any]]:
    """Known users spread over the vocabulary, and an unknown one with and without a history."""
    rows = np.linspace(0, len(frame.users) - 1, _GOLDEN_USERS).astype(np.int64)
    histories = [frame.items.ids(history[history >= 0]) for history in frame.history[rows]]
    stranger = "nobody"
    while frame.users.rows([stranger])[0] >= 0:
        stranger += "-else"
    users = [*frame.users.ids(rows), stranger, stranger]
    longest = max(histories, key=len)
    return [
        {"user_id": user, "history": history} for user, history in zip(users, [*histories, longest, []], strict=True)
    ]


class _Answer(NamedTuple):
    can_score: bool
    items: list[str]
    scores: npt.NDArray[np.float32]
    """Of those items."""
    all_scores: npt.NDArray[np.float32]
    """Of the whole catalogue, ``[N]``."""


def _answer(package: LoadedPackage, requests: Sequence[dict[str, Any]]) -> list[_Answer]:
    """The model's ten best items outside each request's history; none where it cannot score the user."""
    batch = user_batch(package, [r["user_id"] for r in requests], [r["history"] for r in requests])
    model = package.recommender
    assert isinstance(model, TwoTower), "a scorer has no user vectors"
    with torch.inference_mode():
        batch = batch.to(model.device)
        able = model.can_score(batch).cpu().numpy()
        vectors = model.user_vectors(batch).cpu().numpy()
    answers = []
    for vector, seen, can_score in zip(vectors, batch.history.cpu().numpy(), able, strict=True):
        scores = package.item_vectors @ vector
        candidates = np.setdiff1d(np.arange(len(scores)), seen)
        best = candidates[np.argsort(-scores[candidates], kind="stable")[: _GOLDEN_K if can_score else 0]]
        answers.append(_Answer(bool(can_score), package.items.ids(best), scores[best], scores))
    return answers


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise BadInput(
            path, found=str(error), expected="tensors in the safetensors format", next_step=_REMEDY
        ) from None
    return tensors


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise BadInput(path, found=str(error), expected="a plain array of numbers", next_step=_REMEDY) from None
    return array


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
