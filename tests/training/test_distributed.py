"""What :mod:`training.distributed` refuses; what its processes learn is in ``test_ranks.py``."""

from pathlib import Path

import pytest

from contracts.errors import BadInput
from contracts.settings import Settings
from training.distributed import main, train_together


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
