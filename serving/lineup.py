"""The versions that serve together, as one value: a swap is the assignment of another one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.contexts import RequestContexts
from serving.experiments.live import LiveExperiment
from serving.fallback import Networks
from serving.recommend import Ranker
from serving.shadow import Shadow

if TYPE_CHECKING:
    from serving.answering import UserFeatures

__all__ = ["Lineup", "ShadowFault"]


@dataclass(frozen=True)
class ShadowFault:
    """Why a version that is to answer aside does not."""

    version: str
    fault: str


@dataclass(frozen=True)
class Lineup:
    """Who answers and who answers aside. A request reads it once and is served by that value to its end."""

    champion: Ranker
    """The version that answers."""
    features: "UserFeatures"
    """User features of the data set the champion was trained on; read once per request."""
    shadows: tuple[Shadow, ...] = ()
    """The versions that answer aside."""
    faults: tuple[ShadowFault, ...] = ()
    """Those that should and cannot."""
    networks: Networks | None = None
    """The people around users; None where nothing says who they are."""
    contexts: RequestContexts | None = None
    """What requests bring beside the user; None where no version reads any."""
    experiment: LiveExperiment | None = None
    """What runs on the requests."""

    @property
    def rankers(self) -> tuple[Ranker, ...]:
        """The versions whose items users see, the champion first."""
        challenger = None if self.experiment is None else self.experiment.challenger
        return (self.champion,) if challenger is None else (self.champion, challenger)
