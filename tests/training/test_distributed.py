"""Processes that torchrun starts; what each of them learns is in ``test_ranks.py``."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.errors import BadInput
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.apply import apply_features
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from tests.verdicts import judge
from training.distributed import main, train_together
from training.train import train


def test_a_process_without_a_group_is_refused(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(
        BadInput, match="distributed training: found a process without a group; expected one of several"
    ):
        train_together(settings, "mf", {}, seed=0)
    monkeypatch.setenv("BACKBEAT_HOME", str(settings.home))
    assert main(["mf", "dimension=8"]) == BadInput.exit_code
    assert "run `torchrun" in capsys.readouterr().err


def test_an_option_without_a_value_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKBEAT_HOME", str(tmp_path / "home"))
    assert main(["mf", "dimension"]) == BadInput.exit_code
    assert "option 'dimension': found no `=`; expected NAME=VALUE" in capsys.readouterr().err


def test_torchrun_trains_what_one_process_does(
    settings: Settings,
    home: Home,
    make_mmssl: Callable[..., Path],
    tmp_path: Path,
) -> None:
    options = {"dimension": "8", "batch_size": "100", "max_epochs": "2", "clusters": "4"}
    with home.writing("tests"):
        snapshot, _ = write_snapshot(home, read_mmssl(make_mmssl(tmp_path / "blocks"), "blocks"))
        apply_features(settings, home)
        judge(settings, home, snapshot.id, success=True)
        alone = train(settings, home, "m3csr", options)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [
        *torchrun,
        "-m",
        "training.distributed",
        "m3csr",
        *(f"{name}={value}" for name, value in options.items()),
    ]
    environment = {**os.environ, "BACKBEAT_HOME": str(home.root), "BACKBEAT_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    assert (alone.version, together["version"], together["reused"]) == ("1", "2", False)
    for name in ("validation_recall_at_20", "test_recall_at_20", "test_ndcg_at_20"):
        assert together["metrics"][name] == pytest.approx(alone.metrics[name], abs=0.05), name
