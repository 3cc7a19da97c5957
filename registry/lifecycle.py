"""The states of a model version, and the legal moves between them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final, Self

from contracts.errors import Conflict

__all__ = ["DISPLACED_TO", "MOVES", "TARGETS", "Standing", "require_legal", "standing_after"]

MOVES: Final = MappingProxyType(
    {
        "registered": frozenset({"candidate", "shadow", "champion", "retired"}),
        "candidate": frozenset({"shadow", "champion", "retired"}),
        "shadow": frozenset({"candidate", "challenger", "champion", "retired"}),
        "challenger": frozenset({"candidate", "champion", "retired"}),
        "champion": frozenset({"retired"}),
        "retired": frozenset({"shadow", "champion"}),
    }
)
"""State → states that may follow it. A retired version comes back by rollback, or by a promotion like any other."""

TARGETS: Final = ("candidate", "shadow", "challenger", "champion")
"""States a person may ask for; all but the first are also the alias of the same name."""

DISPLACED_TO: Final = MappingProxyType({"champion": "retired", "challenger": "candidate", "shadow": "candidate"})
"""Alias → state of the version that loses it."""


@dataclass(frozen=True)
class Standing:
    """Who holds what: the part of a surface that a move changes."""

    aliases: Mapping[str, str | None]
    """Alias → version, or None where nobody holds it."""
    states: Mapping[str, str]
    """Version → state."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """From the JSON form."""
        return cls(dict(document["aliases"]), dict(document["states"]))

    def meets(self, other: Self) -> bool:
        """Whether there is an alias or a version that both are about."""
        return not (self.aliases.keys().isdisjoint(other.aliases) and self.states.keys().isdisjoint(other.states))


def require_legal(surface: str, version: str, before: str, after: str) -> None:
    """Refuse a move that the table does not have.

    Raises:
        Conflict: The version cannot go from the one state to the other.
    """
    if after not in MOVES[before]:
        raise Conflict(
            f"{surface} version {version} → {after}",
            found=f"state {before}",
            expected=f"a move to {' or '.join(sorted(MOVES[before]))}, or another version",
            next_step="`backbeat models list` shows the versions and their states",
        )


def standing_after(version: str, before: str, after: str, holder: str | None) -> Standing:
    """What changes when a version moves.

    Args:
        version: The version that moves.
        before: Its state.
        after: The state it takes, an alias of the same name with it where there is one.
        holder: The version that holds that alias now, if any.
    """
    # Its new alias comes first: that write is what readers see of the move.
    aliases: dict[str, str | None] = {after: version} if after in DISPLACED_TO else {}
    states = {version: after}
    if before in DISPLACED_TO:
        aliases[before] = None
    if holder is not None:
        states[holder] = DISPLACED_TO[after]
    return Standing(aliases, states)
