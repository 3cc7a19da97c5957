"""What may be done with a version now, in words that say what will happen."""

from pydantic import BaseModel, ConfigDict

from registry.catalogue.query import ListedVersion
from registry.lifecycle import MOVES, TARGETS
from registry.thresholds import SurfacePolicy

__all__ = ["NextMove", "next_moves"]


class NextMove(BaseModel):
    """A state that a version may take, and what each way there is called."""

    model_config = ConfigDict(frozen=True)

    target: str
    replaces: str | None
    """Version that would lose the alias."""
    judge: str
    ask: str
    promote: str
    gates: list[str]
    """Names of the gates that the policy asks."""
    approvals: int
    """How many people have to approve it."""


def next_moves(
    version: ListedVersion, holders: dict[str, ListedVersion], policy: SurfacePolicy | None
) -> list[NextMove]:
    """Every move up that the lifecycle allows from where a version is, the highest first.

    Args:
        version: The version.
        holders: Alias → who holds it now.
        policy: Of the surface; None where it cannot be read.
    """
    found = []
    for target in reversed(TARGETS):
        if target not in MOVES.get(version.stage, frozenset()):
            continue
        holder = holders.get(target)
        replaced = holder.version if holder is not None and holder.version != version.version else None
        name = f"version {version.version}"
        rule = None if policy is None else policy.move(target)
        found.append(
            NextMove(
                target=target,
                replaces=replaced,
                judge=f"Judge {name} for {target}",
                ask=f"Ask for {name} to replace {target} {replaced}" if replaced else f"Ask for {name} as {target}",
                promote=f"Make {name} {target}, replacing {replaced}" if replaced else f"Make {name} {target}",
                gates=[] if rule is None else list(rule.gates),
                approvals=0 if rule is None else rule.approvals,
            )
        )
    return found
