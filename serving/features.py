"""The online features of one surface: what users chose there, as all that serves the surface reads it."""

from collections.abc import Collection, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.online import OnlineFeatures

__all__ = ["SurfaceFeatures"]


class SurfaceFeatures:
    """Reads them; closed together with the online store behind it.

    Args:
        online: The online store.
        history: Feature of a user that holds the items chosen, ``<view>:<feature>``.
    """

    def __init__(self, online: OnlineFeatures, history: str) -> None:
        self._online = online
        self._history = history

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Items each user has chosen, oldest first; empty for an unknown user.

        Raises:
            NotFound: Nothing of the data set is materialized.
            ServiceUnavailable: The online store does not answer.
        """
        return self._online.histories(self._history, user_ids)

    def read(self, view: str, ids: Sequence[str]) -> pa.Table:
        """As :meth:`feature_repo.online.OnlineFeatures.read`, now."""
        return self._online.read(view, ids)

    def matrices(
        self, views: Collection[str], ids: Sequence[str], moment: datetime | None = None
    ) -> dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
        """As :meth:`feature_repo.online.OnlineFeatures.matrices`."""
        return self._online.matrices(views, ids, moment)

    def close(self) -> None:
        """Let go of the online store."""
        self._online.close()
