"""Tables run on the real MLflow, Feast and disk."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from contracts.addresses import mlflow_tracking_url
from contracts.errors import BadInput, NotFound, StorageFull, ValidationFailed
from contracts.home import Home
from contracts.settings import Settings
from contracts.surfaces import Tag
from feature_repo.offline import write_snapshot
from feature_repo.simulator import simulate
from training.experiments.pages import read_results
from training.experiments.runner import run_table
from training.experiments.tables import Column, Row, Table
from training.protocols import Protocol
from training.splits import LeaveOneOut
from training.studies import Study

WithRows = Callable[..., Table]


def runs(settings: Settings, home: Home) -> list[Run]:
    mlflow = MlflowClient(mlflow_tracking_url(settings, home))
    return list(mlflow.search_runs([experiment.experiment_id for experiment in mlflow.search_experiments()]))


def test_a_table_is_trained_written_and_tracked(
    ready: Home, settings: Settings, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_table(settings, ready, table, [0, 1], tmp_path)

    chance, popularity, mf, printed = result.rows
    # One held-out video of 64, of which seven are no candidates.
    assert [seed.figures["R@20"] for seed in chance.seeds] == [pytest.approx(20 / 57)]
    assert chance.seconds is None
    assert [seed.seed for seed in mf.seeds] == [seed.seed for seed in popularity.seeds] == [0, 1]
    assert mf.figure("R@20").mean > popularity.figure("R@20").mean  # type: ignore[union-attr]
    assert mf.measured is not None
    assert (mf.measured.model, mf.measured.options) == ("mf", {"dimension": 8, "max_epochs": 3})
    assert set(result.protocols) == {mf.measured.protocol}
    assert not printed.seeds
    assert printed.not_run is None
    assert result.command == "backbeat experiment small --seeds 0,1"
    assert "small, row 3 of 3: MF" in capsys.readouterr().err

    assert read_results(tmp_path) == {"small": result}
    assert "| MF | **0.9000** |" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "images" / "results" / "small.png").stat().st_size > 10_000

    (parent,) = [run for run in runs(settings, ready) if run.data.tags.get("backbeat.table") == "small"]
    children = {run.info.run_id for run in runs(settings, ready) if MLFLOW_PARENT_RUN_ID in run.data.tags}
    assert children == {seed.run_id for row in (popularity, mf) for seed in row.seeds}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["MF/R_20"] == pytest.approx(mf.figure("R@20").mean)  # type: ignore[union-attr]
    files = Path(parent.info.artifact_uri.removeprefix("file://"))
    assert {path.name for path in files.iterdir()} == {"small.md", "small.json", "small.png"}
    assert json.loads((files / "small.json").read_text())["snapshot"] == result.snapshot


def test_a_second_run_trains_nothing(ready: Home, settings: Settings, table: Table, tmp_path: Path) -> None:
    first = run_table(settings, ready, table, [0], tmp_path)
    before = len(runs(settings, ready))
    again = run_table(settings, ready, table, [0], tmp_path)
    assert again.rows == first.rows
    assert len(runs(settings, ready)) == before + 1  # the table's own
    more = run_table(settings, ready, table, [0, 1], tmp_path, rows=["MF"])
    assert [seed.version for seed in more.rows[2].seeds] == ["2", "3"]
    forced = run_table(settings, ready, table, [0], tmp_path, rows=["MF"], force=True)
    assert [seed.version for seed in forced.rows[2].seeds] == ["4"]
    assert forced.command == "backbeat experiment small --seeds 0", "what measures the whole table"


def test_rows_that_are_not_asked_for_keep_what_was_measured_of_just_them(
    ready: Home, settings: Settings, table: Table, with_rows: WithRows, tmp_path: Path
) -> None:
    first = run_table(settings, ready, table, [0], tmp_path, rows=["Popularity"])
    assert [row.not_run for row in first.rows] == ["not asked for yet", None, "not asked for yet", None]
    second = run_table(settings, ready, table, [0], tmp_path, rows=["Chance"])
    assert second.rows[1].seeds == first.rows[1].seeds
    # Other options, another protocol: what was measured says nothing of these.
    other = Study(LeaveOneOut(), Protocol((20,), negatives=None, stopping="recall_at_20", seed=0))
    for row in (replace(table.rows[1], overrides={"variant": "other"}), replace(table.rows[1], study=other)):
        changed = run_table(settings, ready, with_rows(table.rows[0], row), [0], tmp_path / "two", rows=["Chance"])
        assert changed.rows[1].not_run == "not asked for yet"
        assert not changed.rows[1].seeds


def test_each_seed_may_draw_what_it_holds_out(
    ready: Home, settings: Settings, table: Table, with_rows: WithRows, tmp_path: Path
) -> None:
    def drawn(seed: int) -> Study:
        return Study(LeaveOneOut(seed), Protocol((20,), negatives=9, stopping="recall_at_20", seed=seed))

    redrawn = replace(with_rows(table.rows[1]), study=drawn(0), draws=drawn)
    result = run_table(settings, ready, redrawn, [0, 1], tmp_path)
    digests = {
        run.data.tags[Tag.SEED]: run.data.tags[Tag.PROTOCOL]
        for run in runs(settings, ready)
        if Tag.SEED in run.data.tags
    }
    assert digests["0"] != digests["1"]
    assert list(result.protocols) == [digests["0"]]
    assert "drawn anew for each seed" in result.protocols[digests["0"]]


def test_a_row_that_cannot_be_trained_says_why(
    ready: Home, settings: Settings, with_rows: WithRows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (
        Row("Text", "iris", {"views": "textual", "variant": "text"}),
        Row("Unknown", "no-such-model"),
        Row("Typo", "mf", {"dimensio": 3}),
        Row("Zero", "mf", {"dimension": 0}),
        Row("Diverging", "mf", {"dimension": 4, "learning_rate": 1e30, "max_epochs": 3}),
        Row("Popularity", "popularity"),
    )
    result = run_table(settings, ready, with_rows(*rows), [0, 1], tmp_path)
    reasons = [row.not_run for row in result.rows]
    assert reasons[:4] == [
        "iris modality 'textual': found no iris modality of that name",
        "model 'no-such-model': found no model of that name",
        "mf option 'dimensio': found no mf option of that name",
        "mf option 'dimension': found 0",
    ]
    assert str(reasons[4]).startswith("seed 0: ")
    assert "; seed 1: " in str(reasons[4])
    assert [bool(row.seeds) for row in result.rows] == [False] * 5 + [True]
    kept = run_table(settings, ready, with_rows(*rows), [0], tmp_path, rows=["Popularity"])
    assert [row.not_run for row in kept.rows] == reasons
    assert "not run: iris modality 'textual'" in capsys.readouterr().err


def test_a_column_that_no_run_measures_stays_empty(
    ready: Home, settings: Settings, table: Table, tmp_path: Path
) -> None:
    rows = (table.rows[1],)
    columns = (Column("R@5", "test_recall_at_5"), *table.columns)
    result = run_table(settings, ready, replace(table, rows=rows, columns=columns), [0], tmp_path)
    assert result.rows[0].figure("R@5") is None
    assert result.rows[0].figure("R@20") is not None
    result = run_table(settings, ready, replace(table, rows=rows, columns=columns[:1]), [0], tmp_path)
    assert result.rows[0].not_run == "columns of table small: found no finite metric test_recall_at_5"


def test_a_full_disk_ends_the_run(
    ready: Home, settings: Settings, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFull("the disk", found="no space", expected="room", next_step="free some")

    monkeypatch.setattr("training.experiments.runner.train", full)
    with pytest.raises(StorageFull, match="the disk: found no space"):
        run_table(settings, ready, table, [0], tmp_path)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(("seeds", "found"), [([], "no seeds"), ([0, 1, 0], "seed 0 more than once")])
def test_seeds_that_give_no_deviation_are_refused(
    settings: Settings, home: Home, table: Table, tmp_path: Path, seeds: list[int], found: str
) -> None:
    with pytest.raises(BadInput, match=rf"experiment 'small': found {found}"):
        run_table(settings, home, table, seeds, tmp_path)


def test_another_data_set_is_refused(settings: Settings, home: Home, table: Table, tmp_path: Path) -> None:
    with home.writing("tests"):
        write_snapshot(home, simulate(users=60, videos=80, days=4, seed=0, events=900))
    with pytest.raises(
        BadInput, match=r"found data set 'simulated'; expected 'blocks'.*`backbeat ingest mmssl blocks`"
    ):
        run_table(settings, home, table, [0], tmp_path)
    with pytest.raises(ValidationFailed):
        run_table(settings, home, replace(table, data="simulated"), [0], tmp_path)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("name", ["MFF", "Printed"])
def test_a_row_that_cannot_be_run_is_refused(
    settings: Settings, home: Home, table: Table, tmp_path: Path, name: str
) -> None:
    with pytest.raises(NotFound, match=rf"row of small '{name}': .*MF, Popularity"):
        run_table(settings, home, table, [0], tmp_path, rows=[name])


def test_rows_are_named_with_their_group_where_labels_recur(
    ready: Home, settings: Settings, with_rows: WithRows, tmp_path: Path
) -> None:
    grouped = with_rows(*(Row("Popularity", "popularity", group=group) for group in ("few", "many")))
    result = run_table(settings, ready, grouped, [0], tmp_path, rows=["many/Popularity"])
    assert [bool(row.seeds) for row in result.rows] == [False, True]
    result = run_table(settings, ready, grouped, [0], tmp_path, rows=["Popularity"])
    assert [bool(row.seeds) for row in result.rows] == [True, True]
