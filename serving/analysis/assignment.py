"""Which arm of an experiment a user is in."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput

__all__ = ["Assignment"]


@dataclass(frozen=True)
class Assignment:
    """Sticky assignment to weighted arms, by weighted rendezvous hashing (Schindelhauer and Schomaker 2005).

    A user is in the arm with the least -ln(u) / weight, u being a hash of salt, arm and user. So no state is kept,
    every process agrees, and a changed, added or stopped arm moves only users into it or out of it. Another salt
    makes an assignment that knows nothing of this one.

    Raises:
        BadInput: There is no arm, or a weight is not a number more than 0.
    """

    salt: str
    """As a rule the experiment's name."""
    weights: Mapping[str, float]
    """Weight of each arm; they need not sum to 1."""

    def __post_init__(self) -> None:
        wrong = {arm: weight for arm, weight in self.weights.items() if not (math.isfinite(weight) and weight > 0)}
        if wrong or not self.weights:
            raise BadInput(
                f"arms of experiment {self.salt!r}",
                found=", ".join(f"{arm}={weight}" for arm, weight in wrong.items()) or "none",
                expected="at least one arm, each with a finite weight more than 0",
                next_step="leave out arms that shall have no traffic",
            )

    @property
    def propensities(self) -> dict[str, float]:
        """Chance with which a user is in each arm."""
        whole = math.fsum(self.weights.values())
        return {arm: weight / whole for arm, weight in self.weights.items()}

    def arm(self, user_id: str) -> str:
        """The user's arm."""
        arms = list(self.weights)
        return arms[int(self.arms([user_id])[0])]

    def arms(self, user_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Number of each user's arm, in the order of the weights, ``[U]``."""
        encoded = [user_id.encode() for user_id in user_ids]
        distances = np.stack([-np.log(self._uniforms(arm, encoded)) / w for arm, w in self.weights.items()])
        return np.asarray(distances.argmin(0), dtype=np.int64)

    def _uniforms(self, arm: str, users: Sequence[bytes]) -> npt.NDArray[np.float64]:
        # The lengths keep ("a", "bc") and ("ab", "c") apart.
        key = hashlib.blake2b(f"{len(self.salt)}:{self.salt}:{arm}".encode(), digest_size=32).digest()
        digests = b"".join([hashlib.blake2b(user, key=key, digest_size=8).digest() for user in users])
        return ((np.frombuffer(digests, dtype="<u8") >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
