"""Golden requests: what a model answered when it was packed, and the proof that it still does."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from contracts.errors import BadInput
from training.requests import scores_of, user_batch

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame
    from training.packages import LoadedPackage

__all__ = ["GOLDEN", "REMEDY", "check_golden", "write_golden"]

GOLDEN = "golden.json"
"""File of a package."""

REMEDY = "train the version again, or restore its artifacts; do not promote it"
"""What to do about a package that does not answer as it did."""

_GOLDEN_USERS = 8
_GOLDEN_K = 10
_TOLERANCE = 1e-4
"""Allowed difference of a golden score, absolute and relative."""


def write_golden(package: "LoadedPackage", frame: "TrainingFrame") -> None:
    """Ask the model in a package about some users of the data it was fitted on, and keep its answers."""
    requests = _golden_requests(frame)
    document = [
        {**request, "can_score": answer.can_score, "items": answer.items, "scores": answer.scores.tolist()}
        for request, answer in zip(requests, _answer(package, requests), strict=True)
    ]
    (package.directory / GOLDEN).write_text(json.dumps(document, indent=1), encoding="utf-8")


def check_golden(package: "LoadedPackage") -> int:
    """Replay the golden requests.

    An item may change places with another of equal score; scores may differ by 1e-4.

    Returns:
        Number of requests replayed.

    Raises:
        BadInput: There are fewer than eight, or an answer differs from the recorded one.
    """
    path = package.directory / GOLDEN
    requests = json.loads(path.read_text(encoding="utf-8"))
    if len(requests) < _GOLDEN_USERS:
        raise BadInput(
            path, found=f"{len(requests)} golden requests", expected=f"at least {_GOLDEN_USERS}", next_step=REMEDY
        )
    for request, answer in zip(requests, _answer(package, requests), strict=True):
        subject = f"golden request of user {request['user_id']!r} in {path}"
        if answer.can_score != request["can_score"] or len(answer.items) != len(request["items"]):
            raise BadInput(
                subject,
                found=f"{len(answer.items)} items, can_score {answer.can_score}",
                expected=f"{len(request['items'])} items, can_score {request['can_score']}",
                next_step=REMEDY,
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
                next_step=REMEDY,
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
    requests = [
        {"user_id": user, "history": history} for user, history in zip(users, [*histories, longest, []], strict=True)
    ]
    if not frame.contexts:
        return requests
    moments = np.linspace(0, len(next(iter(frame.contexts.values()))) - 1, len(requests)).astype(np.int64)
    return [
        {**request, "context": {name: table[moment].tolist() for name, table in frame.contexts.items()}}
        for request, moment in zip(requests, moments, strict=True)
    ]


class _Answer(NamedTuple):
    can_score: bool
    items: list[str]
    scores: npt.NDArray[np.float32]
    """Of those items."""
    all_scores: npt.NDArray[np.float32]
    """Of the whole catalogue, ``[N]``."""


def _answer(package: "LoadedPackage", requests: Sequence[dict[str, Any]]) -> list[_Answer]:
    """The model's ten best items outside each request's history; none where it cannot score the user."""
    batch = user_batch(
        package,
        [r["user_id"] for r in requests],
        [r["history"] for r in requests],
        [r.get("context", {}) for r in requests],
    )
    model = package.recommender
    with torch.inference_mode():
        able = model.can_score(batch.to(model.device)).cpu().numpy()
    answers = []
    for scores, seen, can_score in zip(scores_of(package, batch), batch.history.numpy(), able, strict=True):
        left = np.ones(len(scores), dtype=bool)
        left[seen[seen >= 0]] = False
        candidates = np.flatnonzero(left)
        best = candidates[np.argsort(-scores[candidates], kind="stable")[: _GOLDEN_K if can_score else 0]]
        answers.append(_Answer(bool(can_score), package.items.ids(best), scores[best], scores))
    return answers
