"""The tables of MMM, on Last.fm."""

from collections.abc import Mapping
from typing import Final

from training.experiments.tables import Column, Row, Table
from training.models.mmm_config import VARIANTS
from training.protocols import Protocol
from training.splits import HoldOutShare
from training.studies import Study

__all__ = ["MMM_TABLES"]

_CUTOFFS = (10, 20, 30, 40)
_METRICS = {"rec": "recall", "pre": "precision", "ndcg": "ndcg"}
"""As the paper prints it → as it is called here."""
_DEFAULTS: Final = "the model's defaults"


def _variant(name: str) -> Mapping[str, object]:
    return {"variant": name, **VARIANTS[name]}


def _printed(precision: tuple[float, ...], recall: tuple[float, ...], ndcg: tuple[float, ...]) -> dict[str, float]:
    """Tables 1, 2 and 3, each at 10, 20, 30 and 40."""
    parts = {"pre": precision, "rec": recall, "ndcg": ndcg}
    return {f"{name}@{k}": value for name, row in parts.items() for k, value in zip(_CUTOFFS, row, strict=True)}


TABLES_1_TO_3 = Table(
    name="mmm-tables",
    title="MMM, its variants and its baselines on Last.fm",
    source="MMM, Tables 1 to 3",
    data="lastfm-2k",
    real=True,
    prepare=("backbeat ingest lastfm data/lastfm-2k", "backbeat features apply", "backbeat validate run"),
    columns=tuple(
        Column(f"{name}@{k}", f"test_{metric}_at_{k}") for name, metric in _METRICS.items() for k in _CUTOFFS
    ),
    rows=(
        Row(
            "DeepCoNN",
            None,
            paper=_printed(
                (0.06964, 0.04154, 0.02989, 0.02309),
                (0.21963, 0.24878, 0.26371, 0.26873),
                (0.20145, 0.2148, 0.21967, 0.21862),
            ),
        ),
        Row(
            "CKE",
            None,
            paper=_printed(
                (0.08656, 0.05156, 0.03697, 0.02843),
                (0.27311, 0.30879, 0.32677, 0.33137),
                (0.25021, 0.26671, 0.27194, 0.27043),
            ),
        ),
        Row(
            "JRL",
            None,
            paper=_printed(
                (0.08999, 0.05286, 0.03843, 0.03017),
                (0.28397, 0.31594, 0.33985, 0.35082),
                (0.26079, 0.27245, 0.28339, 0.28546),
            ),
        ),
        Row(
            "MMM-con",
            "mmm",
            _variant("con"),
            tuned=_DEFAULTS,
            paper=_printed(
                (0.09076, 0.05319, 0.03827, 0.03048),
                (0.28724, 0.31861, 0.33825, 0.35456),
                (0.26327, 0.27566, 0.28258, 0.28838),
            ),
        ),
        Row(
            "NeuMF",
            "neumf",
            tuned=_DEFAULTS,
            paper=_printed(
                (0.07791, 0.04625, 0.03332, 0.02661),
                (0.24517, 0.27618, 0.29394, 0.30975),
                (0.22526, 0.23775, 0.24526, 0.25235),
            ),
        ),
        Row(
            "MMM-cat",
            "mmm",
            _variant("cat"),
            tuned=_DEFAULTS,
            paper=_printed(
                (0.0822, 0.04848, 0.03457, 0.02712),
                (0.25879, 0.2903, 0.30585, 0.31537),
                (0.23736, 0.25024, 0.25484, 0.25772),
            ),
        ),
        Row(
            "PACE",
            None,
            paper=_printed(
                (0.08183, 0.04903, 0.03523, 0.02764),
                (0.25785, 0.29252, 0.31101, 0.32182),
                (0.23659, 0.25268, 0.25865, 0.2623),
            ),
        ),
        Row(
            "TrustSVD",
            None,
            paper=_printed(
                (0.08654, 0.0497, 0.03551, 0.02781),
                (0.27174, 0.29767, 0.31212, 0.32283),
                (0.24948, 0.257, 0.26079, 0.26296),
            ),
        ),
        Row(
            "MMM-net",
            "mmm",
            _variant("net"),
            tuned=_DEFAULTS,
            paper=_printed(
                (0.09008, 0.05347, 0.0379, 0.02962),
                (0.28384, 0.31969, 0.33382, 0.34477),
                (0.26095, 0.27566, 0.27881, 0.28082),
            ),
        ),
        Row(
            "MMM",
            "mmm",
            tuned=_DEFAULTS,
            paper=_printed(
                (0.1034, 0.06102, 0.04374, 0.03436),
                (0.3257, 0.365, 0.38595, 0.40015),
                (0.29904, 0.31502, 0.32192, 0.32613),
            ),
        ),
    ),
    service="mmm_music_v1",
    study=Study(HoldOutShare(seed=0), Protocol(cutoffs=_CUTOFFS, negatives=100, stopping="ndcg_at_10", seed=0)),
    orderings=(
        ("MMM", "MMM-con"),
        ("MMM", "MMM-net"),
        ("MMM", "MMM-cat"),
        ("MMM", "NeuMF"),
        ("MMM-con", "MMM-cat"),
        ("MMM-net", "MMM-cat"),
        ("MMM-cat", "NeuMF"),
    ),
    picture="lines",
    digits=5,
    note="The paper's data are micro-videos of a service that closed; these are artists whom people listened to, with "
    "their names as text and friends as a network.",
)

MMM_TABLES = (TABLES_1_TO_3,)
"""In the order in which they are listed."""
