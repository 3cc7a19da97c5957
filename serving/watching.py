"""What an engine keeps in step with beside the registry, each in a thread of its own."""

import threading
from abc import ABC, abstractmethod
from typing import ClassVar

from contracts.errors import BackbeatError

__all__ = ["Watch"]


class Watch(ABC):
    """Looks at something now and then: a champion that takes long to load must not hold it up.

    Args:
        interval_s: Seconds between looks.
    """

    kind: ClassVar[str]
    """Of its alert."""

    def __init__(self, interval_s: float) -> None:
        self.fault: str | None = None
        """Why the last look came to nothing; what was so before it stays so."""
        self._interval_s = interval_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_until_closed, name=self.kind, daemon=True)

    @abstractmethod
    def follow(self) -> None:
        """Look, and have the engine follow. May raise anything."""

    def start(self) -> None:
        """Look at every interval from here on."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Look once. Raises nothing."""
        try:
            self.follow()
            self.fault = None
        except Exception as error:  # noqa: BLE001 - whatever cannot be read, the service goes on
            self.fault = str(error) if isinstance(error, BackbeatError) else f"{type(error).__name__}: {error}"

    def _look_until_closed(self) -> None:
        while not self._closing.wait(self._interval_s):
            self.look()
