"""The demo: a script of the commands a user would type, and a summary of what came of them."""

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.addresses import mlflow_tracking_url
from contracts.console import note
from contracts.database import Database
from contracts.errors import GateRefused
from contracts.home import Home
from contracts.reports import require_passed
from contracts.settings import Settings
from contracts.surfaces import PRIMARY_METRIC
from registry.store import ModelStore, ModelVersion

__all__ = ["MODELS", "SURFACE", "Road", "walk"]

SURFACE = "video-feed"

MODELS = ("popularity", "mf", "lightgcn", "vbpr", "m3csr")
"""Trained in this order."""

_BAR_WIDTH = 24


@dataclass
class Road:
    """Runs command lines in this process, so that the libraries are loaded once."""

    home: Path
    default_home: bool
    quiet: bool
    seconds: float = 0.0

    def run(self, *arguments: str) -> Any:
        """Print a command line, run it, say how long it took."""
        from backbeat.cli import invoke

        typed = [*arguments] if self.default_home else [*arguments, "--home", str(self.home)]
        note(f"\n$ backbeat {shlex.join(typed)}")
        started = time.monotonic()
        with redirect_stdout(sys.stderr) if self.quiet else nullcontext():
            result = invoke(typed)
        taken = time.monotonic() - started
        self.seconds += taken
        note(f"  ({taken:.1f} s)")
        return result

    def challenge(self, selector: str, alias: str, reason: str) -> None:
        """Try to promote; a refusal leaves the holder in place, which is the point of a gate."""
        try:
            self.run("models", "promote", selector, "--to", alias, "--reason", reason)
        except GateRefused as refusal:
            note(f"  refused: {refusal}")


def _leaderboard(store: ModelStore, snapshot: str) -> list[ModelVersion]:
    versions = [v for v in store.versions(SURFACE) if v.snapshot == snapshot]
    return sorted(versions, key=lambda v: (-v.metrics.get(PRIMARY_METRIC, 0.0), int(v.version)))


def _row(version: ModelVersion) -> dict[str, Any]:
    metrics = version.metrics
    return {
        "model": version.model,
        "version": version.version,
        "recall@20": metrics["test_recall_at_20"],
        "precision@20": metrics["test_precision_at_20"],
        "ndcg@20": metrics["test_ndcg_at_20"],
        "validation_recall@20": metrics[PRIMARY_METRIC],
        "train_seconds": metrics["train_seconds"],
    }


def _holder(version: ModelVersion | None) -> dict[str, Any] | None:
    if version is None:
        return None
    return {"model": version.model, "version": version.version, "snapshot": version.snapshot, "run_id": version.run_id}


def _table(rows: Sequence[dict[str, Any]], roles: dict[str, str]) -> list[str]:
    best = max((row["recall@20"] for row in rows), default=0.0) or 1.0
    lines = [f"{'model':<11} {'version':>7}  {'Recall@20':>9} {'Prec@20':>8} {'NDCG@20':>8} {'seconds':>8}"]
    for row in rows:
        bar = "█" * round(_BAR_WIDTH * row["recall@20"] / best)
        lines.append(
            f"{row['model']:<11} {row['version']:>7}  {row['recall@20']:>9.4f} {row['precision@20']:>8.4f} "
            f"{row['ndcg@20']:>8.4f} {row['train_seconds']:>8.1f}  {bar:<{_BAR_WIDTH}} {roles.get(row['version'], '')}"
        )
    return lines


def _why(champion: ModelVersion, board: Sequence[ModelVersion]) -> str:
    rivals = [v for v in board if v.version != champion.version]
    figure = champion.metrics.get(PRIMARY_METRIC, float("nan"))
    if not rivals:
        return f"the only version on this snapshot (validation Recall@20 {figure:.4f})"
    rival = rivals[0]
    return (
        f"validation Recall@20 {figure:.4f}, next {rival.model} (version {rival.version}) with "
        f"{rival.metrics.get(PRIMARY_METRIC, float('nan')):.4f}; package, validation and metric gates passed"
    )


def walk(settings: Settings, data: Path | None, requests: int, *, quiet_output: bool) -> tuple[dict[str, Any], str]:
    """Take a data set to a served champion with a shadow.

    Args:
        settings: Names the home.
        data: Folder in the MMSSL layout; None simulates a small platform.
        requests: Number of requests to send to the champion.
        quiet_output: Send the commands' own results to standard error, so that standard output stays one document.

    Returns:
        The summary as a document, and as text.
    """
    home = Home.open(settings)
    default_home = settings.home == type(settings).model_fields["home"].default
    road = Road(home.root, default_home, quiet_output)

    road.run("ingest", *(("mmssl", str(data)) if data else ("simulate",)))
    road.run("features", "apply")
    road.run("validate", "run")
    road.run("features", "materialize")
    for model in MODELS:
        road.run("train", model)
    road.challenge("best", "champion", "demo: best validation Recall@20")
    road.challenge("runner-up", "shadow", "demo: second best validation Recall@20")
    replay = road.run("shadow", "replay", "--requests", str(requests))
    comparison = road.run("shadow", "report")

    from feature_repo.offline import current_snapshot

    snapshot = current_snapshot(home)
    store = ModelStore(settings, home)
    board = _leaderboard(store, snapshot.id)
    rows = [_row(version) for version in board]
    champion, shadow = store.by_alias(SURFACE, "champion"), store.by_alias(SURFACE, "shadow")
    report = require_passed(Database(settings, home), snapshot.id)
    summary = {
        "dataset": snapshot.dataset,
        "snapshot": snapshot.id,
        "leaderboard": rows,
        "champion": _holder(champion),
        "shadow": _holder(shadow),
        "requests": {
            "sent": replay["sent"],
            "ok": replay["ok"],
            "p50_ms": replay["p50_ms"],
            "p99_ms": replay["p99_ms"],
            "overlap@10": comparison["overlap@10"],
        },
        "data_docs": report.data_docs,
        "home": str(home.root),
        "seconds": round(road.seconds, 1),
    }
    roles = {v.version: role for v, role in ((shadow, "shadow"), (champion, "champion")) if v is not None}
    lines = [
        "",
        f"Leaderboard on {snapshot.dataset} (test split; ordered by validation Recall@20)",
        *_table(rows, roles),
    ]
    if champion is not None:
        lines += ["", f"Champion: {champion.model}, version {champion.version}: {_why(champion, board)}"]
    overlap = comparison["overlap@10"]
    lines += [
        f"Served:   {replay['ok']} of {replay['sent']} requests, p50 {replay['p50_ms']:.1f} ms, "
        f"p99 {replay['p99_ms']:.1f} ms; overlap@10 with the shadow "
        + (f"{overlap:.2f}" if overlap is not None else "not measured"),
        "",
        f"Data docs:  {report.data_docs}",
        f"MLflow UI:  mlflow ui --backend-store-uri {mlflow_tracking_url(settings, home)}",
        "Next:       backbeat models list          what is registered",
        "            backbeat train lightgcn --set learning_rate=0.002",
        "            backbeat serve                answer requests until Ctrl-C",
        f"Took {road.seconds:.0f} s; everything is in {home.root}",
    ]
    return summary, "\n".join(lines)
