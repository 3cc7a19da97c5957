"""Ends a process when the one that started it is gone, however it went."""

import os
import signal
import threading
import time

__all__ = ["end_with_parent"]

_INTERVAL_S = 0.5
_GRACE_S = 10.0


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)


def end_with_parent(parent: int) -> None:
    """Watch the parent from a daemon thread; once it is gone, ask this process to end, and after 10 s make it.

    A process that is killed cannot take its children along, and BentoML's workers lead sessions of their own, out of
    reach of a signal to the process group.

    Args:
        parent: Process id of the parent, as the parent knows it.
    """
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()
