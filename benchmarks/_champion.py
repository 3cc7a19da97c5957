"""The two-tower champion that the service is measured with, and the histories of its users."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["HISTORY", "USERS", "WIDTH", "Histories", "K", "champion"]

WIDTH, K, USERS, HISTORY = 128, 20, 1_000, 50
"""Components of a vector; length of a list; users; videos of a history."""


def champion(items: int, directory: Path) -> Any:
    """A package of random vectors, in memory; it says that it lies in the directory."""
    import torch

    from contracts.clock import utc_now
    from contracts.manifest import IndexInfo, ModelManifest
    from contracts.protocol import ProtocolFingerprint
    from contracts.vocabulary import Vocabulary
    from training.models import MODELS
    from training.packages import LoadedPackage, item_vectors_of
    from training.recommender import Catalogue

    def vectors(rows: int, seed: int) -> Any:
        return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, WIDTH - 1)).astype(np.float32))

    entry = MODELS["mf"]
    model = entry.model(entry.config.model_validate({"dimension": WIDTH - 1}), Catalogue(USERS, items, {}))
    trained = {
        f"{whose}_trained": torch.ones(count, dtype=torch.bool) for whose, count in (("user", USERS), ("item", items))
    }
    model.load_state({**model.state(), "users": vectors(USERS, 1), "items": vectors(items, 0), **trained})
    manifest = ModelManifest(
        model="mf",
        variant="bench",
        surface="video-feed",
        shape="two-tower",
        config={"dimension": WIDTH - 1},
        seed=0,
        code_revision="bench",
        feature_service="interactions_v1",
        snapshot="bench",
        validation_report="bench",
        embedding_specs={},
        vocabularies={},
        protocol=ProtocolFingerprint(snapshot="s", split="given", candidates="all", cutoffs=(K,)),
        metrics={},
        index=IndexInfo(kind="exact", recall=1.0),
        library_versions={},
        created_at=utc_now(),
    )
    users, videos = Vocabulary([f"u{row}" for row in range(USERS)]), Vocabulary([f"v{row}" for row in range(items)])
    popularity = np.arange(items, dtype=np.int64)
    return LoadedPackage(directory, manifest, model, users, videos, item_vectors_of(model), popularity)


class Histories:
    """Histories of 50 videos, in memory."""

    def __init__(self, items: int) -> None:
        rows = np.random.default_rng(2).integers(0, items, (USERS, HISTORY))
        self._of = {f"u{user}": [f"v{row}" for row in mine] for user, mine in enumerate(rows)}

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Of users, oldest first; empty for a stranger."""
        return [self._of.get(user, []) for user in user_ids]

    def close(self) -> None:
        """Nothing is open."""
