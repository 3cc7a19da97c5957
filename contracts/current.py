"""Which snapshot is current: a pointer that ingest moves and other rooms may read."""

import json
from pathlib import Path

from contracts.files import write_text_whole
from contracts.home import Home

__all__ = ["current_snapshot_id", "make_current"]


def _pointer(home: Home) -> Path:
    return home.offline / "current.json"


def current_snapshot_id(home: Home) -> str | None:
    """Id of the snapshot that the last ingest wrote or found again; None where nothing was ingested here."""
    pointer = _pointer(home)
    if not pointer.is_file():
        return None
    return str(json.loads(pointer.read_text(encoding="utf-8"))["snapshot"])


def make_current(home: Home, snapshot_id: str) -> None:
    """Point to a snapshot that is there; the caller holds the home's writer lock."""
    write_text_whole(_pointer(home), json.dumps({"snapshot": snapshot_id}))
