"""The demo: a script of the commands a user would type, and a summary of what came of them."""

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from contracts.addresses import mlflow_tracking_url
from contracts.console import note
from contracts.database import Database
from contracts.errors import GateRefused
from contracts.home import Home
from contracts.reports import require_passed
from contracts.settings import Settings
from contracts.surfaces import PRIMARY_METRICS, VIDEO_FEED
from registry.audit import audit_log
from registry.store import ModelStore, ModelVersion

__all__ = ["MODELS", "Road", "walk"]

_PRIMARY = PRIMARY_METRICS[VIDEO_FEED]

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


_FIGURES = {
    "recall@20": "test_recall_at_20",
    "precision@20": "test_precision_at_20",
    "ndcg@20": "test_ndcg_at_20",
    "validation_recall@20": _PRIMARY,
    "train_seconds": "train_seconds",
}
"""Column of the leaderboard → metric in MLflow."""


def _leaderboard(store: ModelStore, snapshot: str) -> list[ModelVersion]:
    """Versions of a snapshot that were measured to the end, best on validation first."""
    needed = set(_FIGURES.values())
    versions = [v for v in store.versions(VIDEO_FEED) if v.snapshot == snapshot and needed <= v.metrics.keys()]
    return sorted(versions, key=lambda v: (-v.metrics[_PRIMARY], int(v.version)))


def _row(version: ModelVersion) -> dict[str, Any]:
    figures = {column: version.metrics[metric] for column, metric in _FIGURES.items()}
    return {"model": version.model, "version": version.version, **figures}


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


def _why(settings: Settings, home: Home, champion: ModelVersion, board: Sequence[ModelVersion]) -> str:
    """Its figure beside the best other one, and what the gates said when it became champion."""
    others = [v for v in board if v.version != champion.version and v.protocol == champion.protocol]
    beside = f", best other {others[0].model} with {others[0].metrics[_PRIMARY]:.4f}" if others else ""
    moves = audit_log(settings, home, VIDEO_FEED)
    move = next(m for m in moves if m["version"] == champion.version and m["after"] == "champion")
    said = "\n".join(f"  {verdict['gate']}: {verdict['sentence']}" for verdict in move["verdicts"])
    return f"validation Recall@20 {champion.metrics[_PRIMARY]:.4f}{beside}\n{said}"


def _walk(road: Road, data: Path | None, requests: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run every command; returns what the replay and the comparison found."""
    road.run("ingest", *(("mmssl", str(data)) if data else ("simulate",)))
    road.run("features", "apply")
    road.run("validate", "run")
    road.run("features", "materialize")
    for model in MODELS:
        road.run("train", model)
    road.challenge("best", "champion", "demo: best validation Recall@20")
    road.challenge("runner-up", "shadow", "demo: second best validation Recall@20")
    return road.run("shadow", "replay", "--requests", str(requests)), road.run("shadow", "report")


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
    from feature_repo.offline import current_snapshot

    home = Home.open(settings)
    default_home = settings.home == type(settings).model_fields["home"].default
    road = Road(home.root, default_home, quiet_output)
    replay, comparison = _walk(road, data, requests)

    snapshot = current_snapshot(home)
    store = ModelStore(settings, home)
    board = _leaderboard(store, snapshot.id)
    champion, shadow = store.by_alias(VIDEO_FEED, "champion"), store.by_alias(VIDEO_FEED, "shadow")
    database = Database(settings, home)
    data_docs = require_passed(database, home, snapshot.id).data_docs
    database.close()
    served = {name: replay[name] for name in ("sent", "ok", "p50_ms", "p99_ms")}
    summary = {
        "dataset": snapshot.dataset,
        "snapshot": snapshot.id,
        "leaderboard": [_row(version) for version in board],
        "champion": _holder(champion),
        "shadow": _holder(shadow),
        "requests": {**served, "overlap@10": comparison["overlap@10"]},
        "data_docs": data_docs,
        "home": str(home.root),
        "seconds": round(road.seconds, 1),
    }
    roles = {v.version: role for v, role in ((shadow, "shadow"), (champion, "champion")) if v is not None}
    why = ""
    if champion is not None:
        why = f"Champion: {champion.model}, version {champion.version}: {_why(settings, home, champion, board)}\n"
    return summary, _closing(summary, roles, why, mlflow_tracking_url(settings, home))


def _closing(summary: dict[str, Any], roles: dict[str, str], why: str, mlflow_url: str) -> str:
    served, overlap = summary["requests"], summary["requests"]["overlap@10"]
    if not mlflow_url.startswith("http"):
        mlflow_url = make_url(mlflow_url).render_as_string(hide_password=True)
    lines = [
        "",
        f"Leaderboard on {summary['dataset']} (test split; ordered by validation Recall@20)",
        *_table(summary["leaderboard"], roles),
        "",
        f"{why}Served:   {served['ok']} of {served['sent']} requests, p50 {served['p50_ms']:.1f} ms, "
        f"p99 {served['p99_ms']:.1f} ms; overlap@10 with the shadow "
        + (f"{overlap:.2f}" if overlap is not None else "not measured"),
        "",
        f"Data docs:  {summary['data_docs']}",
        f"MLflow UI:  mlflow ui --backend-store-uri {mlflow_url}",
        "Next:       backbeat models list          what is registered",
        "            backbeat train lightgcn --set learning_rate=0.002",
        "            backbeat serve                answer requests until Ctrl-C",
        f"Took {summary['seconds']:.0f} s; everything is in {summary['home']}",
    ]
    return "\n".join(lines)
