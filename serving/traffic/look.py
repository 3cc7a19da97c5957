"""What a visitor looks at and does, and what was to be expected."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from contracts.feedback import Kind
from serving.traffic.appetite import Chances

__all__ = ["Act", "Look"]

_KINDS: dict[str, Kind] = {"like": "like", "share": "share", "follow": "follow"}
_CERTAINTY = 4.0
"""Of the share that is watched: the two parameters of its beta distribution sum to this."""


@dataclass(frozen=True)
class Act:
    """One event on one place of a list."""

    place: int
    kind: Kind
    seconds: float | None = None
    """Watched."""


@dataclass(frozen=True)
class Look:
    """A cascade from the top of the list; see the package."""

    patience: float = 0.9
    """Chance to go on after an item that did not satisfy."""
    satisfied: float = 0.1
    """Chance that a clicked item does."""

    def acts(self, rng: np.random.Generator, chances: Chances) -> Iterator[Act]:
        """Draw what a visitor does with a list, place by place."""
        for place, chance in enumerate(chances.click):
            yield Act(place, "impression")
            clicked = rng.random() < chance
            if clicked:
                yield Act(place, "click")
                if chances.watched is not None and chances.seconds is not None:
                    mean = _CERTAINTY * chances.watched[place]
                    share = rng.beta(mean, _CERTAINTY - mean)
                    yield Act(place, "watch", round(float(share * chances.seconds[place]), 3))
                for name, after in chances.after.items():
                    if rng.random() < after[place]:
                        yield Act(place, _KINDS[name])
            if (clicked and rng.random() < self.satisfied) or rng.random() >= self.patience:
                return

    def expected(self, chances: Chances) -> dict[str, float]:
        """What is to be expected of a list: impressions, and by the names of the verdicts' outcomes the sums over them.

        ``ctr``, ``like`` and ``follow`` are numbers of events, ``watch_time`` is seconds; each over ``impressions`` is
        the mean per impression.
        """
        click = np.asarray(chances.click, np.float64)
        goes_on = self.patience * (1 - click * self.satisfied)
        seen = np.concatenate([[1.0], np.cumprod(goes_on[:-1])]) if len(click) else np.empty(0)
        clicks = seen * click
        sums = {"impressions": float(seen.sum()), "ctr": float(clicks.sum())}
        sums |= {kind: float(clicks @ chances.after[kind]) for kind in ("like", "follow") if kind in chances.after}
        if chances.watched is not None and chances.seconds is not None:
            sums["watch_time"] = float(clicks @ (chances.watched * chances.seconds))
        return sums
