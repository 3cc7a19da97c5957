"""What the tests of materialization do more than once."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from contracts.home import Home
from contracts.settings import Settings
from feature_repo.materialization.online import OnlineView
from feature_repo.status import feature_status

Ready = tuple[Settings, Home]

VIEWS = ["user_history", "user_profile", "video_popularity"]
"""What most tests materialize."""


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], Any]) -> list[int]:
    """Do something when the n-th chunk is about to be written; returns the sizes of all chunks."""
    written, calls = OnlineView.write, list[int]()

    def write(self: OnlineView, table: pa.Table) -> int:
        calls.append(len(table))
        if len(calls) == number:
            act()
        return written(self, table)

    monkeypatch.setattr(OnlineView, "write", write)
    return calls


def freshness(ready: Ready, view: str) -> dict[str, Any]:
    """What `features status` says of a view."""
    return {each["name"]: each for each in feature_status(*ready)["views"]}[view]
