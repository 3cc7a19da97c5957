"""From a snapshot of a simulated platform back to all that is true of it, hidden tastes too.

Nothing hidden is stored anywhere. A snapshot says by which plan it was drawn; the platform is drawn again, and is the
same one if what users did in it is what the snapshot has. For those who play the users; whoever trains on this has
read the answers.
"""

from contracts.errors import BadInput
from contracts.home import Home
from contracts.snapshot import PUSHED, Snapshot
from feature_repo.offline import content_hash, read_table
from feature_repo.simulator.plan import Plan
from feature_repo.simulator.platform import Platform, grow
from feature_repo.simulator.tabulate import tabulate

__all__ = ["recover"]

_SIMULATOR = "simulator "
_PROOF = ("users", "interactions", "edges", "listens")
"""Tables without media, in which every choice by taste shows."""


def recover(home: Home, snapshot: Snapshot) -> Platform:
    """Draw again the platform that a snapshot was made of.

    Args:
        home: Where the snapshot is.
        snapshot: One of ``ingest simulate``, with or without what was encoded or pushed since.

    Raises:
        BadInput: It is not simulated, or another version of the simulator drew it.
    """
    if not snapshot.source.startswith(_SIMULATOR):
        raise BadInput(
            f"snapshot {snapshot.id}",
            found=f"data set {snapshot.dataset!r}, whose users' tastes nobody knows",
            expected="a simulated platform",
            next_step="run `backbeat ingest simulate` in a home of its own, and train and serve there",
        )
    described = snapshot.source.removeprefix(_SIMULATOR).removesuffix(PUSHED)
    try:
        plan = Plan.parse(described)
    except ValueError as error:
        raise _other(snapshot, f"a plan of {error}") from None
    platform = grow(plan)
    drawn = tabulate(platform).tables
    for name in _PROOF:
        if name not in drawn:
            continue
        digest = content_hash(drawn[name])
        if digest not in _digests(home, snapshot, name, drawn[name].num_rows):
            raise _other(snapshot, f"{name} that seed {plan.seed} does not draw")
    return platform


def _digests(home: Home, snapshot: Snapshot, name: str, rows: int) -> set[str]:
    """Of a table as it is, and of its first rows where pushed ones may have been put behind them."""
    if name not in snapshot.tables:
        return set()
    whole = snapshot.tables[name]
    if whole.rows == rows or not snapshot.source.endswith(PUSHED):
        return {whole.sha256}
    return {content_hash(read_table(home, snapshot, name).slice(0, rows))}


def _other(snapshot: Snapshot, found: str) -> BadInput:
    return BadInput(
        f"snapshot {snapshot.id}",
        found=found,
        expected="tables that this version of the simulator draws from the snapshot's plan",
        next_step="ingest it again with `backbeat ingest simulate`, then train and serve the new snapshot",
    )
