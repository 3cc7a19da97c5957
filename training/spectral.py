"""Where item vectors may start: the leading factors of the interactions."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["SpectralStart", "spectral_start", "start_spectral"]


class SpectralStart(NamedTuple):
    """Vectors of N items, float32 ``[N, d]``; zeros behind the rank of the interactions."""

    targets: Tensor
    """Of items to be judged."""
    witnesses: Tensor
    """Of the items of a history."""


def spectral_start(
    pairs: npt.NDArray[np.int64],
    shape: tuple[int, int],
    dimension: int,
    *,
    beta: float,
    spread: float,
    generator: np.random.Generator,
) -> SpectralStart:
    """Vectors whose inner products, summed over histories, are the low-rank part of GF-CF (Shen et al. 2021, eq. 11).

    With R the interactions divided by the square roots of both degrees and V its d leading right singular vectors, a
    target starts as sqrt(degree) V and a witness as V / sqrt(degree). Both tables have the same norm.

    Args:
        pairs: User row and item row, distinct, ``[n, 2]``.
        shape: Numbers of users and items.
        dimension: Width d.
        beta: Exponent of the history's size that divides a score.
        spread: Standard deviation of the scores of up to 512 users for all items.
        generator: Draws where the iteration starts, and those users.
    """
    users, items = pairs.T
    of_user = np.bincount(users, minlength=shape[0]).clip(1)
    of_item = np.bincount(items, minlength=shape[1]).clip(1)
    values = (of_user[users] * of_item[items]) ** -0.5
    matrix = scipy.sparse.csr_array((values, (users, items)), shape=shape)
    rank = min(dimension, min(shape) - 1)
    _, strength, right = scipy.sparse.linalg.svds(matrix, k=rank, v0=generator.random(min(shape)))
    vectors = np.zeros((shape[1], dimension))
    vectors[:, :rank] = right[np.argsort(-strength)].T
    targets, witnesses = vectors * of_item[:, None] ** 0.5, vectors / of_item[:, None] ** 0.5
    some = generator.choice(shape[0], min(shape[0], 512), replace=False)
    history = scipy.sparse.csr_array((np.ones(len(users)), (users, items)), shape=shape)[some]
    scores = (history @ witnesses) @ targets.T / of_user[some, None] ** beta
    balance = np.linalg.norm(targets) / np.linalg.norm(witnesses)
    size = spread / scores.std()
    targets, witnesses = targets * (size / balance) ** 0.5, witnesses * (size * balance) ** 0.5
    return SpectralStart(torch.from_numpy(targets).float(), torch.from_numpy(witnesses).float())


def start_spectral(
    frame: "TrainingFrame",
    targets: nn.Parameter,
    witnesses: nn.Parameter,
    *,
    beta: float,
    spread: float,
    generator: torch.Generator,
) -> None:
    """Let two tables ``[N, d]`` start from the factors of a frame's training pairs; the rest as above."""
    start = spectral_start(
        frame.train,
        (len(frame.users), len(frame.items)),
        targets.shape[1],
        beta=beta,
        spread=spread,
        generator=np.random.default_rng(int(torch.randint(2**31, (), generator=generator))),
    )
    with torch.no_grad():
        targets.copy_(start.targets)
        witnesses.copy_(start.witnesses)
