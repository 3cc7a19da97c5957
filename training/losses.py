"""Loss terms, pure functions of tensors."""

from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["bpr", "pairwise_squared_dot", "squared_norm"]


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking: mean of ``-log sigmoid(positive - negative)`` (Rendle et al. 2009, eq. 4).

    Args:
        positive: Scores of the items that were seen, ``[B]``.
        negative: Scores of the items drawn against them, ``[B]``.
    """
    return -logsigmoid(positive - negative).mean()


def squared_norm(*tensors: Tensor, count: int) -> Tensor:
    """Half the sum of all squares over ``count``: the L2 term of the embeddings a batch uses.

    Args:
        *tensors: Any shapes.
        count: Triplets in the batch, which makes the term independent of the batch size.
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
