"""What is asked of a model, by the feature service that feeds it: on which surface, and how it is judged there."""

from types import MappingProxyType
from typing import Final, NamedTuple

from contracts.errors import unknown_name
from contracts.protocol import ProtocolFingerprint
from contracts.snapshot import Snapshot
from contracts.surfaces import BACKGROUND_MUSIC, MUSIC, VIDEO_FEED
from feature_repo.services import SERVICES
from training.protocols import FULL_20, Protocol

__all__ = ["QUESTIONS", "Question", "question_of"]


class Question(NamedTuple):
    """One surface, and its protocol."""

    surface: str
    protocol: Protocol
    events: str = ""
    """What is held out, where a surface has more than one kind of it."""

    def fingerprint(self, snapshot: Snapshot) -> ProtocolFingerprint:
        """Of metrics measured by the protocol on a snapshot, cut as the snapshot says."""
        cut = snapshot.split.describe()
        return self.protocol.fingerprint(snapshot, f"{cut}; {self.events}" if self.events else cut)


_AMONG_99 = Protocol(cutoffs=(10,), negatives=99, stopping="hr_at_10", seed=0)
"""As the paper of AMAE measures."""
_FULL_10 = Protocol(cutoffs=(5, 10), negatives=None, stopping="hr_at_10", seed=0, exclude_seen=False)
"""As the paper on background music measures; people choose the same music again for another video."""

QUESTIONS: Final = MappingProxyType(
    {
        "videos": Question(VIDEO_FEED, FULL_20),
        "music": Question(MUSIC, _AMONG_99, "the music of all events, each once"),
        "music after posts": Question(MUSIC, _AMONG_99, "every listen by itself"),
        "background music": Question(BACKGROUND_MUSIC, _FULL_10),
    }
)
"""What a feature service ranks (``feature_repo.services.RANKINGS``) → what that asks."""


def question_of(feature_service: str) -> Question:
    """What a service asks.

    Raises:
        NotFound: There is no such service.
    """
    if feature_service not in SERVICES:
        raise unknown_name("feature service", feature_service, SERVICES, next_step="use one of those names")
    return QUESTIONS[SERVICES[feature_service].ranks]
