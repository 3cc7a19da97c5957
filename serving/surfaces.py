"""The surfaces that one process serves: which engine answers for which, and why one does not."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.errors import NotFound, ServiceUnavailable
from contracts.surfaces import Surface
from serving.engine import Engine
from serving.feedback import FeedbackLog

__all__ = ["Surfaces"]


@dataclass(frozen=True)
class _Unserved:
    fault: str
    refused: bool


class Surfaces:
    """Engines by surface; they may come while requests are answered, and stay until all are closed.

    Args:
        engines: Those that serve from the start.
        feedback: Takes events on the lists of all.
        release: Lets go of what the engines share, after them.
    """

    def __init__(
        self,
        engines: Mapping[Surface, Engine],
        feedback: FeedbackLog,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.feedback = feedback
        self._engines = dict(engines)
        self._unserved: dict[Surface, _Unserved] = {}
        self._release = release
        self._changing = threading.Lock()
        self._before_closing: list[Callable[[], None]] = []

    @property
    def engines(self) -> Mapping[Surface, Engine]:
        """Those that serve now."""
        return self._engines

    def engine(self, surface: Surface) -> Engine:
        """Who answers for a surface.

        Raises:
            NotFound: The service is not to serve it, or it has no champion.
            ServiceUnavailable: Its champion could not be loaded.
        """
        found = self._engines.get(surface)
        if found is not None:
            return found
        unserved = self._unserved.get(surface)
        if unserved is None or not unserved.refused:
            raise NotFound(
                f"surface {surface}",
                found="not served here" if unserved is None else unserved.fault,
                expected=f"one of {', '.join(self._engines) or 'none so far'}",
                next_step="ask for one of those, or promote a champion of that surface",
            )
        raise ServiceUnavailable(
            f"surface {surface}",
            found=unserved.fault,
            expected="a champion that can be loaded",
            next_step="ask again later; it is tried again and again",
        )

    def add(self, engine: Engine) -> None:
        """Have an engine answer for its surface from the next request on."""
        with self._changing:
            self._engines = {**self._engines, engine.surface: engine}
            self._unserved = {name: why for name, why in self._unserved.items() if name != engine.surface}

    def leave_waiting(self, surface: Surface, fault: str, refused: bool) -> None:
        """Keep why a surface has no engine.

        Args:
            surface: Which.
            fault: Why.
            refused: Whether there is a champion, which could not be loaded.
        """
        with self._changing:
            self._unserved = {**self._unserved, surface: _Unserved(fault, refused)}

    def before_closing(self, call: Callable[[], None]) -> None:
        """Have something called before the engines are closed."""
        self._before_closing.append(call)

    def status(self) -> dict[str, Any]:
        """What each engine says, why other surfaces are not served, and what became of feedback."""
        return {
            "surfaces": {name: engine.status() for name, engine in self._engines.items()},
            "waiting": {name: why.fault for name, why in self._unserved.items()},
            "feedback": self.feedback.counts(),
        }

    def close(self) -> None:
        """Finish what was begun, of all."""
        for call in self._before_closing:
            call()
        for engine in self._engines.values():
            engine.close()
        self._release()
