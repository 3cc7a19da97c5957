"""The models, one file each, and the dict that names them."""

from typing import NamedTuple

from contracts.errors import unknown_name
from training.config import RecommenderConfig
from training.models.lightgcn import LightGcn, LightGcnConfig
from training.models.m3csr import M3csr, M3csrConfig
from training.models.mf import MatrixFactorisation, MfConfig
from training.models.popularity import Popularity, PopularityConfig
from training.models.vbpr import Vbpr, VbprConfig
from training.recommender import Recommender

__all__ = ["MODELS", "ModelEntry", "model_entry"]


class ModelEntry(NamedTuple):
    """What a model's name stands for."""

    config: type[RecommenderConfig]
    model: type[Recommender]
    feature_service: str
    """Feast feature service that feeds it, in training and in serving."""


MODELS: dict[str, ModelEntry] = {
    "popularity": ModelEntry(PopularityConfig, Popularity, "interactions_v1"),
    "mf": ModelEntry(MfConfig, MatrixFactorisation, "interactions_v1"),
    "lightgcn": ModelEntry(LightGcnConfig, LightGcn, "interactions_v1"),
    "vbpr": ModelEntry(VbprConfig, Vbpr, "vbpr_v1"),
    "m3csr": ModelEntry(M3csrConfig, M3csr, "m3csr_v1"),
}


def model_entry(name: str) -> ModelEntry:
    """Look a model up.

    Raises:
        NotFound: No model has that name.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS, next_step="run `backbeat train MODEL` with one of them")
    return MODELS[name]
