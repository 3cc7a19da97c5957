"""The commands as a user types them: what they print, what they leave alone, and what they do not let through."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from contracts.database import Database
from contracts.errors import BackbeatError, BadInput, HomeBusy, NotFound
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.commands import features, ingest

app = typer.Typer()
app.add_typer(ingest, name="ingest")
app.add_typer(features, name="features")


def run(*arguments: str) -> dict[str, Any]:
    """Run a command with --json, passing on what it raises."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    if isinstance(result.exception, BackbeatError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_the_road_to_the_online_store(
    home: Home, database: Database, passed: Callable[..., None], mmssl_reference: Path
) -> None:
    where = ("--home", str(home.root))
    first = run("ingest", "mmssl", str(mmssl_reference), "--name", "tiny", *where)
    assert (first["outcome"], first["dataset"], first["tables"]["videos"]) == ("created", "tiny", 40)
    assert run("ingest", "mmssl", str(mmssl_reference), *where)["outcome"] == "unchanged"
    renamed = run("ingest", "mmssl", str(mmssl_reference), "--name", "other", *where)
    assert (renamed["outcome"], renamed["dataset"]) == ("created", "other")
    assert run("ingest", "mmssl", str(mmssl_reference), *where)["snapshot"] == first["snapshot"]
    assert run("features", "apply", *where)["outcome"] == "applied"
    assert run("features", "status", *where)["materialized"] is None
    passed(database, first["snapshot"])
    assert run("features", "materialize", *where)["outcome"] == "materialized"
    assert run("features", "materialize", *where)["outcome"] == "unchanged"
    status = run("features", "status", *where)
    assert (status["applied"], status["validated"], status["materialized"]) == (True, "passed", "done")


def test_text_for_people(home: Home) -> None:
    for arguments, words in (
        (["ingest", "simulate", "--users", "30", "--videos", "60", "--events", "300"], ["created", "interactions"]),
        (["features", "status"], ["simulated", "no: run `backbeat features apply`"]),
        (["features", "apply"], ["applied", "user_history", "m3csr_v1"]),
        (["features", "status"], ["applied       yes", "no: run `backbeat validate run`"]),
    ):
        result = CliRunner().invoke(app, [*arguments, "--home", str(home.root)])
        assert result.exit_code == 0, result.output
        for word in words:
            assert word in result.output


@pytest.mark.parametrize("group", ["ingest", "features"])
def test_every_command_has_help_with_an_example(group: str) -> None:
    for command in {"ingest": ingest, "features": features}[group].registered_commands:
        result = CliRunner().invoke(app, [group, str(command.name), "--help"])
        assert result.exit_code == 0
        assert f"backbeat {group} {command.name}" in " ".join(result.output.split())
        assert "--json" in result.output


def test_bad_input_leaves_no_home(home: Home, mmssl_reference: Path, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(mmssl_reference, tmp_path / "spoiled"))
    np.save(spoiled / "image_feat.npy", np.full((40, 2), np.nan))
    with pytest.raises(BadInput, match="NaN or infinity"):
        run("ingest", "mmssl", str(spoiled), "--home", str(home.root))
    with pytest.raises(BadInput, match="option --users"):
        run("ingest", "simulate", "--users", "1", "--home", str(home.root))
    with pytest.raises(NotFound, match="found nothing there"):
        run("features", "apply", "--home", str(home.root))
    with pytest.raises(NotFound, match="found nothing there"):
        run("features", "materialize", "--home", str(home.root))
    assert not home.root.exists()


def test_two_writers(home: Home, mmssl_reference: Path) -> None:
    with home.writing("backbeat ingest other"), pytest.raises(HomeBusy, match="backbeat ingest other"):
        run("ingest", "mmssl", str(mmssl_reference), "--home", str(home.root))


SCRIPT = """
import sys
from contracts.process import prepare_process
prepare_process()
from contracts.current import current_snapshot_id
from contracts.home import Home
from contracts.settings import load_settings
settings = load_settings(home=sys.argv[1])
home = Home.open(settings)
from feature_repo.apply import apply_features
from feature_repo.frame import load_unjudged_frame
from feature_repo.materialize import materialize
from feature_repo.online import OnlineFeatures
with home.writing("test"):
    apply_features(settings, home)
    materialize(settings, home, force=True)
load_unjudged_frame(settings, home, "m3csr_v1")
OnlineFeatures(settings, home, current_snapshot_id(home)).user_history(["u1"])
import gc
gc.freeze()
"""


def test_no_noise_of_third_parties_reaches_the_user(featured: Any, tmp_path: Path) -> None:
    """Feast prints, colours and warns; DuckDB lists leaks at exit. A process of ours says only what we say."""
    copy = tmp_path / "home"
    shutil.copytree(featured.home.root, copy)
    marker = json.loads((copy / "home.json").read_text())
    (copy / "home.json").write_text(json.dumps(marker | {"root": str(copy)}))  # a copy is refused otherwise
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(copy)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if "materializing feature views" not in line] == []


def test_commands_import_nothing_heavy(settings: Settings) -> None:
    code = (
        "import feature_repo.commands, sys; "
        "print({'feast', 'torch', 'pandas', 'pyarrow', 'numpy', 'sqlalchemy', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
