"""Options of AMAE on either base, with the switches of the paper's Tables III and IV."""

from typing import Annotated

from pydantic import Field

from training.config import LearnedConfig
from training.post_features import FeatureGroup, FeatureScaling
from training.spaces import Choice, Floats

__all__ = ["AmaeConfig", "DmfAmaeConfig", "MfAmaeConfig"]


class AmaeConfig(LearnedConfig):
    """Options of AMAE on either base; widths, negatives and batch size are the paper's."""

    dimension: int = Field(default=16, ge=1)
    """Width d of a user's vector and of a code; an item's vector has d for each of those that it meets."""

    batch_size: int = Field(default=512, ge=1)
    """Records per step."""

    negatives: int = Field(default=3, ge=1)
    """Items drawn against each positive one."""

    inner: Annotated[int, Choice((16, 32, 64))] = Field(default=32, ge=1)
    """Width of the autoencoders' layer between input and code."""

    attention_width: int = Field(default=16, ge=1)
    """Width of the attention's first layer (eq. 10); the paper does not say."""

    features: FeatureGroup = "all"
    """Which features of the posts are used (Table III)."""

    scaling: FeatureScaling = "range"
    """What is done to each component of the features."""

    autoencoder_epochs: int = Field(default=10, ge=0)
    """Passes of the first stage."""

    reconstruction: bool = True
    """Whether the first stage has L_r (eq. 4); without it there are no decoders."""

    cross_modal: bool = True
    """Whether the first stage has L_m (eq. 8)."""

    fine_tuning: bool = True
    """Whether the second stage trains the encoders further."""

    attention: bool = True
    """Whether global and recent codes are weighed (eqs. 10-12); otherwise both meet components of their own."""

    item_bias: bool = True
    """Whether a score has a bias of the item, as that of ``mf`` does; eq. 13 has none."""

    regularisation: Annotated[float, Choice((0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2))] = Field(default=0.0, ge=0)
    """lambda of eq. 14: weight of half the squared norm of the users' and items' vectors in a batch, per record."""

    autoencoder_regularisation: Annotated[float, Floats(1e-6, 1e-2, log=True)] = Field(default=1e-4, ge=0)
    """lambda of eq. 9: weight of half the squared norm of the autoencoders' parameters."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that the vectors of MF start from."""


class MfAmaeConfig(AmaeConfig):
    """Options of MF+AMAE."""


class DmfAmaeConfig(AmaeConfig):
    """Options of DMF+AMAE; those of the base as in :class:`training.models.dmf.DmfConfig`."""

    tower_width: int = Field(default=64, ge=1)
    """Width of both networks' first layers."""

    row_exponent: float = Field(default=0.5, ge=0, le=1)
    """Power of the number of interactions that a row is divided by."""

    leave_target_out: bool = True
    """Whether the pair to be predicted is missing from its row and column while training."""
