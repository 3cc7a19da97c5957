"""Sound snapshots of a whole simulated platform from day to day, for the false alarms of ``quality.py``."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from _quality_worlds import START

from contracts.snapshot import Snapshot, SplitInstants, TableInfo
from feature_repo.simulator.generator import simulate

__all__ = ["platform_snapshots"]

_SIZES = {"users": 1_500, "videos": 4_000, "days": 28, "events": 40_000}
_FIRST_DAY, _LAST_DAY = 16, 28


def platform_snapshots(seed: int) -> Iterator[tuple[Snapshot, dict[str, pa.Table], datetime]]:
    """What was known at the end of each day, with the instant; all tables that the simulator has."""
    raw = simulate(seed=seed, **_SIZES)
    for day in range(_FIRST_DAY, _LAST_DAY + 1):
        now = START + timedelta(days=day)
        tables = {name: table.filter(pc.less(table["ingested_at"], now)) for name, table in raw.tables.items()}
        yield (
            Snapshot(
                id=f"{day:016x}",
                dataset="platform",
                source="benchmarks/quality.py",
                created_at=now,
                tables={name: TableInfo(rows=table.num_rows, sha256="") for name, table in tables.items()},
                embeddings=raw.specs,
                split=SplitInstants(
                    train_until=now - timedelta(days=4), validation_until=now - timedelta(days=2), nominal=False
                ),
            ),
            tables,
            now,
        )
