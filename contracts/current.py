"""Which snapshot is current: a pointer that ingest moves and other rooms may read."""

import json
from pathlib import Path

from contracts.errors import BadInput
from contracts.files import write_text_whole
from contracts.home import Home

__all__ = ["current_snapshot_id", "make_current"]


def _pointer(home: Home) -> Path:
    return home.offline / "current.json"


def current_snapshot_id(home: Home) -> str | None:
    """Id of the snapshot that the last ingest wrote or found again; None where nothing was ingested here.

    Raises:
        BadInput: The pointer is damaged.
    """
    pointer = _pointer(home)
    if not pointer.is_file():
        return None
    try:
        return str(json.loads(pointer.read_text(encoding="utf-8"))["snapshot"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(
            pointer,
            found="a damaged file",
            expected='JSON such as {"snapshot": "6f7f9f36906fca10"}',
            next_step="ingest the data again; tables that are whole are found and kept",
        ) from None


def make_current(home: Home, snapshot_id: str) -> None:
    """Point to a snapshot that is there; the caller holds the home's writer lock."""
    write_text_whole(_pointer(home), json.dumps({"snapshot": snapshot_id}))
