"""Writes ``docs/reference.md`` from the code: commands, settings, models and their options, gates, suites, exit codes.

``make docs`` writes the page; a test compares it.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from backbeat.cli import INTERRUPTED, app
from contracts import errors
from contracts.clock import utc_now
from contracts.home import Home
from contracts.settings import PREFIX, Settings
from contracts.surfaces import PRIMARY_METRICS, VIDEO_FEED
from feature_repo.offline import write_snapshot
from feature_repo.simulator import simulate
from registry.policy import load_policy
from registry.thresholds import GATE_NAMES, MOVES
from serving.openapi import openapi_document
from training.models import MODELS
from validation.judge import judge, rules_of
from validation.material import Baseline, Material, history_key
from validation.probes import Probe
from validation.suites import SUITES

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).with_name("reference.md")

_HEAD = "# Reference\n\nWritten by `make docs` from the code; a test compares.\n"


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(titles)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines) + "\n"


def _first_line(text: str | None) -> str:
    paragraph = (text or "").strip().split("\n\n")[0]
    return " ".join(paragraph.split()).partition(" Example: ")[0].replace("``", "`")


def _commands() -> Iterator[tuple[str, str]]:
    for command in app.registered_commands:
        callback: Any = command.callback
        yield f"`backbeat {command.name or callback.__name__}`", _first_line(callback.__doc__)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            for command in group.typer_instance.registered_commands:
                callback = command.callback
                name = command.name or callback.__name__
                yield f"`backbeat {group.name} {name}`", _first_line(callback.__doc__)


def _fields(model: type[BaseModel], prefix: str = "", *, upper: bool = False) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else f"`{field.default}`"
        yield f"`{prefix}{name.upper() if upper else name}`", default, _first_line(field.description)


def _exit_codes() -> Iterator[tuple[str, str, str, str]]:
    yield "0", "", "", "It worked."
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.BackbeatError) and kind is not errors.BackbeatError:
            yield str(kind.exit_code), f"`{kind.code}`", str(kind.http_status), _first_line(kind.__doc__)
    yield str(INTERRUPTED), "", "", "Interrupted by Ctrl-C."


def _gates() -> Iterator[tuple[str, str, str]]:
    """By the policy of the video feed as it is shipped."""
    nowhere = Path("/nowhere")
    local, production = (
        load_policy(Settings(home=nowhere, profile=profile), Home(nowhere)).of(VIDEO_FEED)
        for profile in ("local", "production")
    )
    rules = production.rules(PRIMARY_METRICS[VIDEO_FEED]) | {"approval": [production.move("champion").rule]}
    for name in GATE_NAMES:
        asked = [move for move in MOVES if name in local.move(move).gates]
        more = [move for move in MOVES if name in production.move(move).gates and move not in asked]
        yield f"`{name}`", ", ".join([*asked, *(f"{move} (production)" for move in more)]), "; ".join(rules[name])


def _rules() -> Iterator[tuple[str, str, str]]:
    """The rules that a small simulated platform is held against when three snapshots were accepted before."""
    raw = simulate(users=40, videos=400, days=5, seed=1, events=400)
    with TemporaryDirectory() as directory:
        home = Home(Path(directory) / "home")
        with home.writing("make docs"):
            snapshot, _ = write_snapshot(home, raw)
    fewer = {name: rows.slice(0, 300) if name.startswith("embedding_") else rows for name, rows in raw.tables.items()}
    judged = judge(Material(snapshot, fewer, utc_now()))
    history = {history_key(snapshot, table) or table: [found] * 3 for table, found in judged.statistics.items()}
    material = Material(
        snapshot,
        raw.tables,
        utc_now(),
        Baseline(snapshot, judged.profiles, history),
        probes={name: Probe(probed=1, worst=0.0, drift=0.0, stale=("v1",)) for name in snapshot.embeddings},
        expected={"champion": snapshot.video_modalities},
    )
    suites: dict[tuple[str, bool], dict[str, None]] = {}
    for name, _, rule in rules_of(material):
        suites.setdefault((rule.expectation.description, rule.compared), {})[f"`{name}`"] = None
    for (words, compared), names in suites.items():
        yield words, ", ".join(names), "accepted snapshots" if compared else ""


def _endpoints() -> Iterator[tuple[str, str]]:
    for path, methods in openapi_document()["paths"].items():
        for method, facts in methods.items():
            yield f"`{method.upper()} {path}`", facts["summary"]


def render() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        "## Commands\n\nEvery command has `--help`, `--home` and `--json`.\n",
        _table(("command", "what it does"), sorted(_commands())),
        "## Settings\n\nRead from the environment; unknown names with this prefix are refused.\n",
        _table(("variable", "default", "meaning"), _fields(Settings, PREFIX, upper=True)),
        "## Models\n\n`backbeat train MODEL --set option=value`\n",
    ]
    for name, entry in MODELS.items():
        about = _first_line(sys.modules[entry.model.__module__].__doc__)
        parts.append(f"### {name}\n\n{about} Feature service: `{entry.feature_service}`.\n")
        parts.append(_table(("option", "default", "meaning"), _fields(entry.config)))
    parts += [
        "## Validation suites\n",
        ", ".join(f"`{name}` (version {suite.version})" for name, suite in SUITES.items()) + ".\n",
        "The rules for a simulated platform. Those that need accepted snapshots are left out without any.\n",
        _table(("rule", "suites", "needs"), _rules()),
        "## Promotion gates\n",
        _table(("gate", "asked for", "rule"), _gates()),
        "## Endpoints of the service\n",
        _table(("endpoint", "what it does"), _endpoints()),
        "## Exit codes\n",
        _table(("exit code", "code in JSON", "HTTP status", "meaning"), _exit_codes()),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
