"""What is logged of the machine, and that no failure of it matters."""

import threading
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient

from training.machine import environment_of, watched


@pytest.fixture
def mlflow(tmp_path: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_long_block_is_read_again_and_again(mlflow: MlflowClient) -> None:
    run = mlflow.create_run("0").info.run_id
    read = threading.Event()
    with watched(run, mlflow.tracking_uri, 0.05):
        read.wait(0.5)
    points = mlflow.get_metric_history(run, "system/cpu_utilization_percentage")
    assert len(points) > 2
    assert sorted(point.step for point in points) == list(range(len(points)))


def test_a_run_that_cannot_be_written_to_is_no_fault_of_the_block(
    mlflow: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow.search_experiments()
    with watched("nosuchrun", mlflow.tracking_uri, 10):
        done = True
    assert done
    assert "the last system metrics are not logged: " in capsys.readouterr().err
    with watched("nosuchrun", "nosuch://server", 10):
        pass
    assert "system metrics are not logged: " in capsys.readouterr().err


def test_a_fault_of_the_block_is_not_hidden(mlflow: MlflowClient) -> None:
    run = mlflow.create_run("0").info.run_id
    with pytest.raises(ValueError, match="of the block"), watched(run, mlflow.tracking_uri, 10):
        raise ValueError("of the block")
    assert "system/cpu_utilization_percentage" in mlflow.get_run(run).data.metrics


@pytest.mark.gpu
def test_a_gpu_is_named() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = environment_of(torch.device("cuda"))
    assert found["device_name"] == torch.cuda.get_device_name()
    assert found["cuda"] == torch.version.cuda
