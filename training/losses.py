"""Loss terms, pure functions of tensors."""

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softplus

__all__ = [
    "bpr",
    "listed_logistic",
    "listed_softmax",
    "logistic",
    "pairwise_squared_dot",
    "sampled_softmax",
    "squared_norm",
]


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking: mean of ``-log sigmoid(positive - negative)`` (Rendle et al. 2009, eq. 4).

    Args:
        positive: Scores of the items that were seen, ``[B]``.
        negative: Scores of the items drawn against them, ``[B]`` or ``[B, K]``.
    """
    if negative.dim() > positive.dim():
        positive = positive.unsqueeze(1)
    return -logsigmoid(positive - negative).mean()


def logistic(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy with logits, mean over all B (1 + K) scores (e.g. He et al. 2017, NCF, eq. 7).

    Args:
        positive: Logits of the items that were seen, ``[B]``.
        negative: Logits of the items drawn against them, ``[B, K]``.
    """
    return (softplus(-positive).sum() + softplus(negative).sum()) / (positive.numel() + negative.numel())


def sampled_softmax(positive: Tensor, negative: Tensor, log_probabilities: Tensor) -> Tensor:
    """Softmax cross-entropy over each positive and its negatives, whose scores stand for all items
    (Jean et al. 2015, section 3.2): a negative drawn with probability q counts as 1 / (K q) items.

    Args:
        positive: Scores of the items that were seen, ``[B]``.
        negative: Scores of the items drawn against them, ``[B, K]``.
        log_probabilities: ``log q`` of each negative, ``[B, K]``.
    """
    corrected = negative - log_probabilities - math.log(negative.shape[1])
    everything = torch.logsumexp(torch.cat([positive.unsqueeze(1), corrected], dim=1), dim=1)
    return (everything - positive).mean()


def listed_softmax(scores: Tensor, known: Tensor) -> Tensor:
    """Softmax cross-entropy of each known item over a list that users share, mean over the known ones (the
    multinomial likelihood of Liang et al. 2018, eq. 2, over the items of a list).

    Args:
        scores: Of M items for B users, ``[B, M]``.
        known: 1 where the user has seen the item, else 0, ``[B, M]``.

    Returns:
        A scalar; zero where nothing is known.
    """
    return -(log_softmax(scores, dim=1) * known).sum() / known.sum().clamp(min=1)


def listed_logistic(scores: Tensor, known: Tensor, negatives: int) -> Tensor:
    """Binary cross-entropy over a list that users share: what :func:`logistic` expects over draws from the list.

    Args:
        scores: Logits of M items for B users, ``[B, M]``.
        known: 1 where the user has seen the item, else 0, ``[B, M]``.
        negatives: K of :func:`logistic`: draws against each known item, uniform over the user's other items.

    Returns:
        A scalar; zero where nothing is known.
    """
    counts = known.sum(dim=1, keepdim=True)
    weights = torch.where(known > 0, known, negatives * counts / (known.shape[1] - counts).clamp(min=1))
    # The sign turns a known item's softplus(s) into softplus(-s): one pass over the matrix.
    total = (softplus(scores * (1 - 2 * known)) * weights).sum()
    return total / (counts.sum() * (1 + negatives)).clamp(min=1)


def squared_norm(*tensors: Tensor, count: int) -> Tensor:
    """Half the sum of all squares over ``count``: the L2 term of the embeddings a batch uses.

    Args:
        *tensors: Any shapes.
        count: Positives in the batch, which makes the term independent of the batch size.
    """
    total = sum((tensor.square().sum() for tensor in tensors), start=tensors[0].new_zeros(()))
    return total / (2 * count)


def pairwise_squared_dot(interests: Tensor) -> Tensor:
    """Squared inner products of every two of M interests, summed over pairs, mean over users (M3CSR, eq. 8).

    Args:
        interests: One vector per user and modality, ``[B, M, D]``.

    Returns:
        A scalar; zero where there is only one modality.
    """
    products = interests @ interests.transpose(1, 2)
    return products.triu(diagonal=1).square().sum(dim=(1, 2)).mean()
