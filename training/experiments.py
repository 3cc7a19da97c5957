"""Experiments: a model on a data set over several seeds, written where the documentation is made from."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import BadInput, unknown_name
from contracts.files import write_text_whole
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.offline import current_snapshot
from training.models import model_entry
from training.models.m3csr_config import ABLATIONS, CONNECTED, PLAIN
from training.train import TrainedVersion, train

__all__ = ["EXPERIMENTS", "Experiment", "render_results", "run_experiment", "summarise", "write_results"]

METRICS = {"recall@20": "test_recall_at_20", "precision@20": "test_precision_at_20", "ndcg@20": "test_ndcg_at_20"}
"""Reported name → name in MLflow."""


@dataclass(frozen=True)
class Experiment:
    """One row of a results table."""

    model: str
    data: str
    """Name of the data set the snapshot must have."""
    overrides: Mapping[str, object] = field(default_factory=dict)
    """Options that differ from the model's defaults."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """Metric → value in the paper's table, on its own copy of the data."""


_M3CSR_PAPER = {"recall@20": 0.1010, "precision@20": 0.0050, "ndcg@20": 0.0419}

EXPERIMENTS: dict[str, Experiment] = {
    "popularity-tiktok": Experiment("popularity", "tiktok"),
    "mf-tiktok": Experiment("mf", "tiktok"),
    "lightgcn-tiktok": Experiment("lightgcn", "tiktok", overrides={"variant": "patience-20", "patience": 20}),
    "vbpr-tiktok": Experiment("vbpr", "tiktok", paper={"recall@20": 0.0455, "precision@20": 0.0023, "ndcg@20": 0.0185}),
    "m3csr-tiktok": Experiment("m3csr", "tiktok", paper=_M3CSR_PAPER),
    # Eqs. 1-13 and every value the paper gives, beside those chosen on validation.
    "m3csr-plain-tiktok": Experiment("m3csr", "tiktok", overrides=PLAIN, paper=_M3CSR_PAPER),
    "m3csr-connected-tiktok": Experiment("m3csr", "tiktok", overrides=CONNECTED, paper=_M3CSR_PAPER),
    **{
        f"m3csr-{variant}-tiktok": Experiment("m3csr", "tiktok", overrides={"variant": variant, **options})
        for variant, options in ABLATIONS.items()
    },
}

_HEAD = """# Results

Written by `backbeat experiment` from `results.json`. Test metrics of the epoch that was best on validation; ±: sample
standard deviation over the seeds. *Paper*: the value printed in the model's paper, on its own copy of the data.
"""


def run_experiment(
    settings: Settings, home: Home, name: str, seeds: Sequence[int], docs: Path, force: bool = False
) -> list[dict[str, Any]]:
    """Train once per seed on the home's snapshot and add the outcome to ``results.json`` and ``results.md``.

    Args:
        settings: As for :func:`training.train.train`.
        home: Holds the snapshot; the caller is its writer.
        name: A name in :data:`EXPERIMENTS`.
        seeds: At least one.
        docs: Directory of the two files.
        force: Train again even where a seed has been trained before.

    Returns:
        The rows written.

    Raises:
        NotFound: The experiment is unknown.
        BadInput: The snapshot is of another data set, or there are no seeds.
    """
    if name not in EXPERIMENTS:
        raise unknown_name("experiment", name, EXPERIMENTS, next_step="run `backbeat experiment NAME` with one of them")
    experiment = EXPERIMENTS[name]
    if not seeds:
        raise BadInput(
            f"experiment {name!r}", found="no seeds", expected="at least one", next_step="give `--seeds 0,1,2`"
        )
    snapshot = current_snapshot(home)
    if snapshot.dataset != experiment.data:
        raise BadInput(
            f"experiment {name!r} on snapshot {snapshot.id}",
            found=f"data set {snapshot.dataset!r}",
            expected=repr(experiment.data),
            next_step=f"run `backbeat ingest mmssl PATH --name {experiment.data}` and the steps up to `train`",
        )
    trained = [
        train(settings, home, experiment.model, dict(experiment.overrides), seed=seed, force=force) for seed in seeds
    ]
    rows = summarise(name, trained, seeds)
    write_results(docs, rows)
    return rows


def summarise(name: str, trained: Sequence[TrainedVersion], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """One row per metric: mean and sample deviation over the seeds (none for a single seed)."""
    experiment = EXPERIMENTS[name]
    variant = experiment.overrides.get("variant", model_entry(experiment.model).config().variant)
    rows = []
    for metric, key in METRICS.items():
        values = [version.metrics[key] for version in trained]
        rows.append(
            {
                "model": experiment.model,
                "variant": variant,
                "data": experiment.data,
                "metric": metric,
                "value": round(statistics.fmean(values), 6),
                "deviation": round(statistics.stdev(values), 6) if len(values) > 1 else None,
                "seeds": list(seeds),
                "paper": experiment.paper.get(metric),
                "command": f"backbeat experiment {name} --seeds {','.join(map(str, seeds))}",
            }
        )
    return rows


def write_results(docs: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to ``results.json``, in place of older ones of the same model, variant, data and metric."""
    path = docs / "results.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    merged = {_identity(row): dict(row) for row in [*known, *rows]}
    ordered = [merged[identity] for identity in sorted(merged)]
    write_text_whole(path, json.dumps(ordered, indent=2) + "\n")
    write_text_whole(docs / "results.md", render_results(ordered))


def render_results(rows: Sequence[Mapping[str, Any]]) -> str:
    """The results as one Markdown table per data set."""
    parts = [_HEAD]
    for data in sorted({row["data"] for row in rows}):
        parts.append(f"\n## {data}\n\n| model | variant | metric | value | paper | seeds | command |")
        parts.append("|---|---|---|---|---|---|---|")
        for row in (row for row in rows if row["data"] == data):
            deviation = f" ± {row['deviation']:.4f}" if row["deviation"] is not None else ""
            paper = f"{row['paper']:.4f}" if row["paper"] is not None else "–"
            parts.append(
                f"| {row['model']} | {row['variant']} | {row['metric']} | {row['value']:.4f}{deviation} | {paper} "
                f"| {', '.join(map(str, row['seeds']))} | `{row['command']}` |"
            )
    return "\n".join(parts) + "\n"


def _identity(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return str(row["data"]), str(row["model"]), str(row["variant"]), str(row["metric"])
