"""Which device torch computes on."""

import torch

from contracts.errors import BadInput
from contracts.settings import Settings

__all__ = ["select_device"]


def select_device(settings: Settings) -> torch.device:
    """The device the settings ask for, after setting the number of CPU threads.

    Raises:
        BadInput: The name is none that torch knows, or the device is not there.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(settings.device)
    except RuntimeError:
        device = None
    here = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    if device is None or (str(device) not in here and not (str(device) == "cuda" and len(here) > 1)):
        raise BadInput(
            f"device {settings.device!r}",
            found="no such device on this machine",
            expected=f"auto or one of {', '.join(here)}",
            next_step="set BACKBEAT_DEVICE to one of them",
        )
    return device
