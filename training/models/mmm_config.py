"""Options of MMM, those that give its variants, and those that give the paper's equations alone."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from training.config import LearnedConfig
from training.spaces import Choice, Floats, Ints

__all__ = ["PLAIN", "VARIANTS", "MmmConfig"]


class MmmConfig(LearnedConfig):
    """Options of MMM; the defaults were chosen on Last.fm, on a tenth of each user's artists."""

    variant: str = Field(default="full", min_length=1, max_length=64)
    """Label under which the version is listed and reported; it changes nothing else."""

    learning_rate: float = Field(default=8e-3, gt=0)
    """Step size of Adam."""

    batch_size: int = Field(default=2048, ge=1)
    """Training pairs per step."""

    negatives: Annotated[int, Ints(1, 32, log=True)] = Field(default=20, ge=1)
    """Items drawn against each positive."""

    content: bool = True
    """Whether items are near to what they contain: words of the title and vectors of each modality (eqs. 1-7)."""

    categories: Annotated[int, Choice((10, 25, 50, 100))] = Field(default=50, ge=0)
    """K, hidden categories of items (eqs. 8-10); 0: none."""

    networks: bool = True
    """Whether users are near to their neighbours in every network (eqs. 12-14)."""

    shared_interests: int = Field(default=50, ge=0)
    """Ties of a user, at most, in one more network, of those who chose the same items; 0: no such network."""

    unknown_weight: float = Field(default=1.0, gt=0)
    """Weight of the squared error of each drawn item, where a positive's is 1."""

    spectral_start: bool = True
    """Whether vectors start from the leading factors of the interactions instead of chance."""

    item_bias: bool = True
    """Whether each item has a bias, for what everybody likes."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that vectors start from by chance."""

    regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=0.05, ge=0)
    """Weight of the priors of users and items (eq. 11): of half the squared norm of those in a batch, per pair."""

    content_weight: Annotated[float, Floats(1e-3, 1.0, log=True)] = Field(default=0.02, ge=0)
    """Weight of the log-likelihood of eq. 7, per item visited."""

    content_contrasts: int = Field(default=3, ge=0)
    """Other items of the batch whose content each item's own is told from; 0 is eq. 7, which only ever says yes."""

    centre_regularisation: float = Field(default=500.0, ge=0)
    """Weight of half the squared distances of categories to their centres (eq. 10)."""

    category_regularisation: float = Field(default=5000.0, ge=0)
    """Weight of half the squared norm of categories (eq. 10)."""

    network_regularisation: float = Field(default=5.0, ge=0)
    """Weight of half the squared distances of users to what their networks say (eq. 13)."""

    neighbour_regularisation: float = Field(default=5.0, ge=0)
    """Weight of half the squared distances of users within a network to the mean of their neighbours (eq. 12)."""

    network_prior: float = Field(default=0.01, ge=0)
    """Weight of half the squared norm of users within a network (eq. 14)."""

    word_dimension: int = Field(default=16, ge=1)
    """Components of a word's vector."""

    filters: int = Field(default=16, ge=1)
    """Filters of each size, 2 to 4 words, over a title."""

    rare_word: int = Field(default=2, ge=1)
    """Titles in which a word must occur to be known."""

    longest_title: int = Field(default=32, ge=1)
    """Words of a title that are read."""


PLAIN: Mapping[str, object] = {
    "variant": "plain",
    "learning_rate": 1e-3,
    "batch_size": 1024,
    "negatives": 5,
    "unknown_weight": 1.0,
    "spectral_start": False,
    "item_bias": False,
    "regularisation": 0.01,
    "content_weight": 0.01,
    "content_contrasts": 0,
    "centre_regularisation": 0.01,
    "category_regularisation": 0.01,
    "network_regularisation": 0.01,
    "neighbour_regularisation": 0.01,
    "network_prior": 0.01,
    "filters": 100,
}
"""Options that give the paper's equations and nothing else, with every value it prints: each lambda is 0.01."""

VARIANTS: Mapping[str, Mapping[str, object]] = {
    "con": {"categories": 0, "networks": False},
    "cat": {"content": False, "networks": False},
    "net": {"content": False, "categories": 0},
}
"""Variant → what the paper's MMM-con, MMM-cat and MMM-net (section 4.5) leave out of the full model."""
