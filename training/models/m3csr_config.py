"""Options of M3CSR, those that give its ablations, and those that give the paper's equations alone."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from training.cold_items import ColdItemsConfig
from training.content import ContentScaling
from training.spaces import Choice, Floats

__all__ = ["ABLATIONS", "CONNECTED", "FUSED", "PLAIN", "M3csrConfig"]


class M3csrConfig(ColdItemsConfig):
    """Options of M3CSR; the defaults were chosen on the TikTok validation pairs, also over values the paper gives.

    The paper's own: learning rate 1e-3, batches of 1024, alpha 1e-6, beta 1e-5, tau 0.07, d 64, patience 10.
    """

    variant: str = Field(default="tuned", min_length=1, max_length=64)
    """Label under which the version is listed and reported; it changes nothing else."""

    learning_rate: float = Field(default=5e-3, gt=0)
    """Step size of Adam."""

    negatives: int = Field(default=1, ge=1)
    """Items drawn against each positive; the paper draws one."""

    heads: int = Field(default=4, ge=1)
    """Attention heads of eqs. 3 and 4; must divide ``dimension``."""

    clusters: Annotated[int, Choice((50, 100, 200))] = Field(default=100, ge=1)
    """K-means centres over the concatenated content."""

    popularity_bins: int = Field(default=12, ge=1)
    """Bins of eq. 10's popularity: bin b holds items with 2^b - 1 to 2^(b+1) - 2 views, the last one all above."""

    content_scaling: ContentScaling = "none"
    """What is done to each modality's vectors before anything else; the paper says nothing."""

    modalities: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which of the snapshot's modalities to read (Figs. 4-5), on the command line joined by ``+``; all if unset."""

    temperature: Annotated[float, Floats(0.03, 0.3, log=True)] = Field(default=0.07, gt=0)
    """tau of eq. 6."""

    orthogonality: Annotated[float, Choice((1e-6, 1e-5, 1e-4))] = Field(default=1e-6, ge=0)
    """alpha of eq. 13, weight of L_perp; 0 is the paper's "w/o L_perp"."""

    regularisation: Annotated[float, Floats(1e-6, 1e-3, log=True)] = Field(default=3e-5, ge=0)
    """beta of eq. 13, weight of the squared norm of all parameters; the paper's own value is 1e-5."""

    interest_intensity: bool = True
    """Whether eqs. 5-6 weigh the modalities; without (the paper's "w/o MIIL") each counts 1/M."""

    cluster_ids: bool = True
    """Whether eq. 2 has cluster embeddings; without (the paper's "w/o Cluster") the mapped content stands alone."""

    popularity_gate: bool = True
    """Whether eq. 10 weighs ID against content; without (the paper's "w/o Gate") both parts count one half."""

    connectivity: int = Field(default=0, ge=0)
    """Steps over the graph of users and items whose mean the ID embeddings are (LightGCN, eqs. 3-5), in every sequence,
    query and item; while training without the edges of the batch. 0: the embeddings themselves."""

    own_embedding: bool = False
    """Whether the user's ID embedding, the query of eq. 3, is also added to its result, as in a transformer block."""

    objective: Literal["bpr", "softmax"] = "bpr"
    """Eq. 12, or the cross-entropy of each positive among its ``negatives``."""

    popularity_bias: bool = False
    """Whether each item has a bias, which starts from the logarithm of how often its pairs are visited. Without, the
    embeddings first learn what is popular, the same for everybody, and lose what they knew of neighbours."""

    pairs_per_user: int | None = Field(default=None, ge=1)
    """Of each user at most so many training pairs an epoch, drawn by chance. The metric is a mean over users, whereas
    a loss over all pairs is one over the few users who saw the most. All pairs if unset."""

    id_regularisation: float | None = Field(default=None, ge=0)
    """For ID embeddings, in place of beta: weight of half the squared norm of those of a batch, per positive, as in
    LightGCN. Those and the biases are then left out of ``regularisation``."""

    id_deviation: float | None = Field(default=None, gt=0)
    """Standard deviation of the normal that ID embeddings start from; Xavier's uniform, as all else, if unset."""

    similarities: float | None = Field(default=None, gt=0)
    """Weight of a FISM with its own defaults, trained first and by itself, whose scores are added: the similarity of
    items by who saw them, fitted on whole histories. Two models are fused after training, as NeuMF's two parts are
    before it (He et al. 2017, section 3.4.1). M3CSR alone if unset."""

    @field_validator("modalities", mode="before")
    @classmethod
    def _modalities_may_be_text(cls, modalities: object) -> object:
        return tuple(modalities.split("+")) if isinstance(modalities, str) else modalities

    @model_validator(mode="after")
    def _heads_divide_dimension(self) -> Self:
        if self.dimension % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dimension ({self.dimension})")
        return self


PLAIN: Mapping[str, object] = {
    "variant": "plain",
    "learning_rate": 1e-3,
    "batch_size": 1024,
    "negatives": 1,
    "content_scaling": "none",
    "orthogonality": 1e-6,
    "regularisation": 1e-5,
    "connectivity": 0,
    "own_embedding": False,
    "objective": "bpr",
    "popularity_bias": False,
    "pairs_per_user": None,
    "id_regularisation": None,
    "id_deviation": None,
    "similarities": None,
}
"""Options that give eqs. 1-13 and nothing else, with every value the paper prints."""

CONNECTED: Mapping[str, object] = {
    "variant": "connected",
    "negatives": 32,
    "averaging": 0.99,
    "content_scaling": "centred",
    "regularisation": 1e-4,
    "connectivity": 3,
    "own_embedding": True,
    "objective": "softmax",
    "popularity_bias": True,
    "pairs_per_user": 50,
    "id_regularisation": 1e-2,
    "id_deviation": 0.1,
}
"""Options beyond the paper that were best together on the TikTok validation pairs."""

FUSED: Mapping[str, object] = {**CONNECTED, "variant": "fused", "similarities": 0.5}
"""The same with the similarity of items by who saw them, which was better still."""

ABLATIONS: Mapping[str, Mapping[str, object]] = {
    "without-miil": {"interest_intensity": False},
    "without-orthogonality": {"orthogonality": 0.0},
    "without-cluster": {"cluster_ids": False},
    "without-gate": {"popularity_gate": False},
}
"""Variant → what Table 3 changes about the full model."""
