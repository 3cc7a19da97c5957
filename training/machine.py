"""What the machine is, and what it did while a run lasted."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from contracts.console import note
from contracts.revision import code_revision, library_versions

__all__ = ["environment_of", "watched"]


def environment_of(device: torch.device) -> dict[str, Any]:
    """What a training ran on, beside its data and options.

    Args:
        device: Where the model is.

    Returns:
        ``code_revision``, ``libraries`` (name → version), ``python``, ``platform``, ``processors`` (number of cores),
        ``threads`` of torch, ``device`` and ``device_name``; ``cuda``, its version, where it is a CUDA device.
    """
    found: dict[str, Any] = {
        "code_revision": code_revision(),
        "libraries": library_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": platform.processor() or platform.machine(),
    }
    if device.type == "cuda":
        found |= {
            "device_name": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
        }
    return found


@contextmanager
def watched(run_id: str, tracking_url: str, interval: float) -> Iterator[None]:
    """Log how busy processors, memory, disk, network and GPUs are as ``system/…`` metrics of a run.

    MLflow's own monitor does it. However short the block, one reading is logged. No failure of it reaches the run: it
    is said, and that is all.

    Args:
        run_id: The run, which must be running.
        tracking_url: Its MLflow.
        interval: Seconds between readings; 0 for none at all.
    """
    monitor = _started(run_id, tracking_url, interval) if interval else None
    try:
        yield
    finally:
        if monitor is not None:
            _finish(monitor)


def _started(run_id: str, tracking_url: str, interval: float) -> SystemMetricsMonitor | None:
    try:
        monitor = SystemMetricsMonitor(run_id, sampling_interval=interval, tracking_uri=tracking_url)
        monitor.start()
    except Exception as error:  # noqa: BLE001 - whatever a driver says of a GPU, the training goes on
        note(f"system metrics are not logged: {error}")
        return None
    return monitor


def _finish(monitor: SystemMetricsMonitor) -> None:
    try:
        monitor.finish()
        # What was read since the monitor last wrote, which in a short run is all.
        monitor.collect_metrics()
        monitor.publish_metrics(monitor.aggregate_metrics())
        monitor.mlflow_logger.flush()
    except Exception as error:  # noqa: BLE001 - likewise
        note(f"the last system metrics are not logged: {error}")
