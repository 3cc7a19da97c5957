"""Which snapshot is current: a pointer that ingest moves and other rooms may read."""

import json

from contracts.home import Home

__all__ = ["current_snapshot_id"]


def current_snapshot_id(home: Home) -> str | None:
    """Id of the snapshot that the last ingest wrote or found again; None where nothing was ingested here."""
    pointer = home.offline / "current.json"
    if not pointer.is_file():
        return None
    return str(json.loads(pointer.read_text(encoding="utf-8"))["snapshot"])
