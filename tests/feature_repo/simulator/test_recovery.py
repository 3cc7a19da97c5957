"""What is hidden of a simulated platform can be drawn again from its snapshot, and from no other."""

import ast
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import BadInput
from contracts.home import Home
from contracts.tables import INTERACTIONS
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables, microseconds, table_of
from feature_repo.simulator import generate, media_of, plan_of, simulate
from feature_repo.simulator.plan import Plan
from feature_repo.simulator.platform import grow
from feature_repo.simulator.recovery import recover
from feature_repo.stream.batch import Batch
from feature_repo.stream.landing import Landing, merge

SIZE: dict[str, Any] = {"users": 60, "videos": 80, "days": 10, "seed": 1, "events": 900, "late": 0.05}
ROOMS = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def raw() -> RawTables:
    return simulate(**SIZE)


def test_the_hidden_tastes_come_back(home: Home, raw: RawTables) -> None:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
    found, drawn = recover(home, snapshot), grow(plan_of(**SIZE))
    assert found.plan == drawn.plan
    assert np.array_equal(found.people.taste, drawn.people.taste)
    assert np.array_equal(found.moods.phase, drawn.moods.phase)
    assert np.array_equal(found.videos.factors, drawn.videos.factors)


def test_media_and_pushed_rows_are_no_hindrance(home: Home) -> None:
    plan = plan_of(**SIZE)
    raw, _ = generate(plan, media_of(plan, home.root / "media", 3))
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
    assert recover(home, snapshot).plan == plan
    later = microseconds(snapshot.split.validation_until + timedelta(days=100))
    view = {"user_id": ["u0"], "video_id": ["v3"], "kind": ["view"]}
    columns = {name: pa.array(values) for name, values in view.items()}
    rows = table_of(INTERACTIONS, np.array([later]), weight=pa.array([1.0], pa.float32()), **columns)
    Landing(home, raw.dataset).land(Batch("one", raw.dataset, "interactions", rows))
    with home.writing("test"):
        merged, added, _ = merge(home, raw.dataset)
    assert added == {"interactions": 1}
    assert recover(home, merged).plan == plan


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda raw: replace(raw, source="/data/tiktok"), "whose users' tastes nobody knows"),
        (lambda raw: replace(raw, source=f"{raw.source} speed=2"), "a plan of"),
        (lambda raw: replace(raw, source=raw.source.replace("days=10", "days=x")), "a plan of"),
        (lambda raw: replace(raw, source=raw.source.replace("seed=1", "seed=2")), "that seed 2 does not draw"),
        (
            lambda raw: replace(raw, tables={n: t for n, t in raw.tables.items() if n != "listens"}),
            "listens that seed 1 does not draw",
        ),
        (
            lambda raw: replace(
                raw,
                tables=raw.tables | {"interactions": raw.tables["interactions"].slice(1)},
                source=f"{raw.source}, and what was pushed",
            ),
            "interactions that seed 1 does not draw",
        ),
    ],
)
def test_other_tables_are_refused(home: Home, raw: RawTables, change: Any, found: str) -> None:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, change(raw))
    with pytest.raises(BadInput) as refused:
        recover(home, snapshot)
    assert found in refused.value.found
    assert "backbeat ingest simulate" in refused.value.next_step


def test_a_plan_is_what_it_says() -> None:
    plan = plan_of("small", 0.5, seed=4, late=0.1)
    assert Plan.parse(plan.describe()) == plan
    with pytest.raises(ValueError, match="are needed"):
        Plan.parse("users=10")


def test_nobody_who_learns_can_look_at_the_answers() -> None:
    for room in ("training", "validation", "registry"):
        for path in (ROOMS / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                assert not any(name.startswith("feature_repo.simulator") for name in names), path
