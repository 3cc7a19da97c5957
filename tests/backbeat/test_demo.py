"""The main job on a small data set, as a user runs it, twice on one home."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.home import Home
from contracts.settings import load_settings

REQUESTS = 40


def demo(data: Path, home: Path) -> subprocess.CompletedProcess[str]:
    command = ["demo", "--data", str(data), "--requests", str(REQUESTS), "--home", str(home), "--json"]
    return subprocess.run(
        [sys.executable, "-m", "backbeat", *command], capture_output=True, text=True, timeout=500, check=True
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_mmssl: Callable[..., Path]) -> Path:
    return make_mmssl(tmp_path_factory.mktemp("data") / "blocks")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "home"


@pytest.fixture(scope="module")
def first(data: Path, home: Path) -> subprocess.CompletedProcess[str]:
    return demo(data, home)


@pytest.fixture(scope="module")
def second(data: Path, home: Path, first: object) -> subprocess.CompletedProcess[str]:
    return demo(data, home)


def test_the_summary_is_one_document(first: subprocess.CompletedProcess[str], home: Path) -> None:
    summary = json.loads(first.stdout)
    assert {row["model"] for row in summary["leaderboard"]} == {"popularity", "mf", "lightgcn", "vbpr", "m3csr"}
    for row in summary["leaderboard"]:
        assert {"model", "version", "recall@20", "precision@20", "ndcg@20", "train_seconds"} <= row.keys()
        assert 0 < row["recall@20"] <= 1
    assert summary["champion"]["version"] != summary["shadow"]["version"]
    assert summary["requests"]["sent"] == summary["requests"]["ok"] == REQUESTS
    assert 0 < summary["requests"]["p50_ms"] <= summary["requests"]["p99_ms"]
    assert 0 <= summary["requests"]["overlap@10"] <= 1
    assert summary["home"] == str(home)
    assert Path(summary["data_docs"]).is_file()


def test_the_best_on_validation_is_champion_and_the_next_is_shadow(first: subprocess.CompletedProcess[str]) -> None:
    summary = json.loads(first.stdout)
    ranked = [row["version"] for row in summary["leaderboard"]]
    figures = [row["validation_recall@20"] for row in summary["leaderboard"]]
    assert figures == sorted(figures, reverse=True)
    assert [summary["champion"]["version"], summary["shadow"]["version"]] == ranked[:2]


def test_each_command_is_printed_before_it_runs(
    first: subprocess.CompletedProcess[str], data: Path, home: Path
) -> None:
    typed = [line.removesuffix(f" --home {home}") for line in first.stderr.splitlines() if line.startswith("$ ")]
    assert typed[:4] == [
        f"$ backbeat ingest mmssl {data}",
        "$ backbeat features apply",
        "$ backbeat validate run",
        "$ backbeat features materialize",
    ]
    assert [line.split()[3] for line in typed if " train " in line] == ["popularity", "mf", "lightgcn", "vbpr", "m3csr"]
    assert typed[-1] == "$ backbeat shadow report"


def test_no_library_speaks_up(first: subprocess.CompletedProcess[str]) -> None:
    said = first.stderr.lower()
    assert not [word for word in ("warning", "deprecat", "traceback", "nanobind", "telemetry") if word in said]


def test_a_second_run_goes_on_from_the_first(first, second: subprocess.CompletedProcess[str]) -> None:
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    for part in ("snapshot", "leaderboard", "champion", "shadow", "data_docs"):
        assert two[part] == one[part]
    assert "champion already; nothing changed" in second.stderr


def test_the_response_rows_of_both_runs_are_there(second, home: Path) -> None:
    from contracts.database import Database
    from contracts.platform import ResponseRow, ShadowReportRow, ShadowRow

    settings = load_settings(home=home)
    with Database(settings, Home.open(settings)).session() as session:
        assert session.query(ResponseRow).count() == session.query(ShadowRow).count() == 2 * REQUESTS
        assert session.query(ShadowReportRow).count() == 2


def test_a_refused_challenger_leaves_the_champion(second, home: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from backbeat.demo import Road
    from registry.store import ModelStore

    settings = load_settings(home=home)
    store = ModelStore(settings, Home.open(settings))
    champion = store.by_alias("video-feed", "champion")
    worst = json.loads(second.stdout)["leaderboard"][-1]["version"]
    Road(home, default_home=False, quiet=True).challenge(worst, "champion", "a worse one")
    assert "refused" in capsys.readouterr().err
    assert store.by_alias("video-feed", "champion") == champion
