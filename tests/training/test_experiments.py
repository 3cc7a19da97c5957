import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.offline import write_snapshot
from feature_repo.simulator import simulate
from training.experiments import EXPERIMENTS, render_results, run_experiment, summarise, write_results
from training.models import MODELS
from training.train import TrainedVersion


def trained(recall: float) -> TrainedVersion:
    metrics = {"test_recall_at_20": recall, "test_precision_at_20": recall / 20, "test_ndcg_at_20": recall / 2}
    return TrainedVersion("video-feed", "1", "vbpr", metrics, "run", reused=False)


def row(**changes: Any) -> dict[str, Any]:
    return {**summarise("vbpr-tiktok", [trained(0.04)], [0])[0], **changes}


def test_experiments_name_models_and_their_options() -> None:
    for experiment in EXPERIMENTS.values():
        MODELS[experiment.model].config(**experiment.overrides)


def test_the_plain_reading_stands_beside_the_tuned_one() -> None:
    plain, tuned = (EXPERIMENTS[f"m3csr-{part}tiktok"] for part in ("plain-", ""))
    config = MODELS["m3csr"].config
    given = config(**plain.overrides)
    assert (given.variant, config(**tuned.overrides).variant) == ("plain", "tuned")
    # Section 5.1.4 of the paper.
    values = ("dimension", "batch_size", "learning_rate", "orthogonality", "regularisation", "temperature", "patience")
    assert [getattr(given, name) for name in values] == [64, 1024, 1e-3, 1e-6, 1e-5, 0.07, 10]
    assert plain.paper == tuned.paper


def test_experiments_of_one_model_differ_in_their_variant() -> None:
    kinds = [(e.model, e.data, MODELS[e.model].config(**e.overrides).variant) for e in EXPERIMENTS.values()]
    assert len(set(kinds)) == len(kinds)


def test_mean_and_sample_deviation_by_hand() -> None:
    rows = summarise("vbpr-tiktok", [trained(0.04), trained(0.05), trained(0.06)], [0, 1, 2])
    assert [r["metric"] for r in rows] == ["recall@20", "precision@20", "ndcg@20"]
    assert rows[0] == {
        "model": "vbpr",
        "variant": "default",
        "data": "tiktok",
        "metric": "recall@20",
        "value": 0.05,
        "deviation": 0.01,
        "seeds": [0, 1, 2],
        "paper": 0.0455,
        "command": "backbeat experiment vbpr-tiktok --seeds 0,1,2",
    }


def test_one_seed_has_no_deviation() -> None:
    assert row()["deviation"] is None


def test_rows_replace_older_ones_of_the_same_kind(tmp_path: Path) -> None:
    write_results(tmp_path, [row(), row(metric="ndcg@20", value=0.02)])
    write_results(tmp_path, [row(value=0.05), row(data="other")])
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [(r["data"], r["metric"], r["value"]) for r in rows] == [
        ("other", "recall@20", 0.04),
        ("tiktok", "ndcg@20", 0.02),
        ("tiktok", "recall@20", 0.05),
    ]
    assert (tmp_path / "results.md").read_text() == render_results(rows)


def test_table_shows_deviation_paper_and_command() -> None:
    text = render_results([row(deviation=0.002), row(metric="ndcg@20", paper=None)])
    assert "| vbpr | default | recall@20 | 0.0400 ± 0.0020 | 0.0455 | 0 | `backbeat experiment vbpr-tiktok" in text
    assert "| vbpr | default | ndcg@20 | 0.0400 | – | 0 |" in text


def test_unknown_experiment_names_the_nearest(settings: Settings, home: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"experiment 'lightgcn-tiktk': .*expected 'lightgcn-tiktok'"):
        run_experiment(settings, home, "lightgcn-tiktk", [0], tmp_path)


def test_no_seeds_are_refused(settings: Settings, home: Home, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="experiment 'mf-tiktok': found no seeds"):
        run_experiment(settings, home, "mf-tiktok", [], tmp_path)


def test_another_data_set_is_refused(settings: Settings, home: Home, tmp_path: Path) -> None:
    with home.writing("tests"):
        write_snapshot(home, simulate(users=60, videos=80, days=4, seed=0, events=900))
    with pytest.raises(BadInput, match="found data set 'simulated'; expected 'tiktok'"):
        run_experiment(settings, home, "mf-tiktok", [0], tmp_path)
    assert not (tmp_path / "results.json").exists()
