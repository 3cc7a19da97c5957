"""The models, one file each, and the dict that names them."""

from typing import NamedTuple

from contracts.errors import unknown_name
from training.config import RecommenderConfig
from training.models.amae import DmfAmae, MfAmae
from training.models.amae_config import DmfAmaeConfig, MfAmaeConfig
from training.models.dl_bgm import DlBgm, DlBgmConfig
from training.models.dmf import Dmf, DmfConfig
from training.models.fism import Fism, FismConfig
from training.models.fm_bgm import FmBgm, FmBgmConfig
from training.models.iris import Iris, IrisConfig
from training.models.knn import ItemKnn, ItemKnnConfig, UserKnn, UserKnnConfig
from training.models.lightgcn import LightGcn, LightGcnConfig
from training.models.m3csr import M3csr
from training.models.m3csr_config import M3csrConfig
from training.models.mf import MatrixFactorisation, MfConfig, MfLogitConfig
from training.models.mf_bgm import MfBgm, MfBgmConfig
from training.models.mmm import Mmm
from training.models.mmm_config import MmmConfig
from training.models.nais import Nais, NaisConfig
from training.models.neumf import Neumf, NeumfBprConfig, NeumfConfig
from training.models.popularity import Popularity, PopularityConfig
from training.models.tf_bgm import TfBgm, TfBgmConfig
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
    "user-knn": ModelEntry(UserKnnConfig, UserKnn, "interactions_v1"),
    "item-knn": ModelEntry(ItemKnnConfig, ItemKnn, "interactions_v1"),
    "mf": ModelEntry(MfConfig, MatrixFactorisation, "interactions_v1"),
    "mf-logit": ModelEntry(MfLogitConfig, MatrixFactorisation, "interactions_v1"),
    "neumf": ModelEntry(NeumfConfig, Neumf, "interactions_v1"),
    "neumf-bpr": ModelEntry(NeumfBprConfig, Neumf, "interactions_v1"),
    "fism": ModelEntry(FismConfig, Fism, "interactions_v1"),
    "nais": ModelEntry(NaisConfig, Nais, "interactions_v1"),
    "lightgcn": ModelEntry(LightGcnConfig, LightGcn, "interactions_v1"),
    "vbpr": ModelEntry(VbprConfig, Vbpr, "vbpr_v1"),
    "m3csr": ModelEntry(M3csrConfig, M3csr, "m3csr_v1"),
    "iris": ModelEntry(IrisConfig, Iris, "iris_v1"),
    "mmm": ModelEntry(MmmConfig, Mmm, "mmm_v1"),
    "dmf": ModelEntry(DmfConfig, Dmf, "interactions_v1"),
    "mf-amae": ModelEntry(MfAmaeConfig, MfAmae, "amae_v1"),
    "dmf-amae": ModelEntry(DmfAmaeConfig, DmfAmae, "amae_v1"),
    "mf-bgm": ModelEntry(MfBgmConfig, MfBgm, "mf_bgm_v1"),
    "tf-bgm": ModelEntry(TfBgmConfig, TfBgm, "tf_bgm_v1"),
    "fm-bgm": ModelEntry(FmBgmConfig, FmBgm, "fm_bgm_v1"),
    "dl-bgm": ModelEntry(DlBgmConfig, DlBgm, "dl_bgm_v1"),
}


def model_entry(name: str) -> ModelEntry:
    """Look a model up.

    Raises:
        NotFound: No model has that name.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS, next_step="run `backbeat train MODEL` with one of them")
    return MODELS[name]
