"""Moods: two numbers per user that change slowly, and the words for them."""

from dataclasses import dataclass

import numpy as np

from feature_repo.raw_tables import Microseconds
from feature_repo.simulator.draws import DAY_US, START_US, Floats, Rows, blocks

__all__ = ["MOODS", "NEUTRAL", "Moods", "label", "moods_of", "rhythm"]

MOODS = {
    "happy": (0.9, 0.4),
    "energetic": (0.4, 1.1),
    "romantic": (0.8, -0.4),
    "calm": (0.2, -1.1),
    "sad": (-0.9, -0.5),
    "angry": (-0.9, 0.9),
    "tense": (-0.4, 0.4),
}
"""Name of a mood → valence (unpleasant to pleasant) and arousal (quiet to excited)."""

NEUTRAL = len(MOODS)
"""Number of the label for a mood that is too weak to name."""

_WAVES = 6
_MEMORY_DAYS = 1.5
_FASTEST = 40.0  # radians per day: nothing changes within minutes
_WEEK = np.array([-0.1, 0.0, 0.8, 1.0, 0.3, -0.9, -0.5])  # from a Wednesday to a Tuesday


@dataclass(frozen=True)
class Moods:
    """The moods of all users at all times, as a few waves per user."""

    temper: Floats
    """``[U, 2]``, the mean of each user."""
    speed: Floats
    """``[U, 2, W]``, radians per day."""
    phase: Floats
    """``[U, 2, W]``, radians."""

    def at(self, users: Rows, times: Microseconds) -> Floats:
        """Valence and arousal of users ``[n]`` at instants ``[n]``; ``[n, 2]``, spread about 1 around 0."""
        found = np.empty((len(users), 2), np.float32)
        for part in blocks(len(users)):
            who, days = users[part], ((times[part] - START_US) / DAY_US).astype(np.float32)
            waves = np.cos(self.speed[who] * days[:, None, None] + self.phase[who]).sum(axis=2)
            found[part] = self.temper[who] + 0.75 * np.sqrt(2 / _WAVES) * waves + rhythm(times[part])
        return found


def moods_of(rng: np.random.Generator, users: int) -> Moods:
    """Draw moods.

    Waves whose speeds have a Cauchy distribution sum to a process with the autocorrelation exp(-days/1.5), that of an
    AR(1) process (Ornstein and Uhlenbeck's), and can be asked for at any instant without a grid.
    """
    speed = np.tan(np.pi * (rng.random((users, 2, _WAVES)) - 0.5)) / _MEMORY_DAYS
    return Moods(
        temper=(0.4 * rng.normal(size=(users, 2))).astype(np.float32),
        speed=np.clip(speed, -_FASTEST, _FASTEST).astype(np.float32),
        phase=rng.uniform(0, 2 * np.pi, (users, 2, _WAVES)).astype(np.float32),
    )


def rhythm(times: Microseconds) -> Floats:
    """What all users share, ``[n, 2]``: pleasant weekends, quiet mornings and exciting evenings."""
    elapsed = times - START_US
    valence = 0.4 * _WEEK[elapsed // DAY_US % 7]
    arousal = -0.4 * np.cos(2 * np.pi * (elapsed % DAY_US / DAY_US - 4 / 24))
    return np.stack([valence, arousal], axis=1).astype(np.float32)


def label(mood: Floats, neutral_below: float = 0.0) -> Rows:
    """Number of the nearest mood in ``MOODS`` for each of ``[n, 2]``; ``NEUTRAL`` where it is weaker than asked."""
    points = np.array(list(MOODS.values()), np.float32)
    # |mood - point|^2 without |mood|^2, which is the same for all points.
    nearest = np.argmin((points**2).sum(axis=1) - 2 * mood @ points.T, axis=1)
    return np.where(np.linalg.norm(mood, axis=1) < neutral_below, NEUTRAL, nearest)
