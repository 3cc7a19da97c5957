"""The same materialization job in this process and on a Ray cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.database import Database
from contracts.home import Home
from contracts.jobs import latest_job, pause_job
from contracts.materializing import MATERIALIZE
from contracts.settings import Settings
from feature_repo.materialization import run as materialization_run
from feature_repo.materialization.worker import resume_job
from feature_repo.materialize import materialize

Copied = Callable[[Path], tuple[Settings, Home]]
VIEWS = ["user_history", "user_profile", "video_popularity", "video_profile"]
pytestmark = pytest.mark.usefixtures("small_chunks", "ray_cluster")


def on_ray(place: tuple[Settings, Home]) -> tuple[Settings, Home]:
    return place[0].model_copy(update={"engine": "ray"}), place[1]


def test_equal_rows_here_and_on_a_cluster(copied: Copied, online_rows: Any, tmp_path: Path) -> None:
    here, there = copied(tmp_path / "here"), on_ray(copied(tmp_path / "there"))
    done = [materialize(*place, views=VIEWS)["job"] for place in (here, there)]
    assert [job["state"] for job in done] == ["done", "done"]
    assert done[0]["total"] == done[1]["total"] == done[1]["done"] > 2 * len(VIEWS)
    assert done[0]["rows"] == done[1]["rows"]
    rows = online_rows(there[1])
    assert rows == online_rows(here[1])
    assert {name for name, of_view in rows.items() if of_view} == set(VIEWS)
    assert materialize(*there, views=VIEWS)["outcome"] == "unchanged"


def test_a_job_paused_on_a_cluster_goes_on_where_it_was(
    copied: Copied, online_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = on_ray(copied(tmp_path / "there")), copied(tmp_path / "here")
    written, chunks = materialization_run.OnlineView.written, list[tuple[str, int]]()

    def counted(self: Any, planned: Any, first: int = 0) -> Any:
        for chunk, changed in written(self, planned, first):
            chunks.append((planned.path.name, chunk.number))
            if len(chunks) == 3:
                pause_job(database, latest_job(database, MATERIALIZE).id)  # type: ignore[union-attr]
            yield chunk, changed

    monkeypatch.setattr(materialization_run.OnlineView, "written", counted)
    database = Database(*there)
    paused = materialize(*there, views=VIEWS)
    assert (paused["outcome"], paused["job"]["done"]) == ("paused", 3)
    done = resume_job(*there, paused["job"]["id"])
    database.close()
    assert done["state"] == "done"
    assert len(chunks) == len(set(chunks)) == done["total"], "no chunk before the checkpoint is written again"
    materialize(*here, views=VIEWS)
    assert online_rows(there[1]) == online_rows(here[1])
