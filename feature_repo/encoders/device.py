"""Which device torch computes on, and how, so that equal input gives equal vectors; training and serving ask here."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from contracts.errors import BadInput
from contracts.settings import Settings

__all__ = ["exact_inference", "prepare_torch", "resolve_device"]


def resolve_device(name: str) -> torch.device:
    """The device of a name: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BadInput: The name is none that torch knows, or the device is not there.
    """
    count = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    here = ["cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
    if name not in here:
        raise BadInput(
            f"device {name!r}",
            found="no such device on this machine",
            expected=f"auto or one of {', '.join(here)}",
            next_step="set BACKBEAT_DEVICE to one of them",
        )
    return torch.device(name)


def prepare_torch(settings: Settings) -> torch.device:
    """Set the number of CPU threads and return the device that the settings ask for.

    Raises:
        BadInput: The device is not there.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return resolve_device(settings.device)


@contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients, full float32 and the same algorithm each time."""
    with torch.inference_mode(), torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
        yield
